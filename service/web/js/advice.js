// What to do about each of the server's error codes.

const ADVICE = {
  unreachable: ["No connection", "Check that the server runs and that you are connected, then try again."],
  unauthenticated: ["An API key is needed", "Enter a key that this server knows."],
  forbidden: ["Not allowed", "This API key may not do that. Enter another key, or ask who runs the server."],
  host_not_allowed: ["Address not allowed", "Open the page under the address that the server was set up for."],
  origin_not_allowed: ["Address not allowed", "Open the page under the server's own address."],
  too_large: ["The file is too large", "Save it smaller: as JPEG or WebP, or with fewer pixels."],
  unsupported_media_type: ["Not a picture the server reads", "Save it as PNG, JPEG, WebP or TIFF."],
  undecodable_image: ["The picture cannot be read", "The file seems damaged. Open and save it in a picture editor."],
  image_size: ["The picture's size does not fit", ""],
  image_values: ["The picture holds impossible values", "Save it again with a picture editor."],
  too_many_frames: ["The file is an animation", "Save a single frame of it."],
  invalid_parameter: ["A setting does not fit", ""],
  work_budget: ["Too much work for one job", ""],
  quota: ["Too many requests", "Wait a moment, then try again."],
  saturated: ["The server is busy", "Try again in a moment."],
  starting: ["The server is starting", "Try again in a moment."],
  draining: ["The server is shutting down", "Try again when it is back."],
  storage_unavailable: ["The server cannot store anything", "Try again in a moment."],
  expired: ["The result has expired", "The server keeps results for a limited time. Run it again."],
  request_timeout: ["The upload took too long", "Try again on a faster connection, or with a smaller file."],
  worker_crashed: ["The worker failed", "Try a smaller picture or fewer samples; tell who runs the server if it goes on."],
  out_of_memory: ["Not enough memory", "Try a smaller picture."],
  numerical: ["The restoration did not converge", "Try other settings, for instance another noise level."],
  not_found: ["The server no longer knows this job", "Run it again."],
};

export const AGAIN = new Set(["unreachable", "quota", "saturated", "starting", "draining", "storage_unavailable",
  "request_timeout", "expired", "internal", "worker_crashed", "not_found"]);

/** {title, detail, todo, fields} in words. */
export function advice(failure) {
  const [title, todo] = ADVICE[failure.code] ?? ["Something went wrong", "Try again; tell who runs the server if it goes on."];
  const fields = failure.errors.map(({ field, message }) => (field ? `${field}: ${message}` : message));
  // The server's own words start small and name the field; here they are a sentence.
  const detail = failure.detail.charAt(0).toUpperCase() + failure.detail.slice(1);
  return { title, detail: /[.!?]$/.test(detail) ? detail : `${detail}.`, todo, fields };
}
