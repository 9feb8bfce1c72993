// @ts-check
/**
 * From the server's state to what the panels draw: counts per second, stacks, ranks, sums that balance. Pure.
 */

/** @typedef {import("./types.js").State} State @typedef {import("./types.js").Column} Column */

export const OTHER = "(other)";
const SLOTS = 6;
/** A bucket that is still open is drawn once so much of it has passed; before that its rate is noise. */
const OPEN_SHARE = 0.2;
const OPEN_LEAST_MS = 1_000;

/** When the bucket that is still filling began, in seconds; null where all are complete. @param {State} state */
export function openSince({ time, as_of: asOf, range }) {
  const last = time.at(-1);
  return range.live && last !== undefined && asOf < last + range.step_ms ? last / 1000 : null;
}

/** Starts of the buckets in seconds, as charts take them. @param {State} state */
export function timesInSeconds(state) {
  return state.time.map((ms) => ms / 1000);
}

/**
 * Counts per bucket as events per second. The bucket that is still filling counts the seconds that it has had;
 * null while those are too few.
 * @param {State} state @param {Column} counts @returns {Column}
 */
export function perSecond(state, counts) {
  const { step_ms: stepMs, live } = state.range;
  return counts.map((count, index) => {
    if (count === null) return null;
    const had = live ? Math.min(stepMs, state.as_of - state.time[index]) : stepMs;
    if (had < stepMs && had < Math.max(OPEN_LEAST_MS, stepMs * OPEN_SHARE)) return null;
    return (count * 1000) / had;
  });
}

/**
 * The curves of "events per second": one for each top type in the given order, then what is left over,
 * each with its own values and with the sum of those below it.
 * @param {State} state @param {string[]} order @param {(type: string) => string} colourOf
 * @param {(counts: Column) => Column} [rates]  from counts to rates, per second unless said otherwise
 * @returns {import("./types.js").Curve[]}
 */
export function stackedRates(state, order, colourOf, rates = (counts) => perSecond(state, counts)) {
  const all = state.series.count ?? [];
  if (order.length === 0) return [{ label: "events", colour: "--series-1", values: rates(all) }];
  const counts = order.map((type) => state.type_series[type] ?? []);
  const rest = all.map((count, index) => {
    if (count === null) return null;
    return Math.max(0, count - counts.reduce((sum, column) => sum + (column[index] ?? 0), 0));
  });
  const curves = order.map((type, index) => ({ label: type, colour: colourOf(type), values: rates(counts[index]) }));
  if (rest.some((count) => count !== null && count > 0)) curves.push({ label: OTHER, colour: "--series-other", values: rates(rest) });
  return stack(curves, rates(all));
}

/** @param {import("./types.js").Curve[]} curves @param {Column} total null where nothing may be drawn */
function stack(curves, total) {
  /** @type {number[]} */
  let below = total.map(() => 0);
  return curves.map((one) => {
    below = below.map((sum, index) => sum + (one.values[index] ?? 0));
    const drawn = below;
    return { ...one, drawn: total.map((value, index) => (value === null ? null : drawn[index])) };
  });
}

/**
 * The order of the stack: most events first, and then left alone while the same types are in it,
 * so that layers do not jump over each other. @param {string[]} before @param {State} state
 */
export function stackOrder(before, state) {
  const types = Object.keys(state.type_series).filter((type) => type !== OTHER);
  if (types.length === before.length && types.every((type) => before.includes(type))) return before;
  const count = (/** @type {string} */ type) => state.types[type]?.count ?? 0;
  return types.sort((a, b) => count(b) - count(a) || (a < b ? -1 : 1));
}

/**
 * A colour for each label. It sticks to the label: the same one everywhere and from one visit to the next,
 * unless two that are shown together want the same; then the later one takes the next that is free.
 * @param {readonly string[]} labels
 * @param {ReadonlyMap<string, number>} [before] what was given out: labels that are still there keep it
 * @returns {ReadonlyMap<string, number>} slots 1..6; more labels than slots share them
 */
