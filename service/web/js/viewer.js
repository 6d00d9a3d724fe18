// What the stage shows, and the controls above it: sides, comparison, zoom, uncertainty.

import { $, h, say, set } from "./dom.js";
import { task } from "./tasks.js";
import { number } from "./words.js";
import { drawLegend } from "./uncertainty.js";

let mode = "split";

export function wireViewer(app) {
  const { stage } = app;
  for (const side of ["left", "right"]) {
    $(side).addEventListener("change", (event) => {
      app.current[side] = event.target.value;
      app.maskTools.stop();
      app.draw();
    });
  }
  $("modes").addEventListener("change", (event) => {
    mode = event.target.value;
    app.draw();
  });
  const zoom = (change) => () => {
    change();
    stage.draw();
  };
  $("zoom-in").addEventListener("click", zoom(() => stage.view.zoomTo(stage.view.zoom * 1.25)));
  $("zoom-out").addEventListener("click", zoom(() => stage.view.zoomTo(stage.view.zoom / 1.25)));
  $("zoom-fit").addEventListener("click", zoom(() => stage.view.fit()));
  $("zoom-100").addEventListener("click", zoom(() => stage.view.zoomTo(1)));
  $("zoom-400").addEventListener("click", zoom(() => stage.view.zoomTo(4)));
  hold($("peek"), (on) => stage.peek(on));
  $("overlay-on").addEventListener("change", () => app.draw());
  $("overlay-opacity").addEventListener("input", () => app.draw());
  drawLegend(document.querySelector("#legend canvas"));
}

/** Pressed with a pointer or a key, for as long as it is held. */
function hold(button, act) {
  const press = (on) => {
    set(button, "data-held", on);
    act(on);
  };
  button.addEventListener("pointerdown", () => press(true));
  button.addEventListener("keydown", (event) => [" ", "Enter"].includes(event.key) && !event.repeat && press(true));
  for (const end of ["pointerup", "pointerleave", "pointercancel", "keyup", "blur"]) button.addEventListener(end, () => press(false));
}

export function drawZoom(view) {
  say($("zoom-now"), `${number(100 * view.zoom, 0)} %`);
  const at = (zoom) => !view.fitted && Math.abs(view.zoom - zoom) < 0.005;
  set($("zoom-fit"), "aria-pressed", view.fitted ? "true" : "false");
  set($("zoom-100"), "aria-pressed", at(1) ? "true" : "false");
  set($("zoom-400"), "aria-pressed", at(4) ? "true" : "false");
}

export function drawViewer(app) {
  const { current, stage, form } = app;
  const painting = stage.brush.on;
  const left = current && app.shown(current, current.left);
  const right = current && app.shown(current, current.right);
  const comparing = Boolean(current?.tries.length) && !painting;
  const pair = comparing && Boolean(right?.active || right?.url);
  set($("compare"), "data-alone", !current?.tries.length);
  for (const side of ["left", "right"]) fillSelect($(side), current, current?.[side]);
  for (const button of document.querySelectorAll(".zoom button")) button.disabled = !current?.url;
  set($("modes"), "disabled", !pair);
  set($("peek"), "disabled", !pair);
  if (!current) return;

  const overlay = uncertainty(right ?? left);
  const mask = form.values.task === "inpaint" && (painting || !pair) ? current.mask : null;
  const given = layer(app, left);
  const shown = pair ? layer(app, right, overlay) : null;
  stage.show(pair ? mode : "single", painting ? layer(app, null) : given, shown, mask);
  set(stage.element, "aria-label", pair ? `${given.alt} on the left, ${shown.alt} on the right` : given.alt);
  set($("emerging"), "hidden", !(pair && right.active && right.preview));
}

/** A picture for one side of the stage; while a try has nothing to show, the given picture stands in. */
function layer(app, one, overlay = null) {
  const { current } = app;
  const name = one ? `try ${one.number}, ${task(one.values.task).label}` : `${current.name} as given`;
  const [width, height] = one?.width ? [one.width, one.height] : [current.width ?? 0, current.height ?? 0];
  const none = !current.url && !one?.url;
  const note = !none ? "" : one?.state === "succeeded" ? "The browser cannot show this format. Download it instead." :
    current.ready ? "The browser cannot show this picture." : "";
  const url = one ? (one.url ?? (one.active ? current.url : null)) : current.url;
  return { url, width, height, alt: name, overlay, note: one && !one.active && !url ? (note || "No result") : note };
}

function uncertainty(one) {
  const map = one?.map ?? null;
  set($("overlay"), "hidden", !map);
  if (!map || !$("overlay-on").checked) return null;
  say($("legend-top"), `${number(map.top)}`);
  set($("legend"), "aria-label", `Dark is 0, light is ${number(map.top)} or more levels of 255`);
  map.canvas.style.opacity = $("overlay-opacity").value;
  return map.canvas;
}

function fillSelect(select, current, chosen) {
  const options = current ? [["given", "Given"], ...current.tries.map((one) => [one.id, `${one.number} ${task(one.values.task).label}`])] : [];
  const key = JSON.stringify(options);
  if (select.dataset.options !== key) {
    select.dataset.options = key;
    select.replaceChildren(...options.map(([value, words]) => h("option", { value }, words)));
  }
  select.value = chosen ?? "given";
  select.disabled = !current?.tries.length;
}
