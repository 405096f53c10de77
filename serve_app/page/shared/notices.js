// Notices: shown for a while, or only announced to screen readers.

import { button, element, icon, part } from "./dom.js";

const SHOWN_MS = 7000;

/** Show a notice for a while; `action` is {text, act}. */
export function notice(text, { action = null, bad = false } = {}) {
  const shown = element("div", { class: bad ? "notice bad" : "notice" }, bad ? icon("warning") : null, element("span", {}, text));
  const gone = () => shown.remove();
  if (action) {
    const act = () => {
      gone();
      action.act();
    };
    shown.append(button({ text: action.text, kind: "link", onclick: act }));
  }
  shown.append(button({ symbol: "close", label: "Dismiss", kind: "tool", onclick: gone }));
  part("notices").append(shown);
  setTimeout(gone, SHOWN_MS);
}

/** Tell a fault in passing. */
export function faultNotice(fault) {
  notice([fault.message, when(fault) || fault.advice].filter(Boolean).join(" "), { bad: true });
}

/** Say something to screen readers only. */
export function announce(text) {
  part("announcer").textContent = text;
}

/** When to try again, if the service said so. */
export function when(fault) {
  if (fault.retryAfter === null || fault.retryAfter === undefined) return "";
  return `Try again in ${Math.ceil(fault.retryAfter)} s.`;
}
