// The documents view: list, add and delete documents; create and delete collections.

import { faultOf, request } from "../shared/requests.js";
import { collections } from "./collections.js";
import { READABLE } from "./file_checks.js";
import { ask } from "../shared/dialogs.js";
import { button, element, foreign, icon, part } from "../shared/dom.js";
import { PagedList, emptyNote } from "../shared/paged_list.js";
import { faultNotice, notice } from "../shared/notices.js";
import { settings } from "../shared/settings.js";
import { uploads } from "./uploads.js";
import { many, moment, size } from "../shared/formatting.js";
import { warningNotes } from "./warnings.js";

export class Documents {
  constructor() {
    this.shown = false;
    this.collection = settings.values.collection;
    this.listing = new PagedList({
      root: part("documents-list"),
      path: "v1/documents",
      values: () => ({ collection: settings.values.collection }),
      row: (document) => this.row(document),
      empty,
    });
    collections.choose(part("show-collection"));
    part("new-collection").addEventListener("click", () => this.create());
    part("delete-collection").addEventListener("click", () => this.removeCollection());
    settings.addEventListener("change", () => this.changed());
    settings.addEventListener("key", () => this.shown && this.listing.load());
    uploads.addEventListener("searchable", () => this.shown && this.listing.load({ quiet: true }));
    this.changed();
  }

  show() {
    this.shown = true;
    this.listing.load();
    collections.load().catch(() => {});
  }

  hide() {
    this.shown = false;
  }

  changed() {
    const { collection } = settings.values;
    part("delete-collection").hidden = collection === "default";
    if (collection === this.collection) return;
    this.collection = collection;
    this.listing.rows.replaceChildren();
    if (this.shown) this.listing.load();
  }

  async create() {
    const name = await ask({ title: "New collection", text: "A collection keeps documents apart: a question is answered from one of them.", field: "Name", yes: "Create" });
    if (!name) return;
    try {
      await collections.create(name);
      notice(`Collection ${name} is there. Files you add go into it.`);
    } catch (error) {
      faultNotice(faultOf(error));
    }
  }

  async removeCollection() {
    const id = settings.values.collection;
    const name = collections.name(id);
    const sure = await ask({ title: `Delete ${name}?`, text: "All documents in this collection are forgotten. This cannot be undone.", yes: "Delete", danger: true });
    if (!sure) return;
    try {
      await collections.remove(id);
      notice(`Collection ${name} is deleted.`);
    } catch (error) {
      faultNotice(faultOf(error));
    }
  }

  row(document) {
    const { filename, title, pages, chunks, size_bytes: bytes, created_at: created, warnings } = document;
    const facts = [pages ? many(pages, "page") : "", many(chunks, "passage"), size(bytes), moment(created)];
    const row = element(
      "li",
      { class: "row" },
      icon("document"),
      element(
        "div",
        { class: "row-text" },
        foreign("strong", title || filename),
        title && title !== filename ? foreign("span", filename) : null,
        element("small", {}, facts.filter(Boolean).join(" · ")),
        ...warningNotes(warnings),
      ),
      button({ symbol: "trash", label: `Delete ${filename}`, kind: "tool", onclick: () => this.remove(document, row) }),
    );
    return row;
  }

  async remove({ id, collection, filename }, row) {
    const sure = await ask({ title: "Delete this document?", text: `${filename} will no longer be found. This cannot be undone.`, yes: "Delete", danger: true });
    if (!sure) return;
    try {
      await request(`v1/documents/${encodeURIComponent(id)}?collection=${encodeURIComponent(collection)}`, { method: "DELETE" });
    } catch (error) {
      if (error.status !== 404) {
        faultNotice(faultOf(error));
        return;
      }
    }
    row.remove();
    this.listing.check();
    notice(`${filename} is deleted.`);
  }
}

function empty() {
  const add = button({ text: "Choose files", kind: "button primary", onclick: () => part("files").click() });
  return emptyNote(icon("document"), "No documents here yet", `Drop files anywhere on this page. Once they are searchable, questions are answered from them, with the passage to check. ${READABLE}`, add);
}
