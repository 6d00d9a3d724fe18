// Server-sent events out of a fetch body: unlike EventSource it can carry an API key.

/** Yields {id, type, data} with data parsed, as they come; ends where the stream ends. */
export async function* events(response) {
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  let event = blank();
  try {
    for (;;) {
      const { done, value } = await reader.read();
      if (done) return;
      // A stream may be cut between CR and LF; a lone CR at the end waits for what follows.
      const text = rest + value;
      const whole = text.endsWith("\r") ? text.slice(0, -1) : text;
      const lines = whole.split(/\r\n|\n|\r/);
      rest = lines.pop() + text.slice(whole.length);
      for (const line of lines) {
        if (line === "") {
          if (event.data.length) yield { id: event.id, type: event.type, data: JSON.parse(event.data.join("\n")) };
          event = blank();
          continue;
        }
        const [, field, text] = /^([^:]*)(?:: ?(.*))?$/.exec(line);
        if (field === "data") event.data.push(text ?? "");
        else if (field === "event") event.type = text;
        else if (field === "id") event.id = text;
      }
    }
  } finally {
    reader.cancel().catch(() => {});
  }
}

function blank() {
  return { id: null, type: "message", data: [] };
}
