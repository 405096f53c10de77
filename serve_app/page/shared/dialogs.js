// Dialogs: closed by Escape, by their buttons and by a click beside them.
// Their heads and feet are plain `div`s: `header` and `footer` would be landmarks of the page.

import { button, element, part } from "./dom.js";

/** Make a dialog of index.html close as people expect. */
export function closes(dialog) {
  let outside = false;
  dialog.addEventListener("pointerdown", (event) => {
    outside = event.target === dialog;
  });
  dialog.addEventListener("click", (event) => {
    // Only a click that also began beside it: selecting text may end there.
    if ((event.target === dialog && outside) || event.target.closest("[data-close]")) dialog.close();
  });
}

/** The head of a dialog: a title and the button that closes. */
export function dialogHead(id, title, ...more) {
  const close = button({ symbol: "close", label: "Close", kind: "tool" });
  close.dataset.close = "";
  return element("div", { class: "head" }, element("h2", { id, dir: "auto" }, title), ...more, close);
}

/**
 * Ask the person something. Resolves to null if they leave it, otherwise to the text they wrote,
 * or to true if there is no `field`.
 */
export function ask({ title, text, yes, danger = false, field = null }) {
  const dialog = part("ask");
  const input = field && element("input", { id: "ask-field", required: true, maxlength: 200, autocomplete: "off", dir: "auto" });
  const cancel = button({ text: "Cancel", kind: "button" });
  cancel.dataset.close = "";
  const agree = element("button", { class: danger ? "button danger solid" : "button primary" }, yes);
  const form = element(
    "form",
    { method: "dialog" },
    dialogHead("ask-title", title),
    text ? element("p", { dir: "auto" }, text) : null,
    field ? element("label", { for: "ask-field" }, field) : null,
    input,
    element("div", { class: "foot" }, cancel, agree),
  );
  dialog.replaceChildren(form);
  dialog.showModal();
  (input ?? cancel).focus();
  return new Promise((resolve) => {
    let answer = null;
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      answer = input ? input.value.trim() : true;
      if (answer) dialog.close();
    });
    dialog.addEventListener("close", () => resolve(answer), { once: true });
  });
}
