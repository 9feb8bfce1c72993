// @ts-check
/** What became of dead letters that were sent again, in words. Pure. */
import { exact } from "./format.js";

/**
 * @param {{replayed: number, duplicates: number, rejected: number, missing: string[], errors: {name: string, error: string}[]}} outcome
 */
export function outcomeWords({ replayed, duplicates, rejected, missing, errors }) {
  const parts = [];
  if (replayed > 0) parts.push(`${exact(replayed)} sent again; what fails again is a new dead letter.`);
  if (duplicates > 0) parts.push(`${exact(duplicates)} had been sent again before, and count once.`);
  if (rejected > 0) parts.push(`${exact(rejected)} rejected: ${errors[0]?.error ?? "no reason was given"}`);
  if (missing.length > 0) parts.push(`${exact(missing.length)} not there any more.`);
  return parts.length === 0 ? "There was none to send." : parts.join(" ");
}
