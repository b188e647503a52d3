/** A query string of plain values: numbers and truth as the API reads them. */
export const query = (values) =>
  new URLSearchParams(Object.entries(values).map(([name, value]) => [name, String(value)]));
