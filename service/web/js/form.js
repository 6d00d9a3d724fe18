// The settings: built from the table in tasks.js, read and written as one object.

import { $, h, set } from "./dom.js";
import { DEFAULTS, FIELDS, TASKS, fidelity, task } from "./tasks.js";
import { FORMATS } from "./words.js";
import { draw as drawKernel, kernel } from "./kernel.js";

const SCALES = [2, 3, 4, 8];
const BLURS = {
  gaussian: { label: "Gaussian", parts: { sigma: ["Sigma", 0.3, 8, 0.1, "px"] } },
  defocus: { label: "Out of focus", parts: { radius: ["Radius", 0.5, 16, 0.5, "px"] } },
  motion: { label: "Motion", parts: { length: ["Length", 2, 48, 1, "px"], angle: ["Angle", -90, 90, 1, "°"] } },
};
const OUTPUTS = ["same", "png", "jpeg", "webp", "tiff"];

export class Form {
  /** `changed` is told of every change; `maskTools` is the element for painting, owned by the caller. */
  constructor({ changed, maskTools }) {
    this.values = structuredClone(DEFAULTS);
    this.changed = changed;
    this.maskTools = maskTools;
    this.controls = {};
    this.#tasks();
    for (const name of ["noise", "exposure", "quality"]) this.controls[name] = this.#number(name);
    this.controls.scale = this.#choice("scale", "Scale", SCALES.map((scale) => [scale, `${scale}×`]));
    this.controls.kernel = this.#kernel();
    this.controls.mask = { element: maskTools, write() {} };
    for (const name of ["fidelity", "samples", "strength", "steps"]) this.controls[name] = this.#number(name);
    this.controls.seed = this.#seed();
    this.controls.format = this.#output();
    $("common").append(this.controls.fidelity.element);
    $("extra").append(...["samples", "strength", "steps", "seed", "format"].map((name) => this.controls[name].element));
    this.write(this.values);
  }

  /** Show these settings. */
  write(values) {
    this.values = structuredClone(values);
    const own = task(values.task).fields.map((name) => this.controls[name].element);
    if ([...$("own").children].some((child, i) => child !== own[i]) || $("own").children.length !== own.length) {
      $("own").replaceChildren(...own);
    }
    document.querySelector(`#tasks input[value="${values.task}"]`).checked = true;
    $("task-hint").textContent = task(values.task).hint;
    for (const control of Object.values(this.controls)) control.write();
  }

