// A try's state in words.

import { reads } from "./tasks.js";
import { duration, number, remaining } from "./words.js";

/** A word or two, for lists. */
export function stateWords(one) {
  const percent = `${Math.round(100 * one.fraction)} %`;
  const words = {
    waiting: "Waiting", uploading: `Uploading ${percent}`, sending: "Sending", busy: "Server busy",
    queued: one.position ? `${one.position} ahead` : "Queued", running: percent, fetching: "Fetching",
    succeeded: "Done", failed: "Failed", canceled: "Canceled",
  };
  return words[one.state];
}

/** A sentence, beside the progress bar. */
export function progressWords(one) {
  if (one.detail) return one.detail;
  if (one.state === "queued") {
    return one.position ? `Queued: ${one.position} ${one.position === 1 ? "job" : "jobs"} ahead` : "Queued: next in line";
  }
  if (one.state !== "running") return stateWords(one);
  if (!one.fraction) return "Started";
  const done = one.step ? `Step ${one.step} of ${one.steps}` : stateWords(one);
  return [done, one.eta === null ? "" : remaining(one.eta)].filter(Boolean).join(", ");
}

/** What came out, in one line. */
export function resultFacts(one) {
  const { effective, metrics } = one.job;
  const found = effective.found ?? {};
  const parts = [];
  if (found.chosen) parts.push(CHOSEN[found.chosen] ?? `found: ${found.chosen}`);
  if (one.values.noise === "auto" && found.noise > 0 && reads(one.values.task, "noise")) parts.push(`noise ${number(found.noise)} found`);
  if (found.exposure !== undefined && one.values.exposure === "auto") parts.push(`brightened ${number(found.exposure)} stops`);
  if (found.quality && one.values.quality === "auto") parts.push(`JPEG quality ${found.quality} found`);
  const calls = metrics.nfe ?? effective.nfe;
  if (calls) parts.push(`${calls} ${calls === 1 ? "call" : "calls"}`);
  if (one.seconds) parts.push(duration(one.seconds));
  return parts.join(" · ");
}

const CHOSEN = {
  none: "nothing to restore was found", denoise: "treated as noisy", "low-light-enhance": "treated as dark", dejpeg: "treated as JPEG-compressed",
};
