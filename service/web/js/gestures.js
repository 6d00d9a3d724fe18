// Pointer, touch, wheel and keys on the stage.

import { $ } from "./dom.js";

const CLICK = 4; // CSS pixels that a press may wander and still be a click
const wide = matchMedia("(min-width: 60rem)");

export function listen(stage) {
  const { element, view } = stage;
  const pointers = new Map();
  let moved = 0;
  let pinch = null;
  let painting = false;
  let space = false;
  let splitBefore = stage.split;

  const painter = brush(stage);

  element.addEventListener("pointerdown", (event) => {
    if (event.target.closest("#divider, #minimap, button, select") || event.button > 1) return;
    element.setPointerCapture(event.pointerId);
    pointers.set(event.pointerId, { x: event.clientX, y: event.clientY });
    moved = 0;
    if (pointers.size === 2) {
      if (painting) painter.drop();
      painting = false;
      pinch = spread(pointers);
    } else if (stage.brush.on && stage.mask && event.button === 0 && !space) {
      painting = true;
      painter.begin(event);
    }
  });

  element.addEventListener("pointermove", (event) => {
    painter.hover(event);
    const last = pointers.get(event.pointerId);
    if (!last) return;
    const [dx, dy] = [event.clientX - last.x, event.clientY - last.y];
    moved += Math.hypot(dx, dy);
    pointers.set(event.pointerId, { x: event.clientX, y: event.clientY });
    if (painting) painter.extend(event);
    else if (pointers.size === 2) {
      const now = spread(pointers);
      view.panBy(now.x - pinch.x, now.y - pinch.y);
      view.zoomTo(view.zoom * (now.distance / pinch.distance), stage.inPane({ clientX: now.x, clientY: now.y }));
      pinch = now;
    } else if (moved > CLICK) view.panBy(dx, dy);
    stage.draw();
  });

  for (const name of ["pointerup", "pointercancel"]) {
    element.addEventListener(name, (event) => {
      pointers.delete(event.pointerId);
      if (painting && pointers.size === 0) {
        painting = false;
        painter.end();
      }
    });
  }
  element.addEventListener("pointerleave", () => painter.hide());

  // A click puts the divider there; a double click zooms in there, and back, and leaves the divider alone.
  element.addEventListener("click", (event) => {
    if (event.target.closest("#divider, #minimap, button") || moved > CLICK || stage.brush.on) return;
    if (stage.mode !== "split" || event.detail > 1) return;
    splitBefore = stage.split;
    const box = element.getBoundingClientRect();
    stage.setSplit((100 * (event.clientX - box.left)) / box.width);
  });
  element.addEventListener("dblclick", (event) => {
    if (event.target.closest("#divider, #minimap, button") || stage.brush.on) return;
    stage.setSplit(splitBefore);
    if (view.fitted) view.zoomTo(view.fitZoom < 1 ? 1 : 2, stage.inPane(event));
    else view.fit();
    stage.draw();
  });

  // The wheel zooms where the page itself cannot scroll, or when the picture was clicked, or as a track pad's pinch.
  element.addEventListener(
    "wheel",
    (event) => {
      if (!wide.matches && !event.ctrlKey && document.activeElement !== element) return;
      event.preventDefault();
      const lines = event.deltaMode === WheelEvent.DOM_DELTA_LINE ? 16 : 1;
      view.zoomTo(view.zoom * Math.exp(-event.deltaY * lines * (event.ctrlKey ? 0.01 : 0.0015)), stage.inPane(event));
      stage.draw();
    },
    { passive: false },
  );

  element.addEventListener("keydown", (event) => {
    if (event.target !== element || event.ctrlKey || event.metaKey || event.altKey) return;
    const far = event.shiftKey ? 0.5 : 0.1;
    const { width, height } = view.pane;
    const arrows = { ArrowLeft: [1, 0], ArrowRight: [-1, 0], ArrowUp: [0, 1], ArrowDown: [0, -1] };
    const zooms = { "+": 1.25, "=": 1.25, "-": 0.8 };
    const arrow = arrows[event.key];
    if (arrow && stage.brush.on && stage.mask && !event.shiftKey) painter.move(-arrow[0], -arrow[1]);
    else if (arrow) view.panBy(arrow[0] * far * width, arrow[1] * far * height);
    else if (event.key in zooms) view.zoomTo(view.zoom * zooms[event.key]);
    else if (event.key === "0") view.fit();
    else if (["1", "2", "4"].includes(event.key)) view.zoomTo(Number(event.key));
    else if (event.key === "b") stage.peek(true);
    else if (event.key === " " && stage.brush.on && stage.mask) {
      space = true;
      painter.stamp();
    } else return;
    event.preventDefault();
    stage.draw();
  });
  element.addEventListener("keyup", (event) => {
    if (event.key === "b") stage.peek(false);
    if (event.key === " ") space = false;
  });
  element.addEventListener("blur", () => {
    space = false;
    if (stage.peeking) stage.peek(false);
  });

  divider(stage);
}

