// The tools for painting a mask: a brush and an eraser, undo, or a mask from a file.

import { announce, h, say, set } from "./dom.js";

export class MaskTools {
  constructor(app) {
    this.app = app;
    this.trouble = h("p", { role: "alert", class: "hint" });
    this.paint = h("button", { type: "button", "aria-pressed": "false", onclick: () => this.#toggle(!this.on) }, "Paint on the picture");
    this.erase = h("input", { type: "checkbox", onchange: (event) => (this.#brush.erase = event.target.checked) });
    this.radius = h("input", { type: "range", id: "brush-size", min: 1, max: 100, value: 24, oninput: () => this.#resize() });
    this.undo = h("button", { type: "button", onclick: () => this.#change((mask) => mask.undo(), "Undone") }, "Undo");
    this.clear = h("button", { type: "button", onclick: () => this.#change((mask) => mask.clear(), "Mask cleared") }, "Clear");
    this.file = h("input", { type: "file", accept: "image/*", hidden: true, onchange: () => this.#load() });
    this.load = h("button", { type: "button", onclick: () => this.file.click() }, "Load a mask");
    this.element = h("fieldset", { class: "field", "data-field": "mask" }, h("legend", {}, "What is to be filled in"),
      h("div", { class: "buttons" }, this.paint, h("label", { class: "check" }, this.erase, "Erase")),
      h("div", { class: "field-head" }, h("label", { for: "brush-size" }, "Brush size"), this.radius),
      h("div", { class: "buttons" }, this.undo, this.clear, this.load), this.file, this.trouble,
      h("p", { class: "hint" }, "A mask from a file has the picture's size and is bright where it is to be filled in."));
  }

  get #brush() {
    return this.app.stage.brush;
  }

  get on() {
    return this.#brush.on;
  }

  stop() {
    if (this.on) this.#toggle(false);
  }

  draw() {
    const { current, form } = this.app;
    const usable = form.values.task === "inpaint" && Boolean(current?.mask);
    if (!usable && this.on) this.#brush.on = false;
    set(this.paint, "aria-pressed", this.on ? "true" : "false");
    say(this.paint, this.on ? "Stop painting" : "Paint on the picture");
    for (const control of [this.paint, this.load]) control.disabled = !usable;
    for (const control of [this.undo, this.clear]) control.disabled = !usable || !(current.mask.strokes.length || current.mask.loaded);
    this.#resize();
  }

  #toggle(on) {
    this.#brush.on = on;
    if (on) {
      announce("Painting: arrow keys move the brush, space paints");
      this.app.stage.element.focus({ preventScroll: true });
    }
    this.app.draw();
  }

  /** The slider is a share of the picture, so that it fits pictures of any size. */
  #resize() {
    const mask = this.app.current?.mask;
    if (mask) this.#brush.radius = Math.max(1, (Math.max(mask.width, mask.height) * (this.radius.valueAsNumber / 100) ** 1.5) / 5);
  }

  #change(action, words) {
    action(this.app.current.mask);
    announce(words);
    this.app.draw();
  }

  async #load() {
    const [file] = this.file.files;
    this.file.value = "";
    if (!file) return;
    say(this.trouble, "");
    try {
      await this.app.current.mask.load(file);
      announce("Mask loaded");
    } catch (error) {
      say(this.trouble, error.message);
    }
    this.app.draw();
  }
}
