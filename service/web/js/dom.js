// The few helpers that stand in for a framework. Nothing here or elsewhere writes HTML from text.

export const $ = (id) => document.getElementById(id);

/** An element; `on...` attributes are listeners, true and false set and leave out an attribute. */
export function h(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else set(element, name, value);
  }
  element.append(...children.flat().filter((child) => child !== null && child !== undefined && child !== false && child !== ""));
  return element;
}

export function set(element, name, value) {
  if (value === null || value === undefined || value === false) element.removeAttribute(name);
  else element.setAttribute(name, value === true ? "" : String(value));
}

/** Set text only where it differs, so that live regions speak once. */
export function say(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

/** Keep one child of `list` for each item, in order, without rebuilding those that stay (focus survives). */
export function reconcile(list, items, create, update) {
  const known = new Map([...list.children].map((child) => [child.dataset.key, child]));
  let place = list.firstElementChild;
  for (const item of items) {
    const key = String(item.id);
    let child = known.get(key);
    known.delete(key);
    if (!child) {
      child = create(item);
      child.dataset.key = key;
    }
    if (child === place) place = place.nextElementSibling;
    else list.insertBefore(child, place);
    update(child, item);
  }
  for (const child of known.values()) child.remove();
}

/** Calls `render` once before the next frame however often it is asked. */
export function coalesce(render) {
  let asked = false;
  return () => {
    if (asked) return;
    asked = true;
    requestAnimationFrame(() => {
      asked = false;
      render();
    });
  };
}

let timer = 0;

/** Tell those who listen instead of looking; the last of several words in a row wins. */
export function announce(text) {
  clearTimeout(timer);
  timer = setTimeout(() => say($("live"), text), 100);
}

/** Offer bytes as a file. */
export function save(blob, name) {
  const url = URL.createObjectURL(blob);
  h("a", { href: url, download: name }).click();
  setTimeout(() => URL.revokeObjectURL(url), 60_000);
}
