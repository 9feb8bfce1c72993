// Sends the events that it reads, one a line, with Phoenix's own client, until each push is answered ok; then it ends.
// Usage: node pipe.mjs <ws://host:port/socket>
import { createInterface } from "node:readline";
import { Socket } from "phoenix";
import WebSocket from "ws";

const socket = new Socket(process.argv[2], {
  transport: WebSocket,
  reconnectAfterMs: () => 50,
  rejoinAfterMs: () => 50,
});
socket.connect();
const events = socket.channel("events", {});
events.join();

let waiting = 0;
let isAll = false;

function end() {
  if (isAll && !waiting) socket.disconnect();
}

function push(event) {
  events
    .push("new_event", event, 3000)
    .receive("ok", () => {
      waiting -= 1;
      end();
    })
    .receive("error", (refusal) => {
      if (!refusal.retry_after_ms) throw new Error(`refused for good: ${JSON.stringify(refusal)}`);
      setTimeout(() => push(event), refusal.retry_after_ms);
    })
    .receive("timeout", () => push(event));
}

createInterface({ input: process.stdin })
  .on("line", (line) => {
    waiting += 1;
    push(JSON.parse(line));
  })
  .on("close", () => {
    isAll = true;
    end();
  });
