// Archives: a collection downloaded as one file, and such a file imported as a new collection.

import { announce, faultNotice, when } from "../shared/notices.js";
import { button, element, part } from "../shared/dom.js";
import { faultOf, fetched, request, wasStopped } from "../shared/requests.js";
import { many, sentence, size } from "../shared/formatting.js";
import { settings } from "../shared/settings.js";
import { cancel, follow } from "../jobs/job_updates.js";
import { collections } from "./collections.js";
import { UploadRow } from "./upload_row.js";

const PART_BYTES = 16 * 1024 ** 2;  // as the service has it
const ATTEMPTS = 5;
const PAUSE_MS = 1000;
const MAX_WAIT_S = 60;

/** Connect the buttons of the documents view. */
export function connectArchiveButtons() {
  const input = part("archive");
  part("export-collection").addEventListener("click", () => exportCollection(settings.values.collection));
  part("import-collection").addEventListener("click", () => input.click());
  input.addEventListener("change", () => {
    for (const file of input.files) new Import(file).run();
    input.value = "";
  });
}

/** Download a collection; the browser streams it, but cannot send an API key with a link. */
async function exportCollection(id) {
  const path = `v1/vector_stores/${encodeURIComponent(id)}/export`;
  if (!settings.key) {
    save(path, id);
    return;
  }
  const row = new UploadRow(`${collections.name(id)}.tar`, () => stopping.abort());
  const stopping = new AbortController();
  row.state = "running";
  row.progress(null, null, "Exporting");
  try {
    const response = await request(path, { signal: stopping.signal });
    const pieces = [];
    let bytes = 0;
    for await (const piece of piecesOf(response)) {
      pieces.push(piece);
      bytes += piece.length;
      row.progress(null, null, `Exporting, ${size(bytes)}`);
    }
    const url = URL.createObjectURL(new Blob(pieces, { type: "application/x-tar" }));
    save(url, id);
    setTimeout(() => URL.revokeObjectURL(url), 60_000);
    row.end("succeeded", `Exported, ${size(bytes)}`);
  } catch (error) {
    if (wasStopped(error)) row.end("cancelled", "Stopped.");
    else row.end("failed", faultOf(error).message);
  }
}

async function* piecesOf(response) {
  const reader = response.body.getReader();
  for (;;) {
    const { done, value } = await reader.read();
    if (done) return;
    yield value;
  }
}

function save(url, id) {
  element("a", { href: url, download: `${id}.tar` }).click();
}

class Import {
  constructor(file) {
    this.file = file;
    this.id = `imp_${crypto.getRandomValues(new Uint8Array(16)).reduce((text, byte) => text + byte.toString(16).padStart(2, "0"), "")}`;
    this.job = null;
    this.sent = 0;  // parts
    this.stopping = new AbortController();
    this.row = new UploadRow(file.name, () => this.stop());
  }

  /** Send the file in parts, and follow its job. */
  async run() {
    const { signal } = this.stopping;
    this.row.state = "running";
    try {
      await this.send(signal);
      const begun = await fetched("v1/imports", { method: "POST", json: { import_id: this.id, size_bytes: this.file.size }, signal });
      this.job = begun.job_id;
      const job = await follow(this.job, (state) => this.show(state), signal);
      if (job.status === "succeeded") await this.done(job);
      else this.end(job.status, job.status === "failed" ? sentence(job.error?.message) : "Stopped.");
    } catch (error) {
      if (wasStopped(error)) this.end("cancelled", "Stopped.");
      else {
        const fault = faultOf(error);
        this.end("failed", [fault.message, when(fault) || fault.advice].join(" "));
      }
      if (!this.job && this.sent) request(`v1/imports/${this.id}`, { method: "DELETE", quiet: true }).catch(() => {});
    }
  }

  async send(signal) {
    const total = this.file.size;
    for (let sent = 0, number = 0; sent < total; sent += PART_BYTES, number += 1) {
      const words = total > PART_BYTES ? `Uploading, ${Math.floor((100 * sent) / total)} %` : "Uploading";
      this.row.progress(total > PART_BYTES ? sent : null, total, words);
      await this.sendPart(number, this.file.slice(sent, sent + PART_BYTES), signal);
      this.sent += 1;
    }
    this.row.progress(null, null, "Waiting to be read");
  }

  /** Send a part, again as long as the service is busy or away. */
  async sendPart(number, body, signal) {
    for (let attempt = 1; ; attempt += 1) {
      try {
        await request(`v1/imports/${this.id}/parts/${number}`, { method: "PUT", body, signal });
        return;
      } catch (error) {
        const lasting = wasStopped(error) || (error.status >= 400 && error.status < 500 && error.status !== 429 && error.status !== 408);
        if (lasting || attempt === ATTEMPTS || (error.retryAfter ?? 0) > MAX_WAIT_S) throw error;
        await new Promise((resolve) => setTimeout(resolve, 1000 * (error.retryAfter ?? 0) || PAUSE_MS * attempt));
        signal.throwIfAborted();
      }
    }
  }

  show({ status, progress: { done, total } }) {
    if (status === "queued" || total === null) this.row.progress(null, null, "Waiting to be read");
    else this.row.progress(done, Math.max(total, 1), `${done} of ${many(total, "document")}`);
  }

  async done({ progress: { total }, result }) {
    await collections.load().catch(() => {});
    const words = `Imported, ${many(total ?? 0, "document")} in ${collections.name(result.vector_store_id)}`;
    const open = () => {
      this.row.dismiss();
      settings.change({ collection: result.vector_store_id });
    };
    this.row.end("succeeded", words, button({ text: "Show it", kind: "link", onclick: open }));
    announce(words);
  }

  end(state, message) {
    this.row.end(state, message);
    announce(`${this.file.name}: ${message}`);
  }

  async stop() {
    if (this.job) await cancel(this.job).catch((error) => faultNotice(faultOf(error)));
    this.stopping.abort();
  }
}
