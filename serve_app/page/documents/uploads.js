// Uploads: checked when they are chosen, sent a few at a time, then followed until searchable.

import { MAX_UPLOADS } from "../shared/connections.js";
import { button } from "../shared/dom.js";
import { announce, when } from "../shared/notices.js";
import { faultOf, wasStopped } from "../shared/requests.js";
import { many, sentence } from "../shared/formatting.js";
import { cancel, follow } from "../jobs/job_updates.js";
import { collections } from "./collections.js";
import { fileChecks } from "./file_checks.js";
import { transfer } from "./upload_request.js";
import { UploadRow } from "./upload_row.js";

const SHOWN_MS = 20_000;  // a finished upload leaves by itself
const MAX_UNREAD_SHOWN = 20;  // files of a ZIP file; the job has more
const MAX_WAIT_S = 60;  // a longer Retry-After is a used-up quota

class Uploads extends EventTarget {
  constructor() {
    super();
    this.waiting = [];
    this.sending = 0;
  }

  /** Add files to a collection. */
  add(files, collection) {
    for (const file of files) this.admit(new Upload(file, collection, this));
  }

  async admit(upload) {
    const refusal = await fileChecks.refusal(upload.file);
    if (upload.stopping.signal.aborted) return;
    if (refusal) upload.end("failed", refusal);
    else this.waiting.push(upload);
    this.next();
  }

  next() {
    while (this.sending < MAX_UPLOADS && this.waiting.length) {
      this.sending += 1;
      this.waiting.shift().run(() => {
        this.sending -= 1;
        this.next();
      });
    }
  }

  /** Remove an upload that was stopped before it was sent. */
  remove(upload) {
    this.waiting = this.waiting.filter((other) => other !== upload);
  }

  /** Report that a collection has one more document. */
  searchable() {
    this.dispatchEvent(new Event("searchable"));
  }

  ask() {
    this.dispatchEvent(new Event("ask"));
  }
}

class Upload {
  constructor(file, collection, uploads) {
    Object.assign(this, { file, collection, uploads });
    this.stopping = new AbortController();
    this.job = null;
    this.row = new UploadRow(file.name, () => this.stop());
  }

  /** Send the file and follow its job; `sent` is called as soon as the next file can be sent. */
  async run(sent) {
    const { signal } = this.stopping;
    this.row.state = "running";
    try {
      try {
        this.job = (await this.send(signal)).job_id;
      } finally {
        sent();
      }
      const job = await follow(this.job, (state) => this.show(state), signal);
      if (job.status === "succeeded") this.done(job);
      else this.end(job.status, job.status === "failed" ? sentence(job.error?.message) : stopped(job));
    } catch (error) {
      if (wasStopped(error)) this.end("cancelled", "Stopped.");
      else {
        const fault = faultOf(error);
        this.end("failed", [fault.message, when(fault) || fault.advice].join(" "));
      }
    }
  }

  /** Send the file, again as long as the service is busy; resolves to the answer of POST /upload. */
  async send(signal) {
    for (;;) {
      this.row.progress(0, 1, "Uploading");
      try {
        return await transfer(this.file, this.collection, (share) => this.moved(share), signal);
      } catch (fault) {
        const busy = [429, 503].includes(fault.status) && fault.retryAfter !== null && fault.retryAfter <= MAX_WAIT_S;
        if (!busy) throw fault;
        this.row.progress(null, null, "The service is busy; sent again shortly");
        await pause(1000 * fault.retryAfter, signal);
      }
    }
  }

  moved(share) {
    if (share < 1) this.row.progress(share, 1, `Uploading, ${Math.floor(share * 100)} %`);
    else this.row.progress(null, null, "Reading …");
  }

  show({ kind, status, progress: { done, total }, result }) {
    const unread = result?.not_read ? `, ${result.not_read} not read` : "";
    if (status === "queued") this.row.progress(null, null, "Waiting to be read");
    else if (!total) this.row.progress(null, null, "Reading …");
    else this.row.progress(done, total, `${done} of ${many(total, kind === "zip" ? "file" : "passage")}${unread}`);
  }

  done({ kind, progress: { total: passages }, result }) {
    const warnings = [...unreadFiles(result), ...(result?.warnings ?? [])];
    const amount = kind === "zip" ? many(result.documents + result.unchanged, "document") : passages && many(passages, "passage");
    const words = `Searchable${amount ? `, ${amount}` : ""} in ${collections.name(this.collection)}`;
    const ask = () => {
      this.row.dismiss();
      this.uploads.ask();
    };
    this.row.end("succeeded", words, button({ text: "Ask about it", kind: "link", onclick: ask }));
    this.row.warn(warnings);
    announce([`${this.file.name} is searchable.`, ...warnings.map(({ message }) => message)].join(" "));
    if (!warnings.length) setTimeout(() => this.row.dismiss(), SHOWN_MS);
    this.uploads.searchable();
  }

  end(state, message) {
    this.row.end(state, message);
    announce(`${this.file.name}: ${message}`);
  }

  async stop() {
    if (this.job) await cancel(this.job).catch(() => {});
    this.stopping.abort();
    if (this.row.state !== "waiting") return;  // run() reports the end
    this.uploads.remove(this);
    this.row.dismiss();
    announce(`${this.file.name}: Stopped.`);
  }
}

/** A warning for each of the first files of a ZIP file that could not be read, and for the number of others. */
function unreadFiles(result) {
  const files = (result?.unread_files ?? []).slice(0, MAX_UNREAD_SHOWN);
  const named = files.map(({ filename, message }) => ({ message: `${filename}: ${message}` }));
  const more = (result?.not_read ?? 0) - files.length;
  return more > 0 ? [...named, { message: `${many(more, "more file")} could not be read.` }] : named;
}

function stopped({ kind, result }) {
  const documents = kind === "zip" ? result?.documents : 0;
  return documents ? `Stopped. Searchable: ${many(documents, "document")}.` : "Stopped.";
}

function pause(ms, signal) {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(resolve, ms);
    signal.addEventListener("abort", () => {
      clearTimeout(timer);
      reject(signal.reason);
    }, { once: true });
  });
}

export const uploads = new Uploads();
