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
 * @property {LedgerCounts & {imbalance: number, sources: Record<string, LedgerCounts>}} ledger
 * @property {number[]} time  starts of the buckets, shared by all series
 * @property {{events: Totals, latency: Totals}} totals  in the range; latency in milliseconds
 * @property {Record<string, Column>} series
 * @property {Record<string, TypeTotals>} types
 * @property {Record<string, Column>} type_series  counts of the top types
 * @property {Previous} [previous]  the same span before this range
 * @property {Heatmap} [heatmap]  of processing latency
 * @property {Pipeline} [pipeline]
 * @property {TailRow[]} [tail]  the last few events, newest first
 * @property {Record<string, SourceHealth>} [sources]
 * @property {{type: string}} [filter]  what everything but `types`, `ledger` and the pipeline is limited to
 *
 * @typedef {{events: Partial<Pick<Totals, "count" | "avg" | "p50" | "p95" | "p99">>, rate: number | null}} Previous
 * @typedef {object} Heatmap
 * @property {number[]} bounds_ms  upper ends of the bands, ascending
 * @property {(number[] | null)[]} columns  for each bucket of `time` one count for each band; null is no data
 * @typedef {{stages: Stage[], bottleneck: string | null}} Pipeline
 * @typedef {object} Stage
 * @property {string} name
 * @property {number} rate  events per second
 * @property {number} buffer  events that wait
 * @property {number} capacity  most that may wait
 * @property {number} demand  events asked for
 * @property {number} busy  0 to 1
 * @typedef {object} TailRow
 * @property {number} time
 * @property {string} type
 * @property {string | null} user_id
 * @property {number | null} value
 * @property {string} source
 * @property {object} event  all of it
 * @typedef {{rate: number, rejected_rate: number, last_ms: number | null, last_problem: string | null}} SourceHealth
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
 * @typedef {{choice: Choice, filter: string | null, utc: boolean, panel: string | null}} Address  what the address of the page says
 * @typedef {"system" | "light" | "dark"} Theme
 * @typedef {"pause" | "chart" | "tail" | "selection" | "inspector"} HoldReason  why the picture stands still
 *
 * @typedef {object} Curve  one line of a chart
 * @property {string} label
 * @property {string} colour  a CSS custom property, such as "--series-1"
 * @property {Column} values  what it says
 * @property {Column} [drawn]  where it is drawn, if that differs (stacked)
 * @property {number | null} [whole]  over all of the range, where that is not the newest value
 */
export {};
