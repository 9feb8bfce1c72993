// @ts-check
/**
 * The thin shell around the Phoenix channel: joins, leaves and joins again, and hands what comes to its
 * caller. It keeps no state of the page and draws no conclusions but one: a diff that does not follow on
 * means leaving the channel and joining it again, for a fresh snapshot.
 *
 * @typedef {object} Handlers
 * @property {(snapshot: import("./types.js").Snapshot) => void} snapshot  what was asked for
 * @property {(snapshot: import("./types.js").Snapshot) => void} skipped  instead of diffs that this viewer was too slow for
 * @property {(diff: import("./types.js").Diff) => boolean} diff  false when it does not follow on
 * @property {() => void} lost
 * @property {(attempt: number) => void} retrying
 * @property {(retryMs: number) => void} draining
 * @property {(reason: string) => void} refused
 */
import { Socket } from "phoenix";

const TOPIC = "dashboard:overview";
const BACKOFF_MS = [500, 1_000, 2_000, 4_000, 8_000, 15_000];
/** Gaps closer together than this are not cured by joining at once. */
const GAP_AGAIN_MS = 5_000;
const GAP_WAIT_MS = 1_000;
/** A channel that the server has closed is joined again after this. */
const CLOSED_WAIT_MS = 1_000;

/** Half to the full wait, so that a thousand pages do not all come back in the same instant.
 * @param {number} attempt from 1 @param {() => number} [random] */
export function retryAfterMs(attempt, random = Math.random) {
  const wait = BACKOFF_MS[Math.min(attempt, BACKOFF_MS.length) - 1];
  return Math.round(wait * (0.5 + random() / 2));
}

export class LiveView {
  /** @param {string} url endpoint of the socket @param {() => object} params of the join, asked for anew each time
   * @param {Handlers} handlers */
  constructor(url, params, handlers) {
    this.params = params;
    this.handlers = handlers;
    this.drainMs = 0;
    this.gapAt = -Infinity;
    /** @type {any} */
    this.channel = null;
    /** @type {ReturnType<typeof setTimeout> | undefined} */
    this.waiting = undefined;
    /** @type {any} */
    this.socket = new Socket(url, {
      reconnectAfterMs: (/** @type {number} */ attempt) => this.nextWait(attempt),
      rejoinAfterMs: (/** @type {number} */ attempt) => this.nextWait(attempt),
    });
    addEventListener("online", () => this.retryNow());
  }

  /** Connect and join; from now on the handlers are called. */
  open() {
    this.socket.onClose(() => this.handlers.lost());
    this.socket.connect();
    this.join();
  }

  /** Leave and join again: for another range, or for a fresh snapshot. */
  join() {
    clearTimeout(this.waiting);
    const previous = this.channel;
    const channel = this.socket.channel(TOPIC, this.params);
    this.channel = channel;
    previous?.leave();
    this.listen(channel);
    const { handlers } = this;
    channel.join()
      .receive("ok", (/** @type {any} */ snapshot) => {
        this.drainMs = 0;
        if (channel === this.channel) handlers.snapshot(snapshot);
      })
      .receive("error", (/** @type {any} */ answer) => {
        if (channel === this.channel) handlers.refused(String(answer?.reason ?? "the server gave no reason"));
      });
  }

  /** Do not wait any longer for the next attempt. */
  retryNow() {
    if (this.socket.isConnected()) return;
    this.socket.reconnectTimer.reset();
    this.socket.disconnect(() => this.socket.connect());
  }

  /** @param {any} channel */
  listen(channel) {
    const { handlers } = this;
    const current = (/** @type {(payload: any) => void} */ handle) => (/** @type {any} */ payload) => {
      if (channel === this.channel) handle(payload);
    };
    channel.on("snapshot", current((snapshot) => handlers.skipped(snapshot)));
    channel.on("diff", current((diff) => {
      // a broadcast can come before the answer to the join: the snapshot will hold it
      if (channel.state === "joined" && !handlers.diff(diff)) this.gap();
    }));
    channel.on("draining", current(({ retry_ms: retryMs }) => {
      this.drainMs = retryMs;
      handlers.draining(retryMs);
    }));
    channel.onError(current(() => handlers.lost()));
    channel.onClose(current(() => {
      this.channel = null;
      handlers.lost();
      this.waiting = setTimeout(() => this.join(), CLOSED_WAIT_MS);
    }));
  }

  gap() {
    const now = performance.now();
    const again = now - this.gapAt < GAP_AGAIN_MS;
    this.gapAt = now;
    if (!again) return this.join();
    const { channel } = this;
    this.channel = null;
    channel?.leave();
    clearTimeout(this.waiting);
    this.waiting = setTimeout(() => this.join(), GAP_WAIT_MS);
  }

  /** @param {number} attempt */
  nextWait(attempt) {
    this.handlers.retrying(attempt);
    return attempt === 1 && this.drainMs > 0 ? this.drainMs : retryAfterMs(attempt);
  }
}