export function colourSlots(labels, before = new Map()) {
  if (labels.length === before.size && labels.every((label) => before.has(label))) return before;
  /** @type {Map<string, number>} */
  const slots = new Map();
  for (const label of labels) if (before.has(label)) slots.set(label, Number(before.get(label)));
  const taken = new Set(slots.values());
  for (const label of [...labels].sort()) {
    if (slots.has(label)) continue;
    let slot = hash(label) % SLOTS;
    for (let tries = 0; tries < SLOTS && taken.has(slot + 1); tries += 1) slot = (slot + 1) % SLOTS;
    taken.add(slot + 1);
    slots.set(label, slot + 1);
  }
  return slots;
}

/** The types that have a colour of their own: those of the chart, or, filtered, those that it had before.
 * @param {State} state @returns {string[]} */
export function labelled(state) {
  const charted = Object.keys(state.type_series).filter((type) => Object.hasOwn(state.types, type) && type !== OTHER);
  if (state.filter === undefined) return charted;
  const common = ranked(state).filter((row) => !row.other).map(({ type }) => type);
  return [...new Set([...charted, ...common])].slice(0, SLOTS);
}

/** FNV-1a, 32 bit. @param {string} text */
function hash(text) {
  let value = 0x811c9dc5;
  for (const character of text) value = Math.imul(value ^ (character.codePointAt(0) ?? 0), 0x01000193) >>> 0;
  return value;
}

/**
 * Types by their number of events, most first; what has no name of its own comes last.
 * @param {State} state
 * @returns {{type: string, count: number, share: number, width: number, avg: number | null, other: boolean}[]}
 */
export function ranked(state) {
  const rows = Object.entries(state.types).map(([type, one]) => ({ type, ...one, other: one.other === true }));
  // a filter does not reach the types, so their sum is all that there is to compare with
  const inRange = state.filter === undefined ? state.totals.events.count : null;
  const all = inRange || rows.reduce((sum, row) => sum + row.count, 0) || 1;
  const most = rows.reduce((max, row) => (row.other ? max : Math.max(max, row.count)), 0) || 1;
  rows.sort((a, b) => Number(a.other) - Number(b.other) || b.count - a.count || (a.type < b.type ? -1 : 1));
  return rows.map(({ type, count, avg, other }) => {
    return { type, count, share: count / all, width: Math.min(1, count / most), avg, other };
  });
}

/** What became of what was received, in the order in which it is told. */
export const FATES = Object.freeze(
  /** @type {const} */ (["stored", "filtered", "duplicate", "dead_lettered", "rejected", "pending"]),
);

/** Received minus all fates, or else what the server itself found amiss: 0 when every event is accounted for.
 * @param {import("./types.js").LedgerCounts & {imbalance?: number}} ledger */
export function unaccounted(ledger) {
  const missing = ledger.received - FATES.reduce((sum, fate) => sum + ledger[fate], 0);
  return missing === 0 ? (ledger.imbalance ?? 0) : missing;
}

/** The share of what was received that came to nothing; null before anything came.
 * @param {import("./types.js").LedgerCounts} ledger */
export function failedShare({ received, rejected, dead_lettered: deadLettered }) {
  return received === 0 ? null : (rejected + deadLettered) / received;
}

/** @param {Column | undefined} column @returns {number | null} the newest value there is */
export function latestOf(column) {
  return column?.findLast((value) => value !== null) ?? null;
}

/** The sum up to each bucket; a bucket without data adds nothing. @param {Column} column @returns {number[]} */
export function runningSum(column) {
  let sum = 0;
  return column.map((value) => (sum += value ?? 0));
}

/** The mean over all buckets; one without data counts as none. @param {Column} column @returns {number | null} */
export function meanOf(column) {
  return column.length === 0 ? null : runningSum(column)[column.length - 1] / column.length;
}

/** @param {Column} column @returns {number | null} */
export function peakOf(column) {
  return column.reduce((max, value) => (value !== null && (max === null || value > max) ? value : max), null);
}

/** Every label in a word that people use: dead_lettered is "dead-lettered". @param {string} field */
export function ledgerWord(field) {
  return field.replaceAll("_", "-");
}

/** What was in the same length of time before the range; null unless there was data all that time.
 * @param {import("./types.js").State | null} state */
export function comparable(state) {
  if (!state?.previous || state.extent === null) return null;
  const { from, to, step_ms: step } = state.range;
  return state.extent.from <= from - (to - from) + step ? state.previous : null;
}
