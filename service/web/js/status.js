// Under the stage: what the picture is, how far the try has come, what came out or went wrong.

import { $, h, say, set } from "./dom.js";
import { AGAIN, advice } from "./advice.js";
import { keyDialog, showDetails } from "./dialogs.js";
import { progressWords, resultFacts } from "./states.js";
import { summary, task } from "./tasks.js";
import { FORMATS, bytes, megapixels, size } from "./words.js";

let told = null;

export function wireStatus(app) {
  $("cancel").addEventListener("click", () => app.runner.cancel(app.selected));
  $("download").addEventListener("click", () => app.download(app.selected));
  $("use").addEventListener("click", () => {
    app.form.write(app.selected.values);
    app.draw();
  });
  $("details").addEventListener("click", () => showDetails(app, app.selected));
  $("discard").addEventListener("click", () => {
    app.discard(app.selected);
    app.stage.element.focus({ preventScroll: true });
  });
}

export function drawStatus(app) {
  const { current, selected: one } = app;
  set($("status"), "hidden", !current);
  const active = Boolean(one?.active);
  if (active && $("running").hidden) $("running").hidden = false;
  if (!active && !$("running").hidden) {
    // Focus would fall to the page's start with the button that had it.
    const lost = document.activeElement === $("cancel");
    $("running").hidden = true;
    if (lost) app.stage.element.focus({ preventScroll: true });
  }
  set($("actions"), "hidden", !one || active);
  for (const id of ["download", "details"]) set($(id), "hidden", one?.state !== "succeeded");
  if (active) {
    const bar = $("progress");
    if (["uploading", "running", "fetching"].includes(one.state) && (one.fraction > 0 || one.state === "uploading")) bar.value = one.fraction;
    else bar.removeAttribute("value");
    say($("progress-words"), progressWords(one));
  }
  $("facts").replaceChildren(...facts(current, one));
  drawTrouble(app, one);
}

function facts(current, one) {
  if (!current) return [];
  if (!one) {
    if (!current.ready) return [h("p", {}, "Opening")];
    const words = [current.name, FORMATS[current.format] ?? "unknown format"];
    if (current.width) words.push(size(current.width, current.height), megapixels(current.width * current.height));
    return [h("p", {}, [...words, bytes(current.file.size)].join(" · "))];
  }
  const title = h("strong", {}, `Try ${one.number}: ${task(one.values.task).label}`);
  const asked = summary(one.values);
  if (one.state === "canceled") return [h("p", {}, title, " · canceled")];
  if (one.state !== "succeeded") return [h("p", {}, title, asked && ` · ${asked}`)];
  const came = [size(one.width, one.height), asked, resultFacts(one)].filter(Boolean).join(" · ");
  const degraded = one.job.degraded ? [`The server had to change how it worked: ${one.job.degraded}.`] : [];
  return [h("p", {}, title, ` · ${came}`), ...[...one.warnings, ...degraded].map((text) => h("p", { class: "note" }, text))];
}

/** The alert is filled once for each failure, so that it is spoken once. */
function drawTrouble(app, one) {
  const error = one?.state === "failed" ? one.error : null;
  if (told === error) return;
  told = error;
  if (!error) {
    $("trouble").replaceChildren();
    return;
  }
  const { title, detail, todo, fields } = advice(error);
  const buttons = [];
  if (AGAIN.has(error.code)) buttons.push(h("button", { type: "button", onclick: () => again(app, one) }, "Try again"));
  if (error.status === 401 || error.status === 403) {
    buttons.push(h("button", { type: "button", onclick: () => keyDialog(app, () => again(app, one)) }, "Enter a key"));
  }
  $("trouble").replaceChildren(
    h("p", { class: "title" }, title),
    h("p", {}, detail),
    fields.length ? h("ul", {}, fields.map((text) => h("li", {}, text))) : "",
    todo && h("p", {}, todo),
    buttons.length ? h("div", { class: "buttons" }, buttons) : "",
    error.requestId ? h("p", { class: "soft" }, `Request ${error.requestId}`) : "",
  );
}

function again(app, one) {
  app.discard(one);
  app.run(one.picture, one.values);
}
