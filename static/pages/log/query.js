/** A query string of plain values: numbers and booleans in the API's format. */
export const query = (values) =>
  new URLSearchParams(Object.entries(values).map(([name, value]) => [name, String(value)]));
