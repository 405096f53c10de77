// The settings of the person: kept on the device, except for the key, which is kept for the tab;
// and what the operator of the service allows.

import { keep, kept } from "./storage.js";

export const DEFAULT_COLLECTION = "default";

const NAME = "genserve.settings";
const KEY = "genserve.key";
const DEFAULTS = {
  model: "genserve",
  temperature: null,  // null: the service decides
  maxTokens: null,
  web: true,
  documents: true,
  collection: DEFAULT_COLLECTION,
};

class Settings extends EventTarget {
  constructor() {
    super();
    const before = kept(NAME, "localStorage") ?? {};
    this.values = { ...DEFAULTS };
    this.allowed = { web: true, documents: true };
    for (const name of Object.keys(DEFAULTS)) {
      if (typeof before[name] === typeof DEFAULTS[name] || typeof before[name] === "number") {
        this.values[name] = before[name];
      }
    }
    this.remembered = typeof kept(KEY, "localStorage") === "string";
    this.key = kept(KEY, "localStorage") ?? kept(KEY) ?? "";
  }

  /** Change some values, keep them, and tell all who listen for "change". */
  change(values) {
    Object.assign(this.values, values);
    keep(NAME, this.values, "localStorage");
    this.dispatchEvent(new Event("change"));
  }

  /** Take a key, on this device or in this tab only; an empty one is forgotten. */
  takeKey(key, remember) {
    const news = key !== this.key;
    this.key = key;
    this.remembered = remember && key !== "";
    keep(KEY, key && remember ? key : null, "localStorage");
    keep(KEY, key && !remember ? key : null);
    if (news) this.dispatchEvent(new Event("key"));
  }

  /** Take what the operator allows. */
  allow({ web, documents }) {
    this.allowed = { web, documents };
    this.dispatchEvent(new Event("change"));
  }

  /** Whether answers can draw on "web" or "documents". */
  offers(name) {
    return this.allowed[name] && this.answersFromSources;
  }

  /** Whether answers draw on "web" or "documents". */
  uses(name) {
    return this.offers(name) && this.values[name];
  }

  /** Whether the model is the one that answers from web and documents. */
  get answersFromSources() {
    return this.values.model === "genserve";
  }
}

export const settings = new Settings();
