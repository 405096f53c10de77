// Files on their way to being searchable: each a row with what is happening to it.

import { faultOf, wasStopped } from "../shared/requests.js";
import { collections } from "./collections.js";
import { button, element, foreign, part } from "../shared/dom.js";
import { cancel, follow } from "../jobs/job_updates.js";
import { announce, when } from "../shared/notices.js";
import { transfer } from "./upload_request.js";
import { many, sentence } from "../shared/formatting.js";

const AT_ONCE = 2;
const SHOWN_MS = 20_000;  // what went well makes room by itself

class Uploads extends EventTarget {
  constructor() {
    super();
    this.waiting = [];
    this.running = 0;
  }

  /** Take files into a collection, a few at a time. */
  add(files, collection) {
    for (const file of files) this.waiting.push(new Upload(file, collection, this));
    this.next();
  }

  next() {
    while (this.running < AT_ONCE && this.waiting.length) {
      this.running += 1;
      this.waiting.shift().run().finally(() => {
        this.running -= 1;
        this.next();
      });
    }
  }

  /** Tell that a collection has one more document, or may have. */
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
    this.bar = element("progress", { max: 1, value: 0, "aria-label": `Progress of ${file.name}` });
    this.words = element("span", { class: "upload-state" }, "Waiting its turn");
    this.actions = element("span", { class: "upload-actions" }, button({ symbol: "close", label: `Stop adding ${file.name}`, kind: "tool", onclick: () => this.stop() }));
    this.row = element("div", { class: "upload", "data-state": "waiting" }, foreign("strong", file.name, { title: file.name }), this.words, this.bar, this.actions);
    part("uploads").prepend(this.row);
    part("uploads").hidden = false;
  }

  async run() {
    if (this.stopping.signal.aborted) return;
    this.row.dataset.state = "running";
    this.say("Uploading");
    try {
      const moved = (share) => {
        this.bar.value = share;
        this.say(share < 1 ? `Uploading, ${Math.floor(share * 100)} %` : "Reading …");
        if (share >= 1) this.bar.removeAttribute("value");
      };
      const answer = await transfer(this.file, this.collection, moved, this.stopping.signal);
      this.job = answer.job_id;
      const job = await follow(this.job, (state) => this.show(state), this.stopping.signal);
      if (job.status === "succeeded") this.done(job.progress.total);
      else this.over(job.status, { message: job.status === "failed" ? sentence(job.error?.message) : "Stopped." });
    } catch (error) {
      if (wasStopped(error)) this.over("cancelled", { message: "Stopped." });
      else {
        const fault = faultOf(error);
        this.over("failed", { message: [fault.message, when(fault) || fault.advice].join(" ") });
      }
    }
  }

  show({ status, progress: { done, total } }) {
    if (status === "queued") this.say("Waiting to be read");
    else if (!total) this.say("Reading …");
    else {
      this.bar.max = total;
      this.bar.value = done;
      this.say(`${done} of ${many(total, "passage")}`);
    }
  }

  done(passages) {
    this.row.dataset.state = "succeeded";
    this.bar.remove();
    this.say(`Searchable${passages ? `, ${many(passages, "passage")}` : ""} in ${collections.name(this.collection)}`);
    const ask = () => {
      this.dismiss();
      this.uploads.ask();
    };
    this.actions.replaceChildren(button({ text: "Ask about it", kind: "link", onclick: ask }), this.dismissal());
    announce(`${this.file.name} is searchable.`);
    setTimeout(() => this.dismiss(), SHOWN_MS);
    this.uploads.searchable();
  }

  over(state, { message }) {
    this.row.dataset.state = state;
    this.bar.remove();
    this.say(message);
    this.actions.replaceChildren(this.dismissal());
    announce(`${this.file.name}: ${message}`);
  }

  dismissal() {
    return button({ symbol: "close", label: `Dismiss ${this.file.name}`, kind: "tool", onclick: () => this.dismiss() });
  }

  dismiss() {
    this.row.remove();
    part("uploads").hidden = part("uploads").childElementCount === 0;
  }

  async stop() {
    if (this.job) await cancel(this.job).catch(() => {});
    this.stopping.abort();
    if (this.row.dataset.state === "waiting") this.dismiss();
  }

  say(text) {
    this.words.textContent = text;
  }
}

export const uploads = new Uploads();
