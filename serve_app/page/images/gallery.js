// The pictures of a job as a card: they appear one by one, can be stopped, and open large.

import { button, element, foreign } from "../shared/dom.js";
import { follow, hasEnded } from "../jobs/job_updates.js";
import { announce } from "../shared/notices.js";
import { stopJob } from "../jobs/jobs.js";
import { lazily, picturePath } from "./picture_cache.js";
import { view } from "./picture_viewer.js";
import { many, moment, sentence } from "../shared/formatting.js";

const SHOWN_PLACES = 24;

/** The card of an images job, kept up to date until `signal` is aborted. */
export function gallery(job, { reuse, signal }) {
  const { prompt } = job.input;
  const state = element("small", {});
  const bar = element("progress", { "aria-label": `Progress of ${prompt}` });
  const stop = button({ text: "Stop", kind: "link", onclick: () => stopJob(job.id, stop) });
  const frames = element("div", { class: "frames" });
  const card = element("li", { class: "card pictures" }, element("header", {}, foreign("strong", prompt), state, stop), bar, frames);
  let latest = job;
  const shown = new Map();

  const show = (now) => {
    latest = now;
    card.dataset.state = now.status;
    state.textContent = words(now);
    stop.hidden = hasEnded(now);
    if (now.cancel_requested) stop.disabled = true;
    bar.hidden = hasEnded(now);
    if (now.progress.total) {
      bar.max = now.progress.total;
      bar.value = now.progress.done;
    }
    const images = now.result?.images ?? [];
    for (const { number } of images) {
      if (shown.has(number)) continue;
      const made = frame(prompt, number, picturePath(job.id, number), () => view(latest, latest.result.images.findIndex((one) => one.number === number), reuse));
      shown.set(number, made);
    }
    const coming = hasEnded(now) ? 0 : Math.min(now.input.count, SHOWN_PLACES) - shown.size;
    const places = Array.from({ length: Math.max(0, coming) }, () => element("span", { class: "frame coming" }));
    frames.replaceChildren(...shown.values(), ...places);
    if (hasEnded(now) && !images.length) frames.replaceChildren();
  };

  show(job);
  if (!hasEnded(job)) {
    follow(job.id, show, signal)
      .then((ended) => announce(ended.status === "succeeded" ? "The pictures are there." : words(ended)))
      .catch(() => {});
  }
  return card;
}

function frame(prompt, number, path, open) {
  const image = element("img", { alt: `${prompt}, picture ${number + 1}`, width: 128, height: 128, decoding: "async" });
  lazily(image, path);
  return element("button", { type: "button", class: "frame", onclick: open, "aria-label": `Open picture ${number + 1} of ${prompt}` }, image);
}

/** How a job of pictures stands. */
function words({ status, progress, created_at: created, error, cancel_requested: stopping, input }) {
  if (status === "failed") return `Failed: ${sentence(error?.message)}`;
  if (status === "cancelled") return "Stopped; nothing of it is kept.";
  if (status === "succeeded") return `${many(input.count, "picture")} · ${moment(created)}`;
  if (stopping) return "Stopping …";
  return status === "queued" ? "Waiting its turn" : `${progress.done} of ${many(input.count, "picture")}`;
}
