// The collections of documents, and the one that is searched and added to.

import { fetched, query, request } from "../shared/requests.js";
import { element } from "../shared/dom.js";
import { settings } from "../shared/settings.js";

const USUAL = { id: "default", name: "default" };
const A_PAGE = 100;
const MAX_PAGES = 20;

class Collections extends EventTarget {
  constructor() {
    super();
    this.list = [USUAL];
  }

  /** Ask which there are. */
  async load() {
    const list = [];
    let after = null;
    for (let page = 0; page < MAX_PAGES; page += 1) {
      const answer = await fetched(query("v1/vector_stores", { limit: A_PAGE, after }), { quiet: true });
      list.push(...answer.data);
      after = answer.last_id;
      if (!answer.has_more) break;
    }
    if (!list.some(({ id }) => id === USUAL.id)) list.unshift(USUAL);
    list.sort((one, other) => (other.id === USUAL.id) - (one.id === USUAL.id) || nameOf(one).localeCompare(nameOf(other)));
    this.list = list;
    if (!list.some(({ id }) => id === settings.values.collection)) settings.change({ collection: USUAL.id });
    this.dispatchEvent(new Event("change"));
  }

  /** Make one and choose it. */
  async create(name) {
    const made = await fetched("v1/vector_stores", { method: "POST", json: { name } });
    this.list = [...this.list, made];
    settings.change({ collection: made.id });
    await this.load();
  }

  /** Delete one with all that is in it. */
  async remove(id) {
    await request(`v1/vector_stores/${encodeURIComponent(id)}`, { method: "DELETE" });
    settings.change({ collection: USUAL.id });
    await this.load();
  }

  /** The name of one, for people. */
  name(id) {
    return nameOf(this.list.find((one) => one.id === id) ?? { id });
  }

  /** Keep a select showing the collections; what is chosen there is set, unless `bound` is false. */
  choose(select, bound = true) {
    const fill = () => {
      const chosen = bound || !select.value ? settings.values.collection : select.value;
      select.replaceChildren(...this.list.map((one) => element("option", { value: one.id, dir: "auto" }, nameOf(one))));
      select.value = this.list.some(({ id }) => id === chosen) ? chosen : USUAL.id;
    };
    this.addEventListener("change", fill);
    if (bound) {
      settings.addEventListener("change", fill);
      select.addEventListener("change", () => settings.change({ collection: select.value }));
    }
    fill();
  }
}

function nameOf({ id, name }) {
  return name || id;
}

export const collections = new Collections();
