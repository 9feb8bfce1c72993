// @ts-check
/**
 * How times are written, in the viewer's zone or in UTC; and what stands in a field for a time. Pure.
 *
 * @typedef {ReturnType<typeof timesIn>} Times
 */

const DAY_MS = 86_400_000;

/** Everything that writes a time in one zone. @param {boolean} utc or else the viewer's zone */
export function timesIn(utc) {
  const timeZone = utc ? "UTC" : undefined;
  const zone = utc ? "UTC" : Intl.DateTimeFormat().resolvedOptions().timeZone;
  const clock = writer({ hour: "2-digit", minute: "2-digit", second: "2-digit" }, timeZone);
  const minute = writer({ hour: "2-digit", minute: "2-digit" }, timeZone);
  const day = writer({ day: "numeric", month: "short" }, timeZone);
  const dayOfYear = writer({ day: "numeric", month: "short", year: "numeric" }, timeZone);
  const year = writer({ year: "numeric" }, timeZone);

  /** The day; the year only where it is not this one. @param {number} ms @param {number} now */
  const date = (ms, now) => (year(ms) === year(now) ? day(ms) : dayOfYear(ms));

  /** The day and the time of day. @param {number} ms @param {number} now */
  const moment = (ms, now) => `${date(ms, now)} ${minute(ms)}`;

  return {
    utc, zone, clock, moment,

    /** The time of day to the second; of another day the date, and the time to the minute. @param {number} ms @param {number} now */
    recent(ms, now) {
      return dayOfYear(ms) === dayOfYear(now) ? clock(ms) : moment(ms, now);
    },

    /** A stretch of time, without saying a day twice: 12 Mar 14:00 – 15:30.
     * @param {number} from @param {number} to @param {number} now */
    stretch(from, to, now) {
      if (dayOfYear(from) !== dayOfYear(to)) return `${moment(from, now)} – ${moment(to, now)}`;
      const time = to - from < 120_000 ? clock : minute;
      return `${date(from, now)} ${time(from)} – ${time(to)}`;
    },

    /** A tick on the time axis, as fine as the ticks are apart. @param {number} ms @param {number} stepMs */
    tick(ms, stepMs) {
      if (stepMs < 60_000) return clock(ms);
      if (stepMs < DAY_MS) return minute(ms) === "00:00" ? day(ms) : minute(ms);
      return stepMs < 300 * DAY_MS ? day(ms) : year(ms);
    },

    /** A bucket as a table and a screen reader name it. @param {number} ms @param {number} stepMs @param {number} now */
    bucket(ms, stepMs, now) {
      const time = stepMs < 60_000 ? clock(ms) : minute(ms);
      if (dayOfYear(ms) === dayOfYear(now)) return time;
      return stepMs >= DAY_MS ? date(ms, now) : `${date(ms, now)} ${time}`;
    },

    /** What a field for date and time shows: 2026-03-12T14:00:05. @param {number} ms */
    field(ms) {
      const shift = utc ? 0 : new Date(ms).getTimezoneOffset() * 60_000;
      return new Date(ms - shift).toISOString().slice(0, 19);
    },

    /** What was typed into such a field, as epoch milliseconds; null where it is no time. @param {string} text */
    read(text) {
      const ms = text === "" ? NaN : Date.parse(utc ? `${text}Z` : text);
      return Number.isFinite(ms) ? ms : null;
    },
  };
}

/** @param {Intl.DateTimeFormatOptions} options @param {string | undefined} timeZone @returns {(ms: number) => string} */
function writer(options, timeZone) {
  const format = new Intl.DateTimeFormat("en-GB", { ...options, timeZone });
  return (ms) => format.format(ms);
}
