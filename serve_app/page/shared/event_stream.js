// Server-sent events read from a fetched body, since EventSource cannot send a key.

import { Fault, wasStopped } from "./requests.js";

/** Yield {event, data} as they come; a connection that breaks is a fault. */
export async function* events(response) {
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  let name = "message";
  let data = [];
  try {
    for (;;) {
      const { done, value } = await reader.read();
      if (done) return;
      const lines = (rest + value).split(/\r\n|\n|\r(?!$)/);
      rest = lines.pop();
      for (const line of lines) {
        if (line === "") {
          if (data.length) yield { event: name, data: data.join("\n") };
          name = "message";
          data = [];
          continue;
        }
        const colon = line.indexOf(":");
        const field = colon < 0 ? line : line.slice(0, colon);
        const content = colon < 0 ? "" : line.slice(colon + 1).replace(/^ /, "");
        if (field === "data") data.push(content);
        else if (field === "event") name = content;
      }
    }
  } catch (error) {
    if (wasStopped(error) || error instanceof Fault) throw error;
    throw new Fault("The connection to the service was lost.", { code: "interrupted" });
  } finally {
    reader.cancel().catch(() => {});
  }
}
