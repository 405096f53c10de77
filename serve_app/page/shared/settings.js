// What the person has set: kept on the device, except for the key, which is kept for the tab.

import { keep, kept } from "./storage.js";

const NAME = "genserve.settings";
const KEY = "genserve.key";
const USUAL = {
  model: "genserve",
  temperature: null,  // null: as the service has it
  maxTokens: null,
  web: true,
  documents: true,
  collection: "default",
};

class Settings extends EventTarget {
  constructor() {
    super();
    const before = kept(NAME, "localStorage") ?? {};
    this.values = { ...USUAL };
    for (const name of Object.keys(USUAL)) {
      if (typeof before[name] === typeof USUAL[name] || typeof before[name] === "number") {
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

  /** Whether the model is the one that answers from web and documents. */
  get answersFromSources() {
    return this.values.model === "genserve";
  }
}

export const settings = new Settings();
