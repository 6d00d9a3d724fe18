// The dialogs: API key, code, details of a result.

import { $, announce, h, save, say, set } from "./dom.js";
import { advice } from "./advice.js";
import { curl, pythonCode } from "./code.js";
import { reads } from "./tasks.js";
import { number } from "./words.js";

let afterKey = null;
let detailed = null;

export function wireDialogs(app) {
  for (const button of document.querySelectorAll("[data-close]")) {
    button.addEventListener("click", () => button.closest("dialog").close());
  }
  for (const button of document.querySelectorAll("[data-copy]")) {
    button.addEventListener("click", async () => {
      await copy($(button.dataset.copy));
      announce("Copied");
      say(button, "Copied");
      setTimeout(() => say(button, "Copy"), 2000);
    });
  }
  $("code").addEventListener("click", () => showCode(app));
  $("key-open").addEventListener("click", () => keyDialog(app));
  $("key-cancel").addEventListener("click", () => $("key-dialog").close());
  $("key-form").addEventListener("submit", (event) => {
    event.preventDefault();
    useKey(app);
  });
  $("save-report").addEventListener("click", async () => {
    const report = await app.api.report(detailed.jobId);
    save(new Blob([JSON.stringify(report, null, 2)], { type: "application/json" }), `${detailed.picture.name}-report.json`);
  });
  $("save-map").addEventListener("click", () => save(detailed.mapFile, `${detailed.picture.name}-uncertainty.png`));
}

/** Ask for a key, and go on with `then` once the server takes it. */
export function keyDialog(app, then = null) {
  afterKey = then;
  $("key").value = app.api.key;
  say($("key-trouble"), "");
  $("key-dialog").showModal();
}

async function useKey(app) {
  app.api.setKey($("key").value.trim());
  say($("key-trouble"), "");
  try {
    await app.api.checkKey();
  } catch (error) {
    const { title, detail } = advice(error);
    say($("key-trouble"), error.status === 401 ? "The server does not know this key." : `${title}. ${detail}`);
    return;
  }
  $("key-dialog").close();
  announce("Key accepted");
  afterKey?.();
}

function showCode(app) {
  const { values } = app.form;
  const { name } = app.current;
  const origin = new URL(".", document.baseURI).href;
  say($("curl"), curl(values, name, origin, app.about.auth));
  say($("python"), pythonCode(values, name, origin));
  const notes = [];
  if (values.task === "inpaint") notes.push("mask.png is a picture of the same size, white where it is to be filled in.");
  if (app.about.auth) notes.push("Both take the key from the environment variable PELLUCID_API_KEY.");
  say($("code-note"), notes.join(" "));
  $("code-dialog").showModal();
}

/** The clipboard needs a secure address; without it the text is selected and copied the old way. */
async function copy(element) {
  if (navigator.clipboard) return navigator.clipboard.writeText(element.textContent);
  getSelection().selectAllChildren(element);
  return document.execCommand("copy");
}

export function showDetails(app, one) {
  detailed = one;
  const { job } = one;
  const { effective, metrics } = job;
  const rows = [
    ["Task", job.task],
    ...Object.entries(effective.parameters ?? {}).filter(([name]) => reads(job.task, name)).map(([name, value]) => [`Parameter ${name}`, words(value)]),
    ...Object.entries(effective.found ?? {}).map(([name, value]) => [`Found ${name}`, words(value)]),
    ["Prior", [effective.prior, effective.digest].filter(Boolean).join(" ")],
    ["Calls of the prior", words(metrics.nfe ?? effective.nfe)],
    ...["queue", "decode", "restore", "encode"].filter((stage) => stage in metrics).map((stage) => [`Seconds: ${stage}`, number(metrics[stage], 3)]),
    ["Device", one.device ?? ""],
    ["Job", job.id],
    ["SHA-256", job.result.sha256],
  ];
  $("report").replaceChildren(...rows.filter(([, value]) => value !== "").map(([name, value]) => h("div", {}, h("dt", {}, name), h("dd", {}, value))));
  set($("save-map"), "hidden", !one.mapFile);
  $("details-dialog").showModal();
}

function words(value) {
  if (value === null || value === undefined) return "";
  if (typeof value === "number") return number(value, 4).replaceAll(",", "");
  return typeof value === "object" ? JSON.stringify(value) : String(value);
}
