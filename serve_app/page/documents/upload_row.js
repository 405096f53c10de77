// The row of an upload in the rail: its name, its state in words, a progress bar, and buttons.

import { button, element, foreign, part } from "../shared/dom.js";
import { warningNotes } from "./warnings.js";

export class UploadRow {
  constructor(name, stop) {
    this.name = name;
    this.bar = element("progress", { max: 1, value: 0, "aria-label": `Progress of ${name}` });
    this.words = element("span", { class: "upload-state" }, "Waiting to be sent");
    this.actions = element("span", {}, button({ symbol: "close", label: `Stop adding ${name}`, kind: "tool", onclick: stop }));
    this.root = element("div", { class: "upload", "data-state": "waiting" }, foreign("strong", name, { title: name }), this.words, this.bar, this.actions);
    part("uploads").prepend(this.root);
    part("uploads").hidden = false;
  }

  /** "waiting", "running", or how it ended: "succeeded", "failed", "cancelled". */
  get state() {
    return this.root.dataset.state;
  }

  set state(state) {
    this.root.dataset.state = state;
  }

  /** Show progress; `done` and `total` are null while they are not known. */
  progress(done, total, words) {
    if (done === null) this.bar.removeAttribute("value");
    else {
      this.bar.max = total;
      this.bar.value = done;
    }
    this.words.textContent = words;
  }

  /** Show how it ended, with more buttons than the one that dismisses the row. */
  end(state, words, ...more) {
    this.state = state;
    this.bar.remove();
    this.words.textContent = words;
    this.actions.replaceChildren(...more, button({ symbol: "close", label: `Dismiss ${this.name}`, kind: "tool", onclick: () => this.dismiss() }));
  }

  /** Say what was not read of the file. */
  warn(warnings) {
    this.words.after(...warningNotes(warnings));
  }

  dismiss() {
    this.root.remove();
    part("uploads").hidden = part("uploads").childElementCount === 0;
  }
}
