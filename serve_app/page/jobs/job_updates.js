// Updates of jobs: by event streams as far as connections allow, otherwise by polling, which asks
// for all jobs together.

import { MAX_JOB_STREAMS } from "../shared/connections.js";
import { events } from "../shared/event_stream.js";
import { fetched, query, request, told } from "../shared/requests.js";

const POLL_EVERY_MS = 1500;
const MAX_FAILURES = 8;
const A_PAGE = 100;
const MAX_PAGES = 10;
let streams = 0;
let polled = [];  // {id, resolve, reject} of those that wait for the next poll

export function hasEnded(job) {
  return ["succeeded", "failed", "cancelled"].includes(job.status);
}

/** Call `shown` with the job at every change until it has ended; resolves to the job as it ended. */
export async function follow(id, shown, signal) {
  for (let failures = 0; ; ) {
    try {
      const job = streams < MAX_JOB_STREAMS ? await streamed(id, shown, signal) : await nextPolled(id);
      signal?.throwIfAborted();
      if (job) shown(job);
      if (job && hasEnded(job)) return job;
      failures = 0;
    } catch (error) {
      failures += 1;
      const lasting = error.status >= 400 && error.status < 500 && error.status !== 429;
      if (signal?.aborted || lasting || failures > MAX_FAILURES) throw error;
      await new Promise((resolve) => setTimeout(resolve, POLL_EVERY_MS * failures));
    }
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
    if (last && hasEnded(last)) return last;
  } finally {
    streams -= 1;
  }
  return nextPolled(id);  // the stream ended before the job
}

/** The job as the next poll finds it. */
function nextPolled(id) {
  return new Promise((resolve, reject) => {
    if (!polled.length) setTimeout(poll, POLL_EVERY_MS);
    polled.push({ id, resolve, reject });
  });
}

async function poll() {
  let open = polled;
  polled = [];
  try {
    for (let page = 0, after = null; open.length && page < MAX_PAGES; page += 1) {
      const answer = await fetched(query("v1/jobs", { limit: A_PAGE, after }), { quiet: true });
      const jobs = new Map(answer.data.map((job) => [job.id, job]));
      for (const { id, resolve } of open) if (jobs.has(id)) resolve(jobs.get(id));
      open = open.filter(({ id }) => !jobs.has(id));
      if (!answer.has_more) break;
      after = answer.next_after;
    }
    for (const { id, resolve } of open) resolve(await fetched(`v1/jobs/${encodeURIComponent(id)}`, { quiet: true }));
  } catch (error) {
    for (const { reject } of open) reject(error);  // no effect on what is resolved
  }
}

/** Ask the service to stop a job. */
export async function cancel(id) {
  return fetched(`v1/jobs/${encodeURIComponent(id)}/cancel`, { method: "POST" });
}
