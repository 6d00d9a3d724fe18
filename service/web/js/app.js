// The page: pictures, tries and settings tied together.

import { Api } from "./api.js";
import { $, announce, coalesce, save, set } from "./dom.js";
import { Form } from "./form.js";
import { intake } from "./files.js";
import { objections } from "./inspect.js";
import { drawRail, Picture } from "./pictures.js";
import { Runner, Try } from "./run.js";
import { Stage } from "./stage.js";
import { MaskTools } from "./masktools.js";
import { drawStatus, wireStatus } from "./status.js";
import { drawSettings } from "./settings.js";
import { drawTries } from "./tries.js";
import { drawViewer, drawZoom, wireViewer } from "./viewer.js";
import { keyDialog, wireDialogs } from "./dialogs.js";
import { followServer } from "./server.js";
import { resultName } from "./code.js";
import { task } from "./tasks.js";
import { FORMATS, bytes, list, megapixels } from "./words.js";

class App {
  constructor(about) {
    this.about = about;
    this.api = new Api();
    this.pictures = [];
    this.current = null;
    this.rate = null; // seconds per megapixel and call, as measured on this server
    this.draw = coalesce(() => this.#draw());
    this.maskTools = new MaskTools(this);
    this.form = new Form({ changed: () => this.draw(), maskTools: this.maskTools.element });
    this.stage = new Stage({ onView: drawZoom, onPaint: () => this.draw() });
    this.runner = new Runner(this.api, { changed: () => this.draw(), ended: (one) => this.#ended(one) });
    wireViewer(this);
    wireStatus(this);
    wireDialogs(this);
    intake((files) => this.add(files));
    $("panel").addEventListener("submit", (event) => {
      event.preventDefault();
      this.run();
    });
    $("run-all").addEventListener("click", () => this.runAll());
    $("save-all").addEventListener("click", () => this.saveAll());
    addEventListener("keydown", (event) => {
      if (event.key === "Enter" && (event.ctrlKey || event.metaKey) && !document.querySelector("dialog[open]")) this.run();
    });
    const { limits, formats } = about;
    $("limits").textContent = `${list(formats.map((format) => FORMATS[format] ?? format))}, up to ${bytes(limits.max_bytes)} and ` +
      `${megapixels(limits.max_pixels)} each. They go to this server and nowhere else.`;
    this.draw();
  }

  async add(files) {
    const added = files.map((file) => new Picture(file));
    if (!added.length) return;
    this.pictures.push(...added);
    this.choose(added[0]);
    announce(added.length === 1 ? `${added[0].name} added` : `${added.length} pictures added`);
    for (const picture of added) {
      await picture.open();
      if (picture === this.current) this.choose(picture);
      this.draw();
    }
  }

  choose(picture) {
    this.current = picture;
    this.maskTools.stop();
    this.stage.reset();
    this.draw();
  }

  remove(picture) {
    const place = this.pictures.indexOf(picture);
    for (const one of picture.tries) if (one.active) this.runner.cancel(one);
    this.pictures.splice(place, 1);
    picture.release();
    if (this.current === picture) {
      this.current = this.pictures[Math.min(place, this.pictures.length - 1)] ?? null;
      this.stage.reset();
    }
    (this.current ? document.querySelector("#pictures [aria-current]") : $("choose"))?.focus();
    announce(`${picture.name} removed`);
    this.draw();
  }

  /** What speaks against restoring a picture now. */
  objections(picture, values = this.form.values) {
    return picture.ready ? objections(picture, values, this.about) : [];
  }

  blocked(picture) {
    return this.objections(picture).some(({ stops }) => stops);
  }

  run(picture = this.current, values = this.form.values) {
    if (!picture?.ready || this.blocked(picture)) return;
    if (values.task === "inpaint" && !picture.mask?.painted) return;
    if (this.about.auth && !this.api.key) {
      keyDialog(this, () => this.run(picture, values));
      return;
    }
    this.maskTools.stop();
    const one = new Try(picture, structuredClone(values), (picture.last?.number ?? 0) + 1);
    picture.tries.push(one);
    picture.right = one.id;
    if (picture === this.current) announce(`${task(values.task).label}: started`);
    this.runner.start(one);
    this.draw();
  }

  runAll() {
    for (const picture of this.pictures) if (!picture.tries.some((one) => one.active)) this.run(picture);
  }

  /** One after the other: a browser asks once whether a page may save several files. */
  saveAll() {
    for (const picture of this.pictures) {
      const done = picture.tries.filter((one) => one.state === "succeeded").at(-1);
      if (done) this.download(done);
    }
  }

  download(one) {
    const extension = one.result.type.replace("image/", "").replace("jpeg", "jpg").split(";")[0];
    save(one.result, resultName(one.picture.name, one.values.task, extension));
  }

  discard(one) {
    const { picture } = one;
    if (one.active) this.runner.cancel(one);
    picture.tries = picture.tries.filter((other) => other !== one);
    if (picture.left === one.id) picture.left = "given";
    if (picture.right === one.id) picture.right = picture.last?.id ?? null;
    one.release();
    this.draw();
  }

  /** The given picture or a try, by the id that the lists use. */
  shown(picture, id) {
    return id === "given" ? null : (picture.tries.find((one) => one.id === id) ?? null);
  }

  get selected() {
    return this.current && this.shown(this.current, this.current.right);
  }

  #ended(one) {
    const name = this.pictures.length > 1 ? `${one.picture.name}: ` : "";
    if (one.state === "succeeded") {
      const calls = one.job.metrics.nfe;
      if (calls) this.rate = (one.job.metrics.restore ?? one.seconds) / ((one.width * one.height * calls) / 1e6);
      announce(`${name}done`);
    } else if (one.state === "canceled") announce(`${name}canceled`);
    if (one.error?.status === 401) {
      this.api.setKey("");
      this.about.auth = true;
    }
    this.draw();
  }

  #draw() {
    const { current } = this;
    set($("app"), "data-empty", this.pictures.length === 0);
    drawRail(this.pictures, current, {
      choose: (picture) => this.choose(picture), remove: (picture) => this.remove(picture), blocked: (picture) => this.blocked(picture),
    });
    set($("save-all"), "hidden", this.pictures.filter((one) => one.tries.some((t) => t.state === "succeeded")).length < 2);
    set($("key-open"), "hidden", !this.about.auth);
    this.maskTools.draw();
    drawSettings(this);
    drawViewer(this);
    drawStatus(this);
    drawTries(this);
  }
}

const about = await new Api().about().catch(() => null);
if (about) {
  const app = new App(about);
  followServer(app);
} else {
  $("server").textContent = "The server cannot be reached. Reload the page when it runs.";
}
