// @ts-check
/**
 * How numbers are written, everywhere on the page; times are in times.js. Pure; nothing here touches the document.
 * Null is always an en dash and zero is always "0": they never share a look.
 */

export const NOTHING = "–";

/** The mean month of the Gregorian calendar. */
const HOURS_OF_A_MONTH = 730.485;
const PREFIXES = ["", "k", "M", "G", "T", "P"];
const SMALL = new Intl.NumberFormat("en", { maximumFractionDigits: 6 });
const THOUSANDTHS = new Intl.NumberFormat("en", { minimumFractionDigits: 3, maximumFractionDigits: 3 });
const WHOLE = new Intl.NumberFormat("en", { maximumFractionDigits: 0 });

/** Three significant digits with an SI prefix: 284, 12.4k, 1.02M. @param {number | null | undefined} value */
export function compact(value) {
  if (value === null || value === undefined || !Number.isFinite(value)) return NOTHING;
  if (value === 0) return "0";
  const size = Math.abs(value);
  if (size < 1000 && Number.isInteger(value)) return minus(String(value));
  if (size < 0.001 || size >= 9.995e17) return minus(value.toExponential(2));
  let power = 0;
  let scaled = value;
  // 999.5 is where three digits round up into the next prefix
  while (Math.abs(scaled) >= 999.5 && power < PREFIXES.length - 1) {
    scaled /= 1000;
    power += 1;
  }
  return minus(threeDigits(scaled)) + PREFIXES[power];
}

/** Every digit that means something, with thousands separators: 1,284,067 or 1,284.500. @param {number | null | undefined} value */
export function exact(value) {
  if (value === null || value === undefined || !Number.isFinite(value)) return NOTHING;
  if (value !== 0 && Math.abs(value) < 0.001) return minus(value.toExponential(3));
  if (Number.isInteger(value)) return minus(WHOLE.format(value));
  return minus((Math.abs(value) < 1 ? SMALL : THOUSANDTHS).format(value));
}

/** A rate in a table: three decimals, so that a column lines up. @param {number | null | undefined} value */
export function thousandths(value) {
  return value === null || value === undefined || value === 0 ? exact(value) : minus(THOUSANDTHS.format(value));
}

/** Without the zeros that stand for precision: 1.50k is 1.5k, 2.00 ms is 2 ms; for the ticks of an axis.
 * @param {string} text */
export function trimmed(text) {
  return text.replace(/(\.\d*?)0+(?!\d)/, "$1").replace(/\.(?!\d)/, "");
}

/** A count with its sign: +1,284. @param {number} value */
export function signed(value) {
  return value < 0 ? minus(WHOLE.format(value)) : `+${WHOLE.format(value)}`;
}

/** Always three digits, so that a number that changes all the time does not change its width: 5.00, 12.4k.
 * @param {number | null | undefined} value */
export function steady(value) {
  const digits = value !== null && value !== undefined && Number.isInteger(value) && value !== 0 && Math.abs(value) < 1000;
  return digits ? minus(threeDigits(value)) : compact(value);
}

/** A count per second: 12.4k/s; or per what else the sign says. @param {number | null | undefined} value @param {string} [sign] */
export function rate(value, sign = "/s") {
  const text = steady(value);
  return text === NOTHING ? text : `${text}${sign}`;
}

/**
 * How a number compares with an earlier one: arrow, sign and percent. "new" where there was nothing before, an en
 * dash where nothing is still nothing; null where one of the two is unknown.
 * @param {number | null | undefined} value @param {number | null | undefined} before @returns {string | null}
 */
export function delta(value, before) {
  if (value === null || value === undefined || before === null || before === undefined) return null;
  if (before === 0) return value === 0 ? NOTHING : "new";
  const change = ((value - before) / Math.abs(before)) * 100;
  const size = Math.abs(change);
  if (size < 0.05) return "± 0%";
  const arrow = change > 0 ? "▲ +" : "▼ −";
  if (size >= 999.5) return `${arrow}${compact(Math.round(size / 100))}×`;
  return `${arrow}${size < 9.95 ? size.toFixed(1) : size.toFixed(0)}%`;
}

/** A ratio as a percentage: 0.02%, <0.01%, 12.4%. @param {number | null | undefined} ratio */
export function percent(ratio) {
  if (ratio === null || ratio === undefined || !Number.isFinite(ratio)) return NOTHING;
  if (ratio === 0) return "0%";
  const value = ratio * 100;
  if (value > 0 && value < 0.01) return "<0.01%";
  if (value >= 99.95) return ratio >= 1 ? `${WHOLE.format(value)}%` : `${Math.floor(value * 100) / 100}%`;
  return `${value >= 10 ? value.toFixed(1) : value.toFixed(2)}%`;
}

/** Milliseconds in the unit that suits: 850 µs, 12.4 ms, 3.2 s, 4 min 10 s, 11 years.
 * @param {number | null | undefined} ms @returns {string} */
export function duration(ms) {
  if (ms === null || ms === undefined || !Number.isFinite(ms)) return NOTHING;
  if (ms === 0) return "0 ms";
  if (ms < 0) return `−${duration(-ms)}`;
  if (ms < 0.9995) return `${threeDigits(ms * 1000)} µs`;
  if (ms < 999.5) return `${threeDigits(ms)} ms`;
  if (ms < 59_950) return `${(ms / 1000).toFixed(1)} s`;
  const seconds = Math.round(ms / 1000);
  if (seconds < 3600) return parts(Math.floor(seconds / 60), "min", seconds % 60, "s");
  const minutes = Math.round(seconds / 60);
  if (minutes < 1440) return parts(Math.floor(minutes / 60), "h", minutes % 60, "min");
  const hours = Math.round(minutes / 60);
  if (hours < 60 * 24) return parts(Math.floor(hours / 24), "d", hours % 24, "h");
  const months = Math.floor(hours / HOURS_OF_A_MONTH);
  return months < 24 ? `${months} months` : `${Math.floor(months / 12)} years`;
}

/** The length of a step: 5 s, 30 min, 6 h, 30 d. @param {number} ms */
export function stepWords(ms) {
  if (ms < 60_000) return `${ms / 1000} s`;
  if (ms < 3_600_000) return `${ms / 60_000} min`;
  return ms < 86_400_000 || ms % 86_400_000 !== 0 ? `${ms / 3_600_000} h` : `${ms / 86_400_000} d`;
}

/** Seconds to one decimal, as the lag beside the connection dot: 0.4 s. @param {number} ms */
export function lag(ms) {
  if (ms < 100) return "<0.1 s";
  return ms < 9_950 ? `${(ms / 1000).toFixed(1)} s` : duration(ms);
}

/** @param {number} value between -1000 and 1000 */
function threeDigits(value) {
  const text = value.toPrecision(3);
  return text.includes("e") ? String(Math.round(value)) : text;
}

/** @param {number} large @param {string} largeUnit @param {number} small @param {string} smallUnit */
function parts(large, largeUnit, small, smallUnit) {
  return small === 0 ? `${large} ${largeUnit}` : `${large} ${largeUnit} ${small} ${smallUnit}`;
}

/** A minus sign is as wide as a digit; a hyphen is not. @param {string} text */
function minus(text) {
  return text.replaceAll("-", "−");
}
