// @ts-check
/**
 * The colours of a heatmap: viridis, from the end that is near the ground to the end that is far from it, so that
 * few is faint and many stands out in the light and in the dark theme alike. Pure.
 */

/** Viridis at equal distances (S. van der Walt, N. Smith, 2015; CC0). */
const VIRIDIS = Object.freeze([
  [68, 1, 84], [72, 40, 120], [62, 74, 137], [49, 104, 142], [38, 130, 142], [31, 158, 137], [53, 183, 121], [110, 206, 88],
  [181, 222, 43], [253, 231, 37],
]);
/** The parts of it that differ from the ground: not the darkest on dark, not the palest on white. */
const SPANS = Object.freeze({ dark: [0.16, 1], light: [0.8, 0] });
const STEPS = 48;
/** On white the palest third is mixed with it: pure viridis is loudest there, where it should be faint. */
const PALE = 0.55;
const PALE_UNTIL = 0.4;

/** @param {boolean} dark the ground @returns {string[]} colours, few to many */
export function ramp(dark) {
  const [start, end] = dark ? SPANS.dark : SPANS.light;
  return Array.from({ length: STEPS }, (_, step) => {
    const at = step / (STEPS - 1);
    const white = dark ? 0 : PALE * Math.max(0, 1 - at / PALE_UNTIL);
    const mixed = viridis(start + (end - start) * at).map((value) => Math.round(value + (255 - value) * white));
    return `rgb(${mixed.join(", ")})`;
  });
}

/** The place of a count among the colours; logarithmic, because a few bands hold most. @param {number} count > 0
 * @param {number} most */
export function rampStep(count, most) {
  if (most <= 1) return STEPS - 1;
  return Math.min(STEPS - 1, Math.round((Math.log(count) / Math.log(most)) * (STEPS - 1)));
}

/** Whether a ground is dark. @param {string} colour rgb(…) */
export function isDark(colour) {
  const [red, green, blue] = (colour.match(/[\d.]+/g) ?? []).map(Number);
  return 0.299 * red + 0.587 * green + 0.114 * blue < 128;
}

/** @param {number} at 0 to 1 @returns {number[]} */
function viridis(at) {
  const place = at * (VIRIDIS.length - 1);
  const low = Math.min(VIRIDIS.length - 2, Math.floor(place));
  return VIRIDIS[low].map((value, channel) => value + (VIRIDIS[low + 1][channel] - value) * (place - low));
}