function spread(pointers) {
  const [a, b] = [...pointers.values()];
  return { x: (a.x + b.x) / 2, y: (a.y + b.y) / 2, distance: Math.max(1, Math.hypot(a.x - b.x, a.y - b.y)) };
}

function divider(stage) {
  const handle = stage.divider;
  let held = false;
  handle.addEventListener("pointerdown", (event) => {
    held = true;
    handle.setPointerCapture(event.pointerId);
  });
  handle.addEventListener("pointermove", (event) => {
    if (!held) return;
    const box = stage.element.getBoundingClientRect();
    stage.setSplit((100 * (event.clientX - box.left)) / box.width);
  });
  for (const end of ["pointerup", "pointercancel"]) handle.addEventListener(end, () => (held = false));
  handle.addEventListener("keydown", (event) => {
    const step = event.shiftKey ? 10 : 1;
    const moves = { ArrowLeft: -step, ArrowDown: -step, ArrowRight: step, ArrowUp: step, PageDown: -10, PageUp: 10 };
    const ends = { Home: 0, End: 100 };
    if (event.key in moves) stage.setSplit(stage.split + moves[event.key]);
    else if (event.key in ends) stage.setSplit(ends[event.key]);
    else return;
    event.preventDefault();
  });
}

/** Painting on the mask, with a ring that shows the brush. */
function brush(stage) {
  const ring = $("brush");
  let cursor = null; // CSS pixels in the pane, moved by the arrow keys or the pointer

  const place = (at) => {
    const { x, y } = stage.view.toFrame(at);
    return { x: x * stage.mask.width, y: y * stage.mask.height };
  };
  const show = () => {
    ring.hidden = !(stage.brush.on && stage.mask && cursor);
    if (ring.hidden) return;
    const across = 2 * stage.brush.radius * stage.view.scale * (stage.view.frame.width / stage.mask.width);
    Object.assign(ring.style, { width: `${across}px`, height: `${across}px`, left: `${cursor.x}px`, top: `${cursor.y}px` });
  };
  const begin = (at) => {
    cursor = at;
    stage.mask.begin(place(at), stage.brush.radius, stage.brush.erase);
    show();
    stage.draw();
  };
  return {
    begin: (event) => begin(stage.inPane(event)),
    extend(event) {
      for (const one of event.getCoalescedEvents?.() ?? [event]) stage.mask.extend(place(stage.inPane(one)));
    },
    end: () => stage.onPaint(),
    drop() {
      stage.mask.undo();
      stage.onPaint();
    },
    hover(event) {
      if (!stage.brush.on || event.pointerType === "touch") return;
      cursor = stage.inPane(event);
      show();
    },
    hide: () => (ring.hidden = true),
    move(dx, dy) {
      cursor ??= { x: stage.view.pane.width / 2, y: stage.view.pane.height / 2 };
      const step = Math.max(4, (stage.brush.radius * stage.view.scale) / 2);
      cursor = { x: cursor.x + dx * step, y: cursor.y + dy * step };
      show();
    },
    stamp() {
      begin(cursor ?? { x: stage.view.pane.width / 2, y: stage.view.pane.height / 2 });
      stage.onPaint();
    },
  };
}
