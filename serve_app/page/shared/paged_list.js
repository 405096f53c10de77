// A list loaded page by page: its rows, "Load more", and what it says when it is empty or fails.

import { faultOf, fetched, query, wasStopped } from "./requests.js";
import { button, element } from "./dom.js";
import { faultNote } from "./fault_note.js";

export class PagedList {
  /**
   * `path` and `values()` make the request, `row(item)` a node, `empty()` what to show when
   * there is nothing.
   */
  constructor({ root, path, values, row, empty, limit = 20, kind = "rows" }) {
    Object.assign(this, { root, path, values, row, empty, limit });
    this.rows = element("ul", { class: kind, role: "list" });
    this.foot = element("div", { class: "list-foot" });
    root.append(this.rows, this.foot);
    this.loading = null;
  }

  /** Begin anew from the first page. What is seen stays until the new rows are there. */
  async load({ quiet = false } = {}) {
    this.loading?.abort();
    const { signal } = (this.loading = new AbortController());
    if (!this.rows.childElementCount) this.foot.replaceChildren(element("p", { class: "soft loading" }, "Loading …"));
    try {
      const answer = await this.page(null, signal, quiet);
      this.rows.replaceChildren(...this.made(answer.data));
      this.more(answer);
    } catch (error) {
      this.failed(error, () => this.load());
    }
  }

  async page(after, signal, quiet) {
    return fetched(query(this.path, { ...this.values(), limit: this.limit, after }), { signal, quiet });
  }

  /** Rows of items; for some there may be none. */
  made(items) {
    return items.map((item) => this.row(item)).filter(Boolean);
  }

  more({ has_more: hasMore, next_after: after }) {
    this.foot.replaceChildren();
    if (!this.rows.childElementCount && !hasMore) this.foot.append(this.empty());
    if (!hasMore) return;
    const next = button({ text: "Load more", kind: "button" });
    next.addEventListener("click", async () => {
      next.disabled = true;
      try {
        const answer = await this.page(after, this.loading.signal);
        const made = this.made(answer.data);
        this.rows.append(...made);
        this.more(answer);
        made[0]?.querySelector("button, a")?.focus();
      } catch (error) {
        this.failed(error, () => this.load());
      }
    });
    this.foot.append(next);
  }

  failed(error, again) {
    if (wasStopped(error)) return;
    this.foot.replaceChildren(faultNote(faultOf(error), again));
  }

  /** Show that nothing is left, if so. */
  check() {
    if (!this.rows.childElementCount) this.more({ has_more: false });
  }
}

/** What an empty list says: what will be here, and what to do for it. */
export function emptyNote(symbol, title, text, ...more) {
  return element("div", { class: "empty" }, symbol, element("h2", {}, title), element("p", {}, text), more);
}
