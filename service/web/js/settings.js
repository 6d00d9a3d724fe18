// Below the settings: what speaks against them, how long it may take, and the buttons.

import { $, h, reconcile, say, set } from "./dom.js";
import { calls, outputSize } from "./tasks.js";
import { duration } from "./words.js";

export function drawSettings(app) {
  const { current, pictures, form } = app;
  const found = current ? app.objections(current) : [];
  const stopped = found.some(({ stops }) => stops);
  reconcile($("checks"), found.map(({ stops, text }) => ({ id: text, stops, text })),
    ({ stops, text }) => h("li", { class: stops ? "stop" : "note" }, text), () => {});
  const needsMask = form.values.task === "inpaint" && current && !current.mask?.painted;
  $("run").disabled = !current?.ready || stopped || Boolean(needsMask);
  say($("run"), current?.tries.length ? "Restore again" : "Restore");
  const others = pictures.filter((picture) => picture.ready && !app.blocked(picture)).length;
  set($("run-all"), "hidden", others < 2 || form.values.task === "inpaint");
  say($("run-all"), `Restore all ${others}`);
  $("code").disabled = !current;
  say($("estimate"), current?.width && !stopped ? estimate(app) : "");
}

/** From how long this server took before; nothing is said before there is a measurement. */
function estimate({ current, form, rate, about }) {
  const made = calls(form.values, about.steps);
  if (!rate || !made) return "";
  const { width, height } = outputSize(form.values, current.width, current.height);
  return `About ${duration(Math.max(0.1, (rate * width * height * made) / 1e6))}`;
}
