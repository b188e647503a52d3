// Converts a terminal's colours for the page, so that each pair of text and background is readable.
//
// The 16 named colours are the theme's. Other text colours keep their hue, and log.css changes their
// lightness until they are readable on the page. A background is shown unchanged, and the text on it
// is moved towards black or white as far as necessary.

const CONTRAST = 4.5;
const SIXTEEN = [
  [0, 0, 0], [205, 0, 0], [0, 205, 0], [205, 205, 0], [0, 0, 238], [205, 0, 205], [0, 205, 205], [229, 229, 229],
  [127, 127, 127], [255, 0, 0], [0, 255, 0], [255, 255, 0], [92, 92, 255], [255, 0, 255], [0, 255, 255], [255, 255, 255],
];

/** Classes, and style properties or undefined. A colour is a number below 16, [r, g, b] or null. */
export function style(on, front, back) {
  const classes = [...on];
  if (on.has("inverse") && front !== null && back === null) [front, back] = [null, front];
  else if (on.has("inverse")) [front, back] = [back, front];
  if (back !== null || front !== null) take(classes, "inverse");
  if (back === null) {
    if (front === null) return [classes.join(" "), undefined];
    if (typeof front === "number") return [[...classes, `front-${front}`].join(" "), undefined];
    return [[...classes, "front-rgb"].join(" "), { "--colour": css(front) }];
  }
  if (typeof back === "number") classes.push(`back-${back}`);
  if (typeof back === "number" && front === null) return [classes.join(" "), undefined];
  const ground = exact(back);
  return [classes.join(" "), { background: css(ground), color: css(readable(front === null ? ground : exact(front), ground)) }];
}

function take(from, what) {
  const at = from.indexOf(what);
  if (at >= 0) from.splice(at, 1);
}

const exact = (colour) => (typeof colour === "number" ? SIXTEEN[colour] : colour);
const css = (rgb) => `rgb(${rgb.join(" ")})`;

/** The colour, or the nearest one that is readable on the background. */
function readable(colour, ground) {
  const target = contrast([255, 255, 255], ground) > contrast([0, 0, 0], ground) ? 255 : 0;
  for (let share = 0; share < 1; share += 0.1) {
    const mixed = colour.map((each) => Math.round(each + (target - each) * share));
    if (contrast(mixed, ground) >= CONTRAST) return mixed;
  }
  return [target, target, target];
}

/** The contrast ratio as defined by WCAG. */
function contrast(one, other) {
  const [low, high] = [luminance(one), luminance(other)].sort((a, b) => a - b);
  return (high + 0.05) / (low + 0.05);
}

function luminance(rgb) {
  const [red, green, blue] = rgb.map((each) => {
    const share = each / 255;
    return share <= 0.04045 ? share / 12.92 : ((share + 0.055) / 1.055) ** 2.4;
  });
  return 0.2126 * red + 0.7152 * green + 0.0722 * blue;
}
