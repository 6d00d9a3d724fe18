// Where the eye is: one zoom and one centre, shared by everything on the stage, so that panning is synchronised.

export const MAX_ZOOM = 4;
const MARGIN = 12; // CSS pixels of surround that a fitted picture keeps: an edge needs ground to be judged against

/** All sizes are CSS pixels; a zoom of 1 shows one pixel of the picture on one pixel of the screen. */
export class View {
  constructor() {
    this.frame = { width: 1, height: 1 };
    this.pane = { width: 1, height: 1 };
    this.density = 1;
    this.fitted = true;
    this.zoom = 1;
    this.centre = { x: 0.5, y: 0.5 };
  }

  /** The picture's size in its own pixels; what is looked at stays in place, whatever the number of pixels. */
  setFrame(width, height) {
    if (width === this.frame.width && height === this.frame.height) return;
    if (!this.fitted) this.zoom *= this.frame.width / width;
    this.frame = { width, height };
    this.#settle();
  }

  setPane(width, height, density) {
    this.pane = { width: Math.max(1, width), height: Math.max(1, height) };
    this.density = density;
    this.#settle();
  }

  get fitZoom() {
    const { frame, pane, density } = this;
    const room = (length) => Math.max(1, length - 2 * MARGIN);
    return Math.min(MAX_ZOOM, Math.min(room(pane.width) / frame.width, room(pane.height) / frame.height) * density);
  }

  get minZoom() {
    return Math.min(1, this.fitZoom);
  }

  /** CSS pixels per pixel of the picture. */
  get scale() {
    return this.zoom / this.density;
  }

  fit() {
    this.fitted = true;
    this.centre = { x: 0.5, y: 0.5 };
    this.#settle();
  }

  /** Zoom, keeping the point under `at` (CSS pixels in the pane; its middle when not given) where it is. */
  zoomTo(zoom, at = { x: this.pane.width / 2, y: this.pane.height / 2 }) {
    const before = this.toFrame(at);
    this.fitted = false;
    this.zoom = Math.min(MAX_ZOOM, Math.max(this.minZoom, zoom));
    const after = this.toFrame(at);
    this.centre = { x: this.centre.x + before.x - after.x, y: this.centre.y + before.y - after.y };
    this.#settle();
  }

  /** Move the picture by CSS pixels. */
  panBy(dx, dy) {
    this.centre = {
      x: this.centre.x - dx / (this.frame.width * this.scale),
      y: this.centre.y - dy / (this.frame.height * this.scale),
    };
    this.#settle();
  }

  lookAt(x, y) {
    this.centre = { x, y };
    this.#settle();
  }

  /** A point of the pane in fractions of the picture. */
  toFrame({ x, y }) {
    return {
      x: this.centre.x + (x - this.pane.width / 2) / (this.frame.width * this.scale),
      y: this.centre.y + (y - this.pane.height / 2) / (this.frame.height * this.scale),
    };
  }

  /** Left and top edge of the picture in the pane, on whole pixels of the screen: else 100 % would be blurred. */
  get origin() {
    const snap = (value) => Math.round(value * this.density) / this.density;
    return {
      x: snap(this.pane.width / 2 - this.centre.x * this.frame.width * this.scale),
      y: snap(this.pane.height / 2 - this.centre.y * this.frame.height * this.scale),
    };
  }

  /** The part of the picture that is seen, as fractions [0, 1]. */
  get window() {
    const a = this.toFrame({ x: 0, y: 0 });
    const b = this.toFrame({ x: this.pane.width, y: this.pane.height });
    const cut = (value) => Math.min(1, Math.max(0, value));
    return { left: cut(a.x), top: cut(a.y), right: cut(b.x), bottom: cut(b.y) };
  }

  get pannable() {
    const { left, top, right, bottom } = this.window;
    return right - left < 0.999 || bottom - top < 0.999;
  }

  #settle() {
    if (this.fitted) this.zoom = this.fitZoom;
    this.zoom = Math.min(MAX_ZOOM, Math.max(this.minZoom, this.zoom));
    const hold = (centre, pane, frame) => {
      const half = pane / (2 * frame * this.scale);
      return half >= 0.5 ? 0.5 : Math.min(1 - half, Math.max(half, centre));
    };
    this.centre = {
      x: hold(this.centre.x, this.pane.width, this.frame.width),
      y: hold(this.centre.y, this.pane.height, this.frame.height),
    };
  }
}
