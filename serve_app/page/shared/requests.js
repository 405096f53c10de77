// Requests to the service, with the API key; errors become faults that can be shown. Paths are
// relative to the page's address, so that the service may run below any root path.

import { settings } from "./settings.js";
import { sentence } from "./formatting.js";

let askForKey = async () => false;  // replaced by whenKeyIsWanted

/** Whom to ask for a key when the service wants one: resolves to whether there is a new one. */
export function whenKeyIsWanted(ask) {
  askForKey = ask;
}

/** Something that went wrong, as the person is told it. */
export class Fault extends Error {
  constructor(message, { code = "internal_error", status = 0, retryAfter = null } = {}) {
    super(message);
    this.name = "Fault";
    this.code = code;
    this.status = status;
    this.retryAfter = retryAfter;
  }

  /** What the person can do about it; may be empty. */
  get advice() {
    if (this.code === "unreachable") return "Check that it is running and that you are online, then try again.";
    if (this.code === "interrupted") return "What had come is kept. Try again when the connection is back.";
    if (this.status === 401) return "Enter a key in the settings.";
    if (this.status === 429) return "It is taking all it can at once.";
    if (this.status === 503) return "That part may still be starting; try again in a moment.";
    if (this.status === 504) return "Try again, or ask for less at once.";
    return "";
  }
}

/** Whether somebody stopped it on purpose. */
export function wasStopped(error) {
  return error?.name === "AbortError";
}

/** Any error as a fault. */
export function faultOf(error) {
  if (error instanceof Fault) return error;
  console.error(error);  // our own mistake: it must be seen
  return new Fault("Something went wrong in this page.");
}

/** The fault that an error body of the service tells of. */
export function told(body, status = 0, retryAfter = null) {
  const error = body?.error ?? {};
  const text = sentence(error.message) || `The service answered ${status || "with an error"}.`;
  const seconds = Number.parseFloat(retryAfter);
  return new Fault(text, {
    code: error.code ?? "internal_error",
    status: status || (error.type === "rate_limit_error" ? 429 : 0),
    retryAfter: Number.isFinite(seconds) ? seconds : null,
  });
}

/** The fault of a service that does not answer; whoever shows its state is told. */
export function unreachable() {
  dispatchEvent(new Event("unreachable"));
  return new Fault("The service cannot be reached.", { code: "unreachable" });
}

/** Headers of a request: the key, if there is one. */
export function access(key = settings.key) {
  return key ? { Authorization: `Bearer ${key}` } : {};
}

/** Whether to repeat what was refused with 401: the key is another by now, or the person gave one. */
export async function mayRepeat(key, quiet = false) {
  if (key !== settings.key) return true;
  if (quiet) return false;
  dispatchEvent(new Event("key-wanted"));
  try {
    return await askForKey(key !== "");
  } finally {
    dispatchEvent(new Event("key-answered"));
  }
}

/** Send a request; `json` or `body` is its body. A `quiet` one never asks the person for a key. */
export async function request(path, { method = "GET", json, body: bytes, signal, quiet = false } = {}) {
  for (;;) {
    const key = settings.key;
    const headers = access(key);
    if (json !== undefined) headers["Content-Type"] = "application/json";
    let response;
    try {
      const body = json === undefined ? bytes : JSON.stringify(json);
      response = await fetch(path, { method, headers, body, signal });
    } catch (error) {
      throw wasStopped(error) ? error : unreachable();
    }
    if (response.ok) return response;
    const body = await response.json().catch(() => null);
    if (response.status === 401 && (await mayRepeat(key, quiet))) continue;
    throw told(body, response.status, response.headers.get("Retry-After"));
  }
}

/** The JSON that a request is answered with. */
export async function fetched(path, options) {
  const response = await request(path, options);
  try {
    return await response.json();
  } catch (error) {
    throw wasStopped(error) ? error : unreachable();
  }
}

/** A path with a query; null and empty values are left out. */
export function query(path, values) {
  const given = Object.entries(values).filter(([, value]) => value !== null && value !== "" && value !== undefined);
  return `${path}?${new URLSearchParams(given)}`;
}
