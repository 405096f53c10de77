// A fault shown where it happened: what went wrong, what to do, and when to try again.

import { button, element, icon } from "./dom.js";

/** The fault as a block; `again` is what "Try again" does. */
export function faultNote(fault, again = null) {
  const words = element("p", {}, element("strong", {}, fault.message), " ", fault.advice);
  const block = element("div", { class: "note bad", role: "alert" }, icon("warning"), words);
  if (!again) return block;
  const retry = button({ text: "Try again", kind: "button", onclick: again });
  block.append(retry);
  if (fault.retryAfter) countDown(retry, fault.retryAfter);
  return block;
}

function countDown(retry, seconds) {
  const label = retry.querySelector("span");
  const until = Date.now() + seconds * 1000;
  retry.disabled = true;
  const tick = () => {
    const left = Math.ceil((until - Date.now()) / 1000);
    if (left > 0) {
      label.textContent = `Try again in ${left} s`;
      if (retry.isConnected || left >= seconds) setTimeout(tick, 250);
      return;
    }
    label.textContent = "Try again";
    retry.disabled = false;
  };
  tick();
}
