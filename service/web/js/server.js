// Whether the server takes work, in the header.

import { $, say } from "./dom.js";

const WORDS = {
  ready: "Ready", starting: "The server is starting", draining: "The server is shutting down", broken: "No worker is running",
};

/** Ask until the server is ready, then now and then. */
export async function followServer(app) {
  for (;;) {
    const state = document.hidden ? null : await app.api.ready();
    if (!document.hidden) {
      const devices = [...new Set((state?.devices ?? []).map(({ device }) => device))].join(", ");
      say($("server"), state ? (WORDS[state.status] ?? "Not ready") + (state.status === "ready" && devices ? ` on ${devices}` : "") : "The server cannot be reached");
    }
    await new Promise((resolve) => setTimeout(resolve, state?.status === "ready" ? 30_000 : 3000));
  }
}
