// @ts-check
/**
 * The shapes that cross the wire, and those that the modules hand to each other. Types only.
 *
 * @typedef {["set", string[], any] | ["drop", string[]] | ["slide", string[], Slide]} Operation
 * @typedef {{drop?: number, set?: [number, any][], append?: any[]}} Slide
 *
 * @typedef {object} Snapshot  the whole state at one version
 * @property {string} epoch  names one life of the server's view; versions of two epochs do not compare
 * @property {number} version
 * @property {State} state
 *
 * @typedef {object} Diff  what leads from version `from` to `version`
 * @property {string} epoch
 * @property {number} from
 * @property {number} version
 * @property {Operation[]} patch
 *
 * @typedef {object} State  times are epoch milliseconds
 * @property {number} as_of
 * @property {number} started_at
 * @property {string | null} demo  name of the demonstration that runs, if one does
 * @property {Range} range
 * @property {Extent | null} extent  event times of all data there is
 * @property {number} total_events  ever
 * @property {number} rate  events received per second, now
 * @property {LedgerCounts & {sources: Record<string, LedgerCounts>}} ledger
 * @property {number[]} time  starts of the buckets, shared by all series
 * @property {{events: Totals, latency: Totals}} totals  in the range; latency in milliseconds
 * @property {Record<string, Column>} series
 * @property {Record<string, TypeTotals>} types
 * @property {Record<string, Column>} type_series  counts of the top types
 *
 * @typedef {(number | null)[]} Column  one value for each bucket; null is no data
 * @typedef {{preset: string | null, from: number, to: number, step_ms: number, live: boolean}} Range
 * @typedef {{from: number, to: number}} Extent
 * @typedef {{count: number, avg: number | null, p95: number | null, other?: boolean}} TypeTotals
 * @typedef {Record<"count" | "sum" | "avg" | "min" | "max" | "p50" | "p95" | "p99", number | null>} Totals
 * @typedef {Record<LedgerField, number>} LedgerCounts
 * @typedef {"received" | "stored" | "filtered" | "duplicate" | "dead_lettered" | "rejected" | "pending"
 *   | "requests_refused"} LedgerField
 *
 * @typedef {{preset: string} | Extent} Choice  the range that the viewer has chosen
 * @typedef {"system" | "light" | "dark"} Theme
 *
 * @typedef {object} Curve  one line of a chart
 * @property {string} label
 * @property {string} colour  a CSS custom property, such as "--series-1"
 * @property {Column} values  what it says
 * @property {Column} [drawn]  where it is drawn, if that differs (stacked)
 */
export {};