  #set(changes) {
    const before = this.values.task;
    Object.assign(this.values, changes);
    if (before !== this.values.task) this.write(this.values);
    else for (const control of Object.values(this.controls)) control.write();
    this.changed();
  }

  #tasks() {
    for (const { id, label } of TASKS) {
      const input = h("input", { type: "radio", name: "task", value: id, onchange: () => this.#set({ task: id }) });
      $("tasks").append(h("label", {}, input, h("span", {}, label)));
    }
  }

  /** A slider with its number beside it, and "Auto" where the server can choose. */
  #number(name) {
    const { label, unit, hint, min, max, step, auto, fallback } = FIELDS[name];
    const bounds = { min, max, step };
    const take = (event) => event.target.value !== "" && event.target.checkValidity() && this.#set({ [name]: event.target.valueAsNumber });
    const slider = h("input", { type: "range", ...bounds, "aria-label": `${label}, slider`, oninput: take });
    const box = h("input", { type: "number", ...bounds, id: `${name}-number`, placeholder: auto && "auto", "aria-describedby": `${name}-hint`, oninput: take });
    box.addEventListener("change", () => box.checkValidity() || this.controls[name].write(true));
    const automatic = auto && h("input", { type: "checkbox", "aria-label": `${label}: auto`,
      onchange: (event) => this.#set({ [name]: event.target.checked ? "auto" : fallback }) });
    const element = h("div", { class: "field", "data-field": name },
      h("div", { class: "field-head" },
        h("label", { for: box.id }, label, unit && h("span", { class: "unit" }, ` (${unit})`)),
        auto && h("label", { class: "check" }, automatic, "Auto"), box),
      slider, h("p", { class: "hint", id: `${name}-hint` }, hint));
    const write = (force) => {
      const value = name === "fidelity" ? fidelity(this.values) : this.values[name];
      const chosen = value === "auto";
      if (auto) automatic.checked = chosen;
      for (const input of [slider, box]) {
        input.disabled = chosen;
        // What is being typed is left alone until it is finished.
        if (force || document.activeElement !== input || input === slider || chosen) input.value = chosen ? (input === box ? "" : fallback) : value;
      }
    };
    return { element, write };
  }

  #choice(name, label, options) {
    const inputs = options.map(([value, words]) => {
      const input = h("input", { type: "radio", name, value, onchange: () => this.#set({ [name]: value }) });
      return { value, input, element: h("label", {}, input, h("span", {}, words)) };
    });
    const element = h("fieldset", { class: "field segments", "data-field": name }, h("legend", {}, label), inputs.map((one) => one.element));
    return { element, write: () => inputs.forEach(({ value, input }) => (input.checked = this.values[name] === value)) };
  }

  #kernel() {
    const canvas = h("canvas", { role: "img", class: "kernel" });
    const change = (changes) => this.#set({ kernel: { ...this.values.kernel, ...changes } });
    const forms = Object.entries(BLURS).map(([form, { label }]) => {
      const input = h("input", { type: "radio", name: "blur", value: form, onchange: () => change({ form }) });
      return { form, input, element: h("label", {}, input, h("span", {}, label)) };
    });
    const parts = Object.entries(BLURS).flatMap(([form, { parts }]) =>
      Object.entries(parts).map(([name, [label, min, max, step, unit]]) => {
        const take = (event) => event.target.checkValidity() && event.target.value && change({ [name]: event.target.valueAsNumber });
        const bounds = { min, max, step, oninput: take };
        const box = h("input", { type: "number", ...bounds, id: `blur-${name}` });
        const slider = h("input", { type: "range", ...bounds, "aria-label": `${label}, slider` });
        const element = h("div", { class: "field-part" }, h("div", { class: "field-head" }, h("label", { for: box.id }, label, h("span", { class: "unit" }, ` (${unit})`)), box), slider);
        return { form, name, box, slider, element };
      }));
    const element = h("fieldset", { class: "field", "data-field": "kernel" }, h("legend", {}, "Shape of the blur"),
      h("div", { class: "segments" }, forms.map((one) => one.element)),
      h("div", { class: "kernel-row" }, canvas, h("div", { class: "kernel-parts" }, parts.map((one) => one.element))));
    const write = () => {
      const now = this.values.kernel;
      for (const { form, input } of forms) input.checked = now.form === form;
      for (const { form, name, box, slider, element: part } of parts) {
        part.hidden = form !== now.form;
        if (document.activeElement !== box) box.value = now[name];
        slider.value = now[name];
      }
      const rows = kernel(now);
      drawKernel(canvas, rows);
      set(canvas, "aria-label", `Kernel of ${rows.length} by ${rows.length} pixels`);
    };
    return { element, write };
  }

  #seed() {
    const take = (event) => event.target.checkValidity() && event.target.value && this.#set({ seed: event.target.valueAsNumber });
    const box = h("input", { type: "number", id: "seed", min: 0, max: Number.MAX_SAFE_INTEGER, step: 1, oninput: take, "aria-describedby": "seed-hint" });
    const roll = () => this.#set({ seed: crypto.getRandomValues(new Uint32Array(1))[0] });
    const element = h("div", { class: "field", "data-field": "seed" },
      h("div", { class: "field-head" }, h("label", { for: "seed" }, "Seed"), h("button", { type: "button", onclick: roll }, "Random"), box),
      h("p", { class: "hint", id: "seed-hint" }, "Same seed, same picture. Below fidelity 1, another seed gives another version."));
    return { element, write: () => document.activeElement !== box && (box.value = this.values.seed) };
  }

  #output() {
    const select = h("select", { id: "format", onchange: (event) => this.#set({ format: event.target.value }) },
      OUTPUTS.map((format) => h("option", { value: format }, FORMATS[format] ?? "As the given picture")));
    const place = h("input", { type: "checkbox", onchange: (event) => this.#set({ keepGps: event.target.checked }) });
    const element = h("div", { class: "field", "data-field": "output" },
      h("div", { class: "field-head" }, h("label", { for: "format" }, "File format"), select),
      h("label", { class: "check" }, place, "Keep the place (GPS) in the file"));
    const write = () => {
      select.value = this.values.format;
      place.checked = this.values.keepGps;
    };
    return { element, write };
  }
}
