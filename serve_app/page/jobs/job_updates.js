// A job followed to its end: by events as far as connections allow, otherwise by asking.

import { fetched, request, told } from "../shared/requests.js";
import { events } from "../shared/event_stream.js";

// Browsers hold six connections to a server: some must stay free for everything else.
const MAX_STREAMS = 3;
const ASK_EVERY_MS = 1500;
const MAX_FAILURES = 8;
let streams = 0;

export function hasEnded(job) {
  return ["succeeded", "failed", "cancelled"].includes(job.status);
}

/** Call `shown` with the job at every change until it has ended; resolves to the job as it ended. */
export async function follow(id, shown, signal) {
  for (let failures = 0; ; ) {
    try {
      const job = streams < MAX_STREAMS ? await streamed(id, shown, signal) : await asked(id, shown, signal);
      if (job && hasEnded(job)) return job;
      failures = 0;
    } catch (error) {
      failures += 1;
      const lasting = error.status >= 400 && error.status < 500 && error.status !== 429;
      if (signal?.aborted || lasting || failures > MAX_FAILURES) throw error;
    }
    await pause(ASK_EVERY_MS * (1 + failures), signal);
  }
}

async function streamed(id, shown, signal) {
  streams += 1;
  try {
    let last = null;
    const response = await request(`v1/jobs/${encodeURIComponent(id)}/events`, { signal, quiet: true });
    for await (const { event, data } of events(response)) {
      if (event === "error") throw told(JSON.parse(data));
      if (event !== "job") continue;
      last = JSON.parse(data);
      shown(last);
    }
    return last;
  } finally {
    streams -= 1;
  }
}

async function asked(id, shown, signal) {
  const job = await fetched(`v1/jobs/${encodeURIComponent(id)}`, { signal, quiet: true });
  shown(job);
  return job;
}

function pause(ms, signal) {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(resolve, ms);
    signal?.addEventListener("abort", () => {
      clearTimeout(timer);
      reject(new DOMException("stopped", "AbortError"));
    }, { once: true });
  });
}

/** Ask the service to stop a job. */
export async function cancel(id) {
  return fetched(`v1/jobs/${encodeURIComponent(id)}/cancel`, { method: "POST" });
}
