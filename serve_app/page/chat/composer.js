// The composer: a field that grows with the question, and switches for what the answer draws on.

import { collections } from "../documents/collections.js";
import { part } from "../shared/dom.js";
import { settings } from "../shared/settings.js";

export class Composer {
  constructor({ send, stop }) {
    this.onSend = send;
    this.onStop = stop;
    this.field = part("question");
    this.working = false;
    part("composer").addEventListener("submit", (event) => {
      event.preventDefault();
      this.send();
    });
    this.field.addEventListener("input", () => this.fit());
    this.field.addEventListener("keydown", (event) => {
      // While a word is being composed Enter belongs to the input method.
      if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
      event.preventDefault();
      this.send();
    });
    part("stop").addEventListener("click", () => this.stop());
    document.addEventListener("keydown", (event) => {
      if (event.key === "Escape" && this.working && !document.querySelector("dialog[open]")) this.stop();
    });
    toggle(part("use-web"), "web");
    toggle(part("use-documents"), "documents");
    collections.choose(part("ask-collection"));
    this.fit();
  }

  send() {
    const text = this.field.value.trim();
    if (!text || this.working) return;
    this.fill("");
    this.onSend(text);
  }

  stop() {
    this.onStop();
    this.focus();
  }

  /** Put a text there for the person to send or change. */
  fill(text) {
    this.field.value = text;
    this.fit();
    this.focus();
  }

  focus() {
    this.field.focus();
  }

  busy(working) {
    const held = document.activeElement === part("stop");
    this.working = working;
    part("send").hidden = working;
    part("stop").hidden = !working;
    if (held && !working) this.focus();
  }

  fit() {
    this.field.style.height = "auto";
    this.field.style.height = `${this.field.scrollHeight}px`;
    part("send").disabled = this.field.value.trim() === "";
  }
}

function toggle(button, name) {
  const { title } = button;
  const show = () => {
    button.setAttribute("aria-pressed", String(settings.uses(name)));
    button.disabled = !settings.offers(name);
    button.title = settings.allowed[name] ? title : "Switched off by the operator of this service";
  };
  button.addEventListener("click", () => settings.change({ [name]: !settings.values[name] }));
  settings.addEventListener("change", show);
  show();
}
