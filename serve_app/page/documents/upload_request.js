// The request that uploads a file, with its progress, which fetch does not report.

import { access, Fault, mayRepeat, told, unreachable } from "../shared/requests.js";
import { settings } from "../shared/settings.js";

/** Send a file; `moved` is told the share that has gone. Resolves to the answer of POST /upload. */
export async function transfer(file, collection, moved, signal) {
  for (;;) {
    const key = settings.key;
    const { status, body, retryAfter } = await sent(file, collection, key, moved, signal);
    if (status >= 200 && status < 300 && body) return body;
    if (status === 401 && (await mayRepeat(key))) continue;
    throw told(body, status, retryAfter);
  }
}

function sent(file, collection, key, moved, signal) {
  return new Promise((resolve, reject) => {
    const form = new FormData();
    form.append("collection", collection);
    form.append("file", file, file.name);
    const exchange = new XMLHttpRequest();
    exchange.open("POST", "upload");
    for (const [name, value] of Object.entries(access(key))) exchange.setRequestHeader(name, value);
    let share = 0;
    exchange.upload.addEventListener("progress", ({ loaded, total }) => {
      share = total ? loaded / total : 0;
      moved(share);
    });
    exchange.addEventListener("load", () => {
      resolve({ status: exchange.status, body: parsed(exchange.responseText), retryAfter: exchange.getResponseHeader("Retry-After") });
    });
    exchange.addEventListener("error", () => reject(share > 0 && navigator.onLine ? broken() : unreachable()));
    exchange.addEventListener("abort", () => reject(new DOMException("stopped", "AbortError")));
    signal.addEventListener("abort", () => exchange.abort(), { once: true });
    exchange.send(form);
  });
}

function broken() {
  return new Fault("The connection broke off; the file may be larger than the service takes.", { code: "broken" });
}

function parsed(text) {
  try {
    return JSON.parse(text);
  } catch {
    return null;
  }
}
