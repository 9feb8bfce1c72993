// Sends events with Phoenix's own client and watches a dashboard on the same socket, until every push is answered ok.
// Usage: node sender.mjs <ws://host:port/socket> <pushes> <events a push>; tells what happens as lines of JSON, and
// ends with the first line on standard input. One event a push goes out as new_event, more as new_events.
import { createInterface } from "node:readline";
import { Socket } from "phoenix";
import WebSocket from "ws";

const [endpoint, pushes, size] = [process.argv[2], Number(process.argv[3]), Number(process.argv[4])];
const AT_ONCE = 20;
const ANSWER_MS = 3000;
const tell = (told, more = {}) => console.log(JSON.stringify({ told, ...more }));

const socket = new Socket(endpoint, {
  transport: WebSocket,
  reconnectAfterMs: () => 50,
  rejoinAfterMs: () => 50,
  heartbeatIntervalMs: 500,
});
socket.connect();

const dashboard = socket.channel("dashboard:overview", {});
let shown;
const show = (total) => {
  if (total !== undefined && total !== shown) tell("dashboard", { total: (shown = total) });
};
const showAll = (snapshot) => show(snapshot.state.total_events);
dashboard.on("snapshot", showAll);
dashboard.on("diff", ({ patch }) => {
  for (const [what, path, value] of patch) if (what === "set" && path.join() === "total_events") show(value);
});
dashboard.join().receive("ok", showAll);

const events = socket.channel("events", { type: "kind" });
const waiting = Array.from({ length: pushes }, (_, number) => number);
const counts = { ok: 0, accepted: 0, duplicates: 0, refused: 0, unanswered: 0, joins: 0 };
let underWay = 0;

function again(number, afterMs) {
  setTimeout(() => {
    waiting.push(number);
    sendAll();
  }, afterMs);
}

function onOk({ accepted, duplicates = 0 }) {
  counts.ok += 1;
  counts.accepted += accepted;
  counts.duplicates += duplicates;
  if (counts.ok % 50 === 0) tell("progress", counts);
  if (counts.ok === pushes) tell("done", counts);
}

function onRefused(number, refusal) {
  if (!refusal.retry_after_ms) throw new Error(`refused for good: ${JSON.stringify(refusal)}`);
  counts.refused += 1;
  if (counts.refused === 1) tell("refused", refusal);
  again(number, Math.min(refusal.retry_after_ms, 200));
}

function onSilence(number) {
  counts.unanswered += 1;
  again(number, 0);
}

function send(number) {
  underWay += 1;
  const made = Array.from({ length: size }, (_, place) => ({ kind: "sent", event_id: `${number}-${place}`, value: 1 }));
  const push = size === 1 ? events.push("new_event", made[0], ANSWER_MS) : events.push("new_events", { events: made }, ANSWER_MS);
  const settled = (then) => (answer) => {
    underWay -= 1;
    then(answer);
    sendAll();
  };
  push.receive("ok", settled(onOk));
  push.receive("error", settled((refusal) => onRefused(number, refusal)));
  push.receive("timeout", settled(() => onSilence(number)));
}

function sendAll() {
  while (waiting.length && underWay < AT_ONCE) send(waiting.shift());
}

events.join().receive("ok", () => {
  counts.joins += 1;
  tell("joined", counts);
  if (counts.joins === 1) sendAll();
});

createInterface({ input: process.stdin }).on("line", () => process.exit(0));
