// The history: every try of the current picture.

import { $, h, reconcile, say, set } from "./dom.js";
import { stateWords } from "./states.js";
import { summary, task } from "./tasks.js";
import { duration } from "./words.js";

export function drawTries(app) {
  const { current } = app;
  set($("history"), "hidden", !current?.tries.length);
  reconcile($("tries"), current?.tries ?? [],
    (one) => h("li", {}, h("button", { type: "button", onclick: () => show(app, one) },
      h("img", { alt: "" }), h("span", { class: "words" },
        h("span", { class: "name" }, `${one.number}  ${task(one.values.task).label}`),
        h("span", { class: "soft" }, summary(one.values) || "all auto"), h("span", { class: "state" })))),
    (item, one) => {
      const image = item.querySelector("img");
      if (image.dataset.url !== (one.url ?? "")) {
        image.dataset.url = one.url ?? "";
        if (one.url) image.src = one.url;
      }
      set(image, "data-none", !one.url);
      set(item.querySelector("button"), "aria-current", current.right === one.id && "true");
      set(item, "data-state", one.state);
      const took = one.state === "succeeded" ? `, ${duration(one.seconds)}` : "";
      say(item.querySelector(".state"), stateWords(one) + took);
    });
}

function show(app, one) {
  one.picture.right = one.id;
  if (one.picture.left === one.id) one.picture.left = "given";
  app.maskTools.stop();
  app.draw();
}
