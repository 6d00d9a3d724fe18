// A small overview in the corner while only a part of the picture is seen; a press moves the view there.

const SIDE = 112; // CSS pixels of its longer side

export class MiniMap {
  constructor(element, stage) {
    this.element = element;
    this.stage = stage;
    this.canvas = element.querySelector("canvas");
    this.window = element.querySelector(".window");
    this.drawn = "";
    let held = false;
    element.addEventListener("pointerdown", (event) => {
      held = true;
      element.setPointerCapture(event.pointerId);
      this.#go(event);
    });
    element.addEventListener("pointermove", (event) => held && this.#go(event));
    for (const end of ["pointerup", "pointercancel"]) element.addEventListener(end, () => (held = false));
  }

  draw() {
    const { view, sides } = this.stage;
    const image = sides.right.layer?.url && this.stage.mode !== "single" ? sides.right.image : sides.left.image;
    this.element.hidden = !view.pannable || image.hidden;
    if (this.element.hidden) return;
    const scale = SIDE / Math.max(view.frame.width, view.frame.height);
    const [width, height] = [view.frame.width * scale, view.frame.height * scale];
    if (this.drawn !== image.currentSrc && image.complete && image.naturalWidth) {
      Object.assign(this.canvas, { width: Math.round(2 * width), height: Math.round(2 * height) });
      this.canvas.getContext("2d").drawImage(image, 0, 0, this.canvas.width, this.canvas.height);
      this.drawn = image.currentSrc;
    }
    const { left, top, right, bottom } = view.window;
    Object.assign(this.element.style, { width: `${width}px`, height: `${height}px` });
    Object.assign(this.window.style, {
      left: `${left * 100}%`, top: `${top * 100}%`, width: `${(right - left) * 100}%`, height: `${(bottom - top) * 100}%`,
    });
  }

  #go({ clientX, clientY }) {
    const box = this.element.getBoundingClientRect();
    this.stage.view.lookAt((clientX - box.left) / box.width, (clientY - box.top) / box.height);
    this.stage.draw();
  }
}
