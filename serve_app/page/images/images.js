// The images view: a form that requests pictures, and the pictures of earlier jobs.

import { faultOf, fetched } from "../shared/requests.js";
import { element, icon, part } from "../shared/dom.js";
import { gallery } from "./gallery.js";
import { PagedList, emptyNote } from "../shared/paged_list.js";
import { settings } from "../shared/settings.js";
import { faultNote } from "../shared/fault_note.js";

const EXAMPLES = ["a large red circle on a blue background", "a small yellow star on a purple background", "a green heart on a white background"];

export class Images {
  constructor() {
    this.watching = null;
    this.prompt = part("image-prompt");
    this.listing = new PagedList({
      root: part("gallery"),
      path: "v1/jobs",
      values: () => ({ kind: "images" }),
      row: (job) => (job.status === "cancelled" ? null : this.card(job)),
      empty: () => this.empty(),
      limit: 10,
      kind: "galleries",
    });
    part("maker").addEventListener("submit", (event) => {
      event.preventDefault();
      this.make();
    });
    this.prompt.addEventListener("keydown", (event) => {
      if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
      event.preventDefault();
      part("maker").requestSubmit();
    });
    settings.addEventListener("key", () => this.watching && this.show());
  }

  show() {
    this.hide();
    this.watching = new AbortController();
    this.listing.load();
  }

  hide() {
    this.watching?.abort();
    this.watching = null;
  }

  /** Put words there for the person to make or change; a `seed` makes the same again. */
  fill({ prompt, seed = "", width = null, height = null, steps = "" }) {
    this.prompt.value = prompt;
    part("image-seed").value = seed;
    part("image-steps").value = steps;
    part("image-size").value = width ? `${width}x${height}` : "";
    this.prompt.focus();
  }

  async make() {
    const given = (id) => (part(id).value === "" ? undefined : part(id).valueAsNumber);
    const json = {
      prompt: this.prompt.value.trim(),
      count: given("image-count"),
      size: part("image-size").value.trim() || undefined,
      steps: given("image-steps"),
      seed: given("image-seed"),
    };
    part("make-images").disabled = true;
    part("maker-trouble").replaceChildren();
    try {
      const { job } = await fetched("generate/image/background", { method: "POST", json });
      this.listing.rows.prepend(this.card(job));
      this.listing.foot.querySelector(".empty")?.remove();
    } catch (error) {
      part("maker-trouble").replaceChildren(faultNote(faultOf(error), () => this.make()));
    } finally {
      part("make-images").disabled = false;
    }
  }

  card(job) {
    return gallery(job, { reuse: (input) => this.fill(input), signal: this.watching?.signal });
  }

  empty() {
    const examples = EXAMPLES.map((text) => element("li", {}, element("button", { type: "button", class: "example", onclick: () => this.fill({ prompt: text }) }, element("span", {}, text))));
    return emptyNote(icon("image"), "No pictures yet", "Say what you would like to see. The small model that comes with GenServe knows coloured shapes:", element("ul", { class: "examples", role: "list" }, examples));
  }
}
