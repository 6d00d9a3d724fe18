// One restoration from upload to result, and the queue of those that wait for their turn.

import { Failure, pause } from "./api.js";
import { AGAIN } from "./advice.js";
import { outputSize, parameters } from "./tasks.js";
import { uncertaintyMap } from "./uncertainty.js";

const AT_ONCE = 3; // of this page: the server has its own queue, but other people wait in it too
const BUSY_RETRIES = 5;

let ids = 0;

/** A picture restored, or on the way there, with the settings it was asked for. */
export class Try {
  constructor(picture, values, number) {
    const { width, height } = outputSize(values, picture.width ?? 0, picture.height ?? 0);
    Object.assign(this, {
      id: `try-${++ids}`, picture, values, number, width, height,
      state: "waiting", detail: "", fraction: 0, step: 0, steps: 0, eta: null, preview: null,
      jobId: null, job: null, result: null, shown: null, map: null, error: null, warnings: [],
      abort: new AbortController(), began: 0,
    });
  }

  get active() {
    return !["succeeded", "failed", "canceled"].includes(this.state);
  }

  /** What the stage shows of it: a URL, or null while there is nothing. */
  get url() {
    return this.shown ?? this.preview;
  }

  release() {
    for (const url of [this.preview, this.shown]) if (url) URL.revokeObjectURL(url);
  }
}

export class Runner {
  /** `changed` is told of every change of a try, `ended` of every end. */
  constructor(api, { changed, ended }) {
    Object.assign(this, { api, changed, ended, waiting: [], running: new Set() });
  }

  start(one) {
    this.waiting.push(one);
    this.#next();
  }

  /** Stop a try wherever it is. */
  async cancel(one) {
    this.waiting = this.waiting.filter((other) => other !== one);
    if (one.jobId && one.active) {
      this.#update(one, { detail: "Stopping" });
      // The job's own end tells the rest; one that has just ended needs no cancelling.
      await this.api.cancel(one.jobId).catch((error) => {
        if (error.status !== 409) one.abort.abort();
      });
      return;
    }
    one.abort.abort();
    if (one.active && !this.running.has(one)) this.#end(one, { state: "canceled" });
  }

  #next() {
    while (this.running.size < AT_ONCE && this.waiting.length) {
      const one = this.waiting.shift();
      this.running.add(one);
      this.#run(one)
        .catch((error) => {
          if (error.name === "AbortError") return this.#end(one, { state: "canceled" });
          const failure = error instanceof Failure ? error : new Failure({ code: "page", detail: error.message });
          return this.#end(one, { state: "failed", error: failure });
        })
        .finally(() => {
          this.running.delete(one);
          this.#next();
        });
    }
  }

  async #run(one) {
    one.began = performance.now();
    const job = await this.#patiently(one, () => this.#submit(one));
    one.jobId = job.id;
    this.#update(one, { state: "queued", detail: "" });
    let last = null;
    for await (const event of this.api.follow(job.id, one.abort.signal)) {
      this.#take(one, event);
      if (event.type === "completed") last = event.data.job;
    }
    one.job = last;
    if (last.state === "canceled") return this.#end(one, { state: "canceled" });
    if (last.state !== "succeeded") {
      const { code = "internal", message = "The job ended without a result." } = last.error ?? {};
      return this.#end(one, { state: "failed", error: new Failure({ code, detail: message, requestId: last.request_id }) });
    }
    this.#update(one, { state: "fetching", fraction: 1, eta: null });
    await this.#collect(one);
    return this.#end(one, { state: "succeeded", seconds: (performance.now() - one.began) / 1000 });
  }

  async #submit(one) {
    const { api } = this;
    const { picture, values } = one;
    const { signal } = one.abort;
    if (!picture.uploadId) {
      this.#update(one, { state: "uploading", fraction: 0, detail: "" });
      const onUpload = (fraction) => this.#update(one, { fraction });
      picture.uploadId = (await api.upload(picture.file, { onUpload, signal })).upload_id;
    }
    this.#update(one, { state: "sending" });
    const body = await requestBody(values, picture, async () => (await api.upload(await picture.mask.png(), { onUpload() {}, signal })).upload_id);
    one.key ??= crypto.randomUUID?.() ?? `${Date.now()}-${Math.random()}`;
    try {
      return await api.submit(body, { idempotencyKey: one.key, signal });
    } catch (error) {
      if (error.code !== "unknown_upload") throw error;
      picture.uploadId = null;
      one.key = null;
      return this.#submit(one);
    }
  }

  /** Try again what met a busy server, when the server says. */
  async #patiently(one, action) {
    for (let attempt = 1; ; attempt++) {
      try {
        return await action();
      } catch (error) {
        const busy = error instanceof Failure && (error.status === 503 || error.status === 429) && AGAIN.has(error.code);
        if (!busy || attempt > BUSY_RETRIES) throw error;
        for (let left = Math.ceil(error.retryAfter ?? 2 ** attempt); left > 0; left--) {
          this.#update(one, { state: "busy", detail: `${error.detail} Trying again in ${left} s.`, fraction: 0 });
          await pause(1000, one.abort.signal);
        }
      }
    }
  }

  #take(one, { type, data }) {
    if (type === "queued") this.#update(one, { state: "queued", position: data.position ?? 0 });
    else if (type === "started") this.#update(one, { state: "running", fraction: 0, device: data.device });
    else if (type === "progress") {
      const { step, steps, fraction, eta_s: eta } = data;
      this.#update(one, { state: "running", step, steps, fraction, eta: eta ?? null, etaAt: performance.now() });
    } else if (type === "preview") {
      const bytes = Uint8Array.from(atob(data.b64), (character) => character.charCodeAt(0));
      const old = one.preview;
      this.#update(one, { preview: URL.createObjectURL(new Blob([bytes], { type: data.media_type })) });
      if (old) setTimeout(() => URL.revokeObjectURL(old), 2000);
    } else if (type === "warning") one.warnings.push(data.message ?? data.code);
  }

  async #collect(one) {
    const { api } = this;
    const { job } = one;
    one.result = await api.result(one.jobId);
    one.warnings = job.warnings.map((warning) => warning.message);
    Object.assign(one, { width: job.result.width, height: job.result.height });
    const visible = /^image\/(png|jpeg|webp|avif|bmp|gif)$/.test(one.result.type);
    const seen = visible ? one.result : await api.result(one.jobId, "image/png, image/webp").catch(() => null);
    if (seen) one.shown = URL.createObjectURL(seen);
    if (job.links.uncertainty) {
      one.mapFile = await api.uncertainty(one.jobId);
      one.map = await uncertaintyMap(one.mapFile);
    }
  }

  #update(one, changes) {
    Object.assign(one, changes);
    this.changed(one);
  }

  #end(one, changes) {
    this.#update(one, { ...changes, eta: null, detail: "" });
    this.ended(one);
  }
}

/** The JSON body of POST /v1/restore. */
async function requestBody(values, picture, uploadMask) {
  const body = { image: { upload_id: picture.uploadId }, ...submission(values), previews: true };
  if (values.task === "inpaint" && picture.mask?.painted) body.mask = { upload_id: await uploadMask() };
  return body;
}

/** Task, parameters and output options, without the pictures. */
export function submission(values) {
  const output = values.format === "same" ? {} : { output_format: values.format };
  const place = values.keepGps ? { keep_gps: true } : {};
  return { task: values.task, ...parameters(values), ...output, ...place };
}
