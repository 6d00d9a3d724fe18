// The server's API: everything that knows its addresses and fields is here.

import { events } from "./sse.js";

const at = (path) => new URL(path, document.baseURI);
const KEY = "pellucid-key";

/** An answer that was not the one wanted: problem details of the server, or a connection that failed. */
export class Failure extends Error {
  constructor({ code, status = 0, detail, retryAfter = null, requestId = "", errors = [] }) {
    super(detail);
    Object.assign(this, { code, status, detail, retryAfter, requestId, errors });
  }

  static unreachable() {
    return new Failure({ code: "unreachable", detail: "The server cannot be reached." });
  }

  static from(status, header, body) {
    const problem = (typeof body === "object" && body) || {};
    const wait = Number.parseFloat(header("Retry-After"));
    return new Failure({
      code: problem.code ?? "internal",
      status,
      detail: problem.detail ?? problem.title ?? `The server answered ${status}.`,
      retryAfter: Number.isFinite(wait) ? wait : null,
      requestId: problem.request_id ?? header("X-Request-Id") ?? "",
      errors: problem.errors ?? [],
    });
  }
}

export class Api {
  constructor() {
    this.key = sessionStorage.getItem(KEY) ?? "";
  }

  setKey(key) {
    this.key = key;
    if (key) sessionStorage.setItem(KEY, key);
    else sessionStorage.removeItem(KEY);
  }

  /** Limits, formats and whether a key is needed. */
  async about() {
    return (await this.#fetch("web/about.json")).json();
  }

  /**
   * Send a picture once, for any number of jobs.
   * XMLHttpRequest, since fetch does not tell how much has been sent.
   */
  upload(blob, { onUpload, signal }) {
    return new Promise((resolve, reject) => {
      const request = new XMLHttpRequest();
      request.open("POST", at("v1/uploads"));
      request.responseType = "json";
      const headers = this.#headers({ Accept: "application/json", "Content-Type": blob.type || "application/octet-stream" });
      for (const [name, value] of Object.entries(headers)) request.setRequestHeader(name, value);
      request.upload.onprogress = (event) => event.lengthComputable && onUpload(event.loaded / event.total);
      request.onload = () => {
        if (request.status >= 200 && request.status < 300) resolve(request.response);
        else reject(Failure.from(request.status, (name) => request.getResponseHeader(name), request.response));
      };
      request.onerror = () => reject(Failure.unreachable());
      request.onabort = () => reject(new DOMException("canceled", "AbortError"));
      signal.addEventListener("abort", () => request.abort());
      if (signal.aborted) reject(new DOMException("canceled", "AbortError"));
      else request.send(blob);
    });
  }

  /** Queue a restoration; resolves to the job. */
  async submit(body, { idempotencyKey, signal }) {
    const headers = {
      Accept: "application/json", "Content-Type": "application/json", Prefer: "respond-async", "Idempotency-Key": idempotencyKey,
    };
    const response = await this.#fetch("v1/restore", { method: "POST", headers, body: JSON.stringify(body), signal });
    return response.json();
  }

  /** Whether work is taken: {status, devices}. */
  async ready() {
    const response = await fetch(at("readyz?verbose"), { cache: "no-store" }).catch(() => null);
    return response ? response.json().catch(() => null) : null;
  }

  /** Whether the key is one that the server knows; throws where it is not. */
  async checkKey() {
    await this.#fetch("v1/jobs?limit=1");
  }

  /** The events of a job to its end; a connection that breaks is taken up again where it broke. */
  async *follow(id, signal) {
    let last = "0";
    for (let failures = 0; ; failures++) {
      try {
        const response = await this.#fetch(`v1/jobs/${id}/events`, {
          headers: { Accept: "text/event-stream", "Last-Event-ID": last },
          signal,
        });
        for await (const event of events(response)) {
          failures = 0;
          if (event.id !== null) last = event.id;
          yield event;
          if (event.type === "completed") return;
        }
      } catch (error) {
        if (signal.aborted || (error instanceof Failure && error.status > 0 && error.status < 500)) throw error;
        if (failures >= 8) throw error instanceof Failure ? error : Failure.unreachable();
      }
      await pause(Math.min(8000, 250 * 2 ** failures), signal);
    }
  }

  job(id) {
    return this.#fetch(`v1/jobs/${id}`).then((response) => response.json());
  }

  cancel(id) {
    return this.#fetch(`v1/jobs/${id}/cancel`, { method: "POST" });
  }

  /** Bytes of the restored picture, in the job's own format or in the one asked for. */
  async result(id, accept = "*/*") {
    const response = await this.#fetch(`v1/jobs/${id}/result`, { headers: { Accept: accept } });
    return response.blob();
  }

  async uncertainty(id) {
    const response = await this.#fetch(`v1/jobs/${id}/uncertainty`, { headers: { Accept: "image/png" } });
    return response.blob();
  }

  async report(id) {
    return (await this.#fetch(`v1/jobs/${id}/report`, { headers: { Accept: "application/json" } })).json();
  }

  #headers(more = {}) {
    return this.key ? { ...more, Authorization: `Bearer ${this.key}` } : more;
  }

  async #fetch(path, options = {}) {
    let response;
    try {
      response = await fetch(at(path), { cache: "no-store", ...options, headers: this.#headers(options.headers) });
    } catch (error) {
      if (options.signal?.aborted) throw error;
      throw Failure.unreachable();
    }
    if (response.ok) return response;
    const body = await response.json().catch(() => null);
    throw Failure.from(response.status, (name) => response.headers.get(name), body);
  }
}

export function pause(milliseconds, signal) {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(resolve, milliseconds);
    signal?.addEventListener("abort", () => {
      clearTimeout(timer);
      reject(new DOMException("canceled", "AbortError"));
    });
  });
}
