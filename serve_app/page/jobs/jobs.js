// The jobs view: all background work with its progress, and how to cancel it.

import { faultOf } from "../shared/requests.js";
import { button, element, foreign, icon, part } from "../shared/dom.js";
import { cancel, follow, hasEnded } from "./job_updates.js";
import { PagedList, emptyNote } from "../shared/paged_list.js";
import { faultNotice } from "../shared/notices.js";
import { settings } from "../shared/settings.js";
import { many, moment, seconds, sentence, size } from "../shared/formatting.js";

const LOOK_EVERY_MS = 10_000;
const STATES = { queued: "waiting", running: "running", succeeded: "done", failed: "failed", cancelled: "cancelled" };

export class Jobs {
  constructor() {
    this.watching = null;
    this.timer = null;
    this.listing = new PagedList({
      root: part("jobs-list"),
      path: "v1/jobs",
      values: () => ({ kind: part("jobs-kind").value, status: part("jobs-status").value }),
      row: (job) => this.row(job),
      empty,
    });
    for (const id of ["jobs-kind", "jobs-status"]) part(id).addEventListener("change", () => this.show());
    part("refresh-jobs").addEventListener("click", () => this.show());
    settings.addEventListener("key", () => this.watching && this.show());
  }

  show() {
    this.hide();
    this.load();
    this.timer = setInterval(() => this.look(), LOOK_EVERY_MS);
  }

  hide() {
    clearInterval(this.timer);
    this.watching?.abort();
    this.watching = null;
  }

  /** New jobs may have come; not while the person reads further down or is at a button. */
  look() {
    const { rows } = this.listing;
    if (document.hidden || rows.childElementCount > this.listing.limit || rows.contains(document.activeElement)) return;
    this.load({ quiet: true });
  }

  load(options) {
    this.watching?.abort();
    this.watching = new AbortController();
    return this.listing.load(options);
  }

  row(job) {
    const title = titleOf(job);
    const badge = element("span", { class: "badge" });
    const facts = element("small", {});
    const bar = element("progress", { "aria-label": `Progress of ${title}` });
    const stop = button({ text: "Cancel", kind: "button", label: `Cancel ${title}`, onclick: () => stopJob(job.id, stop) });
    const row = element("li", { class: "row job" }, icon(job.kind === "images" ? "image" : "document"), element("div", { class: "row-text" }, foreign("strong", title), facts, bar), badge, stop);
    const show = (now) => {
      row.dataset.state = now.status;
      badge.textContent = now.cancel_requested && !hasEnded(now) ? "stopping" : STATES[now.status];
      facts.textContent = words(now);
      bar.hidden = stop.hidden = hasEnded(now);
      stop.disabled = now.cancel_requested;
      if (now.progress.total) {
        bar.max = now.progress.total;
        bar.value = now.progress.done;
      }
    };
    show(job);
    if (!hasEnded(job)) follow(job.id, show, this.watching.signal).catch(() => {});
    return row;
  }
}

function titleOf({ kind, input }) {
  if (kind === "import") return `Import of ${input.name ?? "a collection"}`;
  if (kind === "response") return `Response of ${input.model}`;
  return kind === "images" ? input.prompt : input.filename;
}

function words({ kind, status, input, progress: { done, total }, created_at: created, updated_at: updated, error, result }) {
  if (status === "failed") return sentence(error?.message) || "It failed.";
  const what = { ingest: "passage", images: "picture", import: "document", zip: "file", response: "response" }[kind];
  const amount = total ? (status === "succeeded" ? many(total, what) : `${done} of ${many(total, what)}`) : "";
  const took = status === "succeeded" ? `in ${seconds(Math.max(0, updated - created))}` : "";
  const bytes = kind === "images" ? `${input.width} × ${input.height}` : input.size_bytes && size(input.size_bytes);
  const unread = result?.not_read ? `${result.not_read} not read` : "";
  return [[amount, took].filter(Boolean).join(" "), unread, bytes, moment(created)].filter(Boolean).join(" · ");
}

/** Have a job stopped; its button waits until that is known. */
export async function stopJob(id, button) {
  button.disabled = true;
  try {
    await cancel(id);
  } catch (error) {
    button.disabled = false;
    if (error.status !== 409) faultNotice(faultOf(error));  // 409: it ended meanwhile
  }
}

function empty() {
  return emptyNote(icon("jobs"), "Nothing here", "Files you add and pictures you ask for are worked on in the background. They show here with their progress, survive a restart, and can be cancelled.");
}
