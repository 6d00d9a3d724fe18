// The stage: two pictures under one view, split by a divider or side by side.

import { $, coalesce, set } from "./dom.js";
import { View } from "./view.js";
import { MiniMap } from "./minimap.js";
import { listen } from "./gestures.js";

const MASK_PIXELS = 2048; // longest side of the painted mask as shown

export class Stage {
  /** `onView` is told when the zoom has changed, `onPaint` when the mask has. */
  constructor({ onView, onPaint }) {
    this.element = $("stage");
    this.divider = $("divider");
    this.view = new View();
    this.onView = onView;
    this.onPaint = onPaint;
    this.mode = "single";
    this.split = 50;
    this.peeking = false;
    this.mask = null;
    this.brush = { radius: 12, erase: false, on: false };
    this.sides = {};
    for (const side of ["left", "right"]) {
      const pane = $(`pane-${side}`);
      const sheet = pane.querySelector(".sheet");
      this.sides[side] = { pane, sheet, image: sheet.querySelector("img"), note: pane.querySelector(".pane-note"), layer: null };
    }
    this.minimap = new MiniMap($("minimap"), this);
    this.draw = coalesce(() => this.#draw());
    new ResizeObserver(() => this.#measure()).observe(this.element);
    listen(this);
  }

  /** layer: {url, width, height, alt, overlay, note}; a new frame size keeps what is looked at in place. */
  show(mode, left, right, mask) {
    const first = !this.sides.left.layer;
    this.mode = mode;
    this.mask = mask;
    for (const [side, layer] of [["left", left], ["right", right]]) this.#fill(this.sides[side], layer);
    const width = Math.max(left?.width ?? 0, right?.width ?? 0);
    const height = Math.max(left?.height ?? 0, right?.height ?? 0);
    this.element.dataset.mode = mode;
    this.#measure();
    if (width) this.view.setFrame(width, height);
    if (first) this.view.fit();
    this.draw();
  }

  /** Look at another picture from afar. */
  reset() {
    this.view.fit();
    this.split = 50;
  }

  peek(on) {
    this.peeking = on;
    this.draw();
  }

  setSplit(percent) {
    this.split = Math.min(100, Math.max(0, percent));
    this.draw();
  }

  /** A pointer's place in the pane it is over. */
  inPane({ clientX, clientY }) {
    const box = this.element.getBoundingClientRect();
    let x = clientX - box.left;
    let y = clientY - box.top;
    if (this.mode === "side") {
      if (this.stacked && y >= this.view.pane.height) y -= box.height - this.view.pane.height;
      if (!this.stacked && x >= this.view.pane.width) x -= box.width - this.view.pane.width;
    }
    return { x, y };
  }

  get stacked() {
    return this.element.clientHeight > this.element.clientWidth;
  }

  #fill(side, layer) {
    const { image, sheet, note } = side;
    if (image.dataset.url !== (layer?.url ?? "")) {
      image.dataset.url = layer?.url ?? "";
      if (layer?.url) image.src = layer.url;
      else image.removeAttribute("src");
    }
    image.hidden = !layer?.url;
    image.alt = layer?.alt ?? "";
    note.textContent = layer?.note ?? "";
    note.hidden = !layer?.note;
    const old = sheet.querySelector(".uncertainty");
    if (old !== (layer?.overlay ?? null)) {
      old?.remove();
      if (layer?.overlay) sheet.insertBefore(layer.overlay, image.nextSibling);
    }
    side.layer = layer;
  }

  #measure() {
    const { clientWidth, clientHeight } = this.element;
    const half = (length) => (length - 2) / 2;
    const side = this.mode === "side";
    set(this.element, "data-stacked", side && this.stacked);
    this.view.setPane(
      side && !this.stacked ? half(clientWidth) : clientWidth,
      side && this.stacked ? half(clientHeight) : clientHeight,
      window.devicePixelRatio,
    );
    this.draw();
  }

  #draw() {
    const { view, mode } = this;
    const { x, y } = view.origin;
    const split = this.peeking ? 100 : mode === "single" ? 100 : this.split;
    for (const { pane, sheet, layer } of Object.values(this.sides)) {
      sheet.style.width = `${view.frame.width}px`;
      sheet.style.height = `${view.frame.height}px`;
      sheet.style.transform = `translate(${x}px, ${y}px) scale(${view.scale})`;
      const own = layer && layer.width === view.frame.width;
      set(sheet, "data-crisp", own && !view.fitted && view.zoom >= 2);
      pane.style.clipPath = "";
    }
    if (mode !== "side") {
      this.sides.left.pane.style.clipPath = `inset(0 ${100 - split}% 0 0)`;
      this.sides.right.pane.style.clipPath = `inset(0 0 0 ${split}%)`;
    }
    const held = this.peeking && mode === "side";
    this.sides.right.pane.style.visibility = held ? "hidden" : "";
    this.divider.hidden = mode !== "split" || this.peeking;
    this.divider.style.left = `${this.split}%`;
    set(this.divider, "aria-valuenow", Math.round(this.split));
    set(this.divider, "aria-valuetext", `${Math.round(this.split)} % left, ${100 - Math.round(this.split)} % right`);
    set(this.element, "data-pannable", view.pannable);
    set(this.element, "data-painting", this.brush.on && this.mask !== null);
    this.#drawMask();
    this.minimap.draw();
    this.onView(view);
  }

  #drawMask() {
    const canvas = $("mask");
    canvas.hidden = !this.mask;
    if (!this.mask) return;
    const scale = Math.min(1, MASK_PIXELS / Math.max(this.mask.width, this.mask.height));
    const [width, height] = [Math.round(this.mask.width * scale), Math.round(this.mask.height * scale)];
    if (canvas.width !== width || canvas.height !== height) Object.assign(canvas, { width, height });
    this.mask.draw(canvas);
  }
}
