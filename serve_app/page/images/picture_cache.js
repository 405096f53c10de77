// Pictures as object URLs: fetched with the API key, a few at a time, and released again.

import { request } from "../shared/requests.js";

const AT_ONCE = 3;
const MAX_HELD = 120;
const held = new Map();  // path -> promise of an object URL, the longest unused first
const waiting = [];
let running = 0;

/** The path of a job's n-th picture, from 0; relative, unlike the URL in the job. */
export function picturePath(jobId, number) {
  return `v1/images/${encodeURIComponent(jobId)}/${number}.png`;
}

/** The object URL of a picture by its path. */
export function picture(path) {
  const before = held.get(path);
  held.delete(path);
  const url = before ?? queued(path);
  held.set(path, url);
  url.catch(() => held.delete(path));
  if (held.size > MAX_HELD) drop(held.keys().next().value);
  return url;
}

/** Load a picture into an image once it comes near to what is seen. */
export function lazily(image, path) {
  const near = new IntersectionObserver(([entry]) => {
    if (!entry.isIntersecting) return;
    near.disconnect();
    picture(path).then(
      (url) => {
        image.src = url;
      },
      () => image.classList.add("missing"),
    );
  }, { rootMargin: "300px" });
  near.observe(image);
}

function drop(path) {
  // What an image has loaded stays with it.
  held.get(path).then((url) => URL.revokeObjectURL(url), () => {});
  held.delete(path);
}

function queued(path) {
  return new Promise((resolve, reject) => {
    waiting.push(async () => {
      try {
        const response = await request(path, { quiet: true });
        resolve(URL.createObjectURL(await response.blob()));
      } catch (error) {
        reject(error);
      }
    });
    next();
  });
}

function next() {
  if (running >= AT_ONCE || !waiting.length) return;
  running += 1;
  waiting.shift()().finally(() => {
    running -= 1;
    next();
  });
}

addEventListener("pagehide", (event) => {
  if (!event.persisted) for (const path of [...held.keys()]) drop(path);
});
