// Links out of the page: absolute, of harmless kinds only, and without a referrer.

import { element } from "../shared/dom.js";

const SAFE = new Set(["http:", "https:", "mailto:"]);

/** The address if it may be linked to: absolute, and of a harmless kind; otherwise null. */
export function safeUrl(text) {
  try {
    const url = new URL(text);
    return SAFE.has(url.protocol) ? url.href : null;
  } catch {
    return null;
  }
}

/** A link out of the page. */
export function link(href, ...children) {
  return element("a", { href, target: "_blank", rel: "noopener noreferrer nofollow", title: href }, children);
}
