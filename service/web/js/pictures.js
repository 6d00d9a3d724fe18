// The pictures of this session, and the rail that shows them with their state.

import { $, h, reconcile, say, set } from "./dom.js";
import { inspect } from "./inspect.js";
import { Mask } from "./mask.js";
import { size } from "./words.js";
import { stateWords } from "./states.js";

const THUMB = 192; // longest side in pixels

let ids = 0;

export class Picture {
  constructor(file) {
    Object.assign(this, {
      id: `picture-${++ids}`, file, name: file.name || "pasted.png", format: null, animated: false, url: null,
      width: null, height: null, thumb: null, ready: false, uploadId: null, mask: null, tries: [], left: "given", right: null,
    });
  }

  /** Find out what it is, and make its thumbnail. */
  async open() {
    Object.assign(this, await inspect(this.file), { ready: true });
    if (!this.url) return;
    this.mask = new Mask(this.width, this.height);
    const scale = THUMB / Math.max(this.width, this.height);
    const options = { resizeWidth: Math.max(1, Math.round(this.width * scale)), resizeHeight: Math.max(1, Math.round(this.height * scale)), resizeQuality: "medium" };
    this.thumb = await createImageBitmap(this.file, options).catch(() => null);
  }

  get last() {
    return this.tries.at(-1) ?? null;
  }

  release() {
    if (this.url) URL.revokeObjectURL(this.url);
    for (const one of this.tries) one.release();
  }
}

/** Draw the rail. */
export function drawRail(pictures, current, { choose, remove, blocked }) {
  reconcile($("pictures"), pictures,
    (picture) => h("li", {},
      h("button", { type: "button", class: "thumb", onclick: () => choose(picture) },
        h("canvas", { "aria-hidden": "true" }), h("span", { class: "name" }, picture.name), h("span", { class: "state" })),
      h("button", { type: "button", class: "remove quiet", "aria-label": `Remove ${picture.name}`, onclick: () => remove(picture) }, "×")),
    (item, picture) => {
      const button = item.querySelector(".thumb");
      const canvas = item.querySelector("canvas");
      const { last } = picture;
      set(button, "aria-current", picture === current && "true");
      set(button, "title", picture.width ? `${picture.name}, ${size(picture.width, picture.height)}` : picture.name);
      say(item.querySelector(".state"), last ? stateWords(last) : blocked(picture) ? "Not accepted" : picture.ready ? "Ready" : "Opening");
      set(item, "data-state", last?.state ?? (blocked(picture) ? "failed" : "ready"));
      item.style.setProperty("--done", last?.active ? last.fraction : 0);
      if (picture.thumb && canvas.dataset.drawn !== "") {
        Object.assign(canvas, { width: picture.thumb.width, height: picture.thumb.height });
        canvas.getContext("2d").drawImage(picture.thumb, 0, 0);
        canvas.dataset.drawn = "";
      }
    });
}
