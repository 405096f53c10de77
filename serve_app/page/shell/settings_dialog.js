// The settings dialog: the API key, what answers are made with, and light or dark.

import { fetched } from "../shared/requests.js";
import { collections } from "../documents/collections.js";
import { element, part } from "../shared/dom.js";
import { settings } from "../shared/settings.js";
import { chosenTheme, chooseTheme } from "./theme.js";

const WHAT = { answering: "answers from web and documents", chat: "the language model alone" };

export class SettingsDialog {
  constructor() {
    this.dialog = part("settings");
    this.asking = null;  // the promise of an answer to the question for a key
    part("open-settings").addEventListener("click", () => this.open());
    part("settings-form").addEventListener("submit", (event) => {
      event.preventDefault();
      this.save();
    });
    collections.choose(part("set-collection"), false);
    this.models([{ id: "genserve", kind: "answering" }]);
  }

  /** Ask which models there are; they are what can be chosen. */
  async load({ quiet = false } = {}) {
    const { data } = await fetched("v1/models", { quiet });
    this.models(data);
  }

  models(models) {
    const kinds = models.map((model) => ({ ...model, kind: model.kind ?? (model.id === "genserve" ? "answering" : "chat") }));
    const useful = kinds.filter(({ kind }) => kind in WHAT);
    part("model").replaceChildren(...useful.map(({ id, kind }) => element("option", { value: id }, `${id}: ${WHAT[kind]}`)));
    if (useful.length > 1 && !useful.some(({ id }) => id === settings.values.model)) settings.change({ model: useful[0].id });
  }

  open(note = "") {
    const { model, temperature, maxTokens, web, documents, collection } = settings.values;
    part("key-note").textContent = note;
    part("key-note").hidden = note === "";
    part("api-key").value = settings.key;
    part("remember-key").checked = settings.remembered;
    part("model").value = model;
    part("temperature").value = temperature ?? "";
    part("max-tokens").value = maxTokens ?? "";
    part("set-web").checked = web && settings.allowed.web;
    part("set-documents").checked = documents && settings.allowed.documents;
    part("set-web").disabled = !settings.allowed.web;
    part("set-documents").disabled = !settings.allowed.documents;
    part("set-collection").value = collection;
    this.dialog.querySelector(`[name=theme][value=${chosenTheme()}]`).checked = true;
    this.dialog.classList.toggle("asking", note !== "");  // then only the key is in question
    if (!this.dialog.open) this.dialog.showModal();
    if (note) part("api-key").select();
  }

  save() {
    const number = (id) => (part(id).value === "" ? null : part(id).valueAsNumber);
    settings.takeKey(part("api-key").value.trim(), part("remember-key").checked);
    settings.change({
      model: part("model").value || settings.values.model,
      temperature: number("temperature"),
      maxTokens: number("max-tokens"),
      // What the operator has switched off was not for the person to change.
      web: settings.allowed.web ? part("set-web").checked : settings.values.web,
      documents: settings.allowed.documents ? part("set-documents").checked : settings.values.documents,
      collection: part("set-collection").value,
    });
    chooseTheme(this.dialog.querySelector("[name=theme]:checked").value);
    this.dialog.close();
  }

  /** The service wants a key: ask kindly, once for all who wait. Resolves to whether one was given. */
  askForKey(refused) {
    this.asking ??= new Promise((resolve) => {
      const before = settings.key;
      this.open(refused
        ? "This key was not accepted. Please check it, or ask whoever runs this service for another."
        : "This service asks for an API key. Whoever runs it can give you one.");
      this.dialog.addEventListener("close", () => {
        this.asking = null;
        resolve(settings.key !== before);
      }, { once: true });
    });
    return this.asking;
  }
}
