// Stands in for main.js: the real page on the real store, fed with made-up diffs as fast as it takes them.
import { render } from "preact";
import { html } from "./html.js";
import { advanced, replaced } from "./session.js";
import { createStore } from "./state.js";
import { App } from "./elements/app.js";

const BUCKETS = 180;
const STEP_MS = 5_000;
const BOUNDS = [0.25, 0.5, 1, 2, 5, 10, 20, 50];
const A_FRAME = 20;
const types = ["page_view", "search", "add_to_cart", "purchase", "login", "error"];
const start = Math.floor(Date.now() / STEP_MS) * STEP_MS - (BUCKETS - 1) * STEP_MS;
const filled = (make) => Array.from({ length: BUCKETS }, (_, index) => make(index));
const totals = { count: 9, sum: 9, avg: 1, min: 1, max: 9, p50: 1, p95: 2, p99: 3 };
const counts = { received: 1, stored: 1, filtered: 0, duplicate: 0, dead_lettered: 0, rejected: 0, pending: 0, requests_refused: 0 };
const names = ["count", "avg", "p50", "p95", "p99", "latency_p50", "latency_p95", "latency_p99"];
const state = {
  as_of: Date.now(), started_at: start, demo: null, extent: { from: start, to: Date.now() }, total_events: 1, rate: 1,
  range: { preset: "15m", from: start, to: start + BUCKETS * STEP_MS, step_ms: STEP_MS, live: true },
  ledger: { ...counts, sources: { http: counts } }, time: filled((index) => start + index * STEP_MS),
  totals: { events: totals, latency: totals }, previous: { events: totals, rate: 1 },
  series: Object.fromEntries(names.map((name) => [name, filled((index) => index % 50)])),
  types: Object.fromEntries(types.map((type) => [type, { count: 5, avg: 1, p95: 2 }])),
  type_series: Object.fromEntries(types.map((type) => [type, filled((index) => index % 9)])),
  heatmap: { bounds_ms: BOUNDS, columns: filled((index) => BOUNDS.map((_, band) => (index + band) % 7)) },
  pipeline: { bottleneck: null, stages: ["receive", "commit"].map((name) => ({ name, rate: 1, buffer: 1, capacity: 9, demand: 1, busy: 0.5 })) },
  tail: [], sources: { http: { rate: 1, rejected_rate: 0, last_ms: start, last_problem: null } },
};

const store = createStore({
  address: { choice: { preset: "15m" }, filter: null, utc: false }, theme: "system", keys: true, clock: () => Date.now(),
  onFrame: (publish) => requestAnimationFrame(publish),
});
store.become(replaced(store.current(), { epoch: "made up", version: 0, state }, Date.now()));
render(html`<${App} store=${store} actions=${{}} />`, document.getElementById("app"));

function patchOf(n) {
  const moves = n % 10 === 0;
  const slide = (value) => (moves ? { drop: 1, append: [value] } : { set: [[BUCKETS - 1, value]] });
  const last = store.current().latest.time.at(-1);
  const event = { type: types[n % 6], text: `event ${n}`.repeat(20) };
  const row = { time: Date.now(), type: event.type, user_id: `user_${n}`, value: n, source: "http", event };
  return [
    ["set", ["as_of"], Date.now()], ["set", ["rate"], n % 997], ["set", ["total_events"], n], ["set", ["ledger", "stored"], n],
    ...(moves ? [["slide", ["time"], slide(last + STEP_MS)]] : []),
    ...names.map((name) => ["slide", ["series", name], slide((n * 7) % 100)]),
    ...types.map((type) => ["slide", ["type_series", type], slide((n * 3) % 40)]),
    ...types.map((type, index) => ["set", ["types", type, "count"], n + index]),
    ["slide", ["heatmap", "columns"], slide(BOUNDS.map((_, band) => (n + band) % 11))],
    ["set", ["tail"], [row, ...store.current().latest.tail].slice(0, 8)],
  ];
}

window.update = async (many) => {
  for (let n = 0; n < many; n += 1) {
    const session = store.current();
    const { version } = session;
    const next = advanced(session, { epoch: "made up", from: version, version: version + 1, patch: patchOf(version) }, Date.now());
    if (next === null) throw new Error("a made-up diff does not fit");
    store.become(next);
    if (n % A_FRAME === A_FRAME - 1) await new Promise(requestAnimationFrame);
  }
  await new Promise(requestAnimationFrame);
  return store.session.value.version;
};
