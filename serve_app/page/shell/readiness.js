// The readiness of the service: a dot in the rail, and a dialog with every deployment.

import { button, element, part } from "../shared/dom.js";
import { dialogHead } from "../shared/dialogs.js";

const AGAIN_MS = 5000;
const TIMEOUT_MS = 10_000;
const NAMES = { llm: "Language model", embedder: "Embedder", scraper: "Page reader", retriever: "Document search", images: "Images", jobs: "Jobs", parser: "Document parser" };

export class Readiness {
  constructor() {
    this.timer = null;
    this.states = {};
    part("readiness").addEventListener("click", () => this.open());
    document.addEventListener("visibilitychange", () => !document.hidden && this.look());
    addEventListener("unreachable", () => this.doubt());
    addEventListener("online", () => this.doubt());
    addEventListener("offline", () => this.show("away", "Offline"));
  }

  /** What is shown may be wrong: withdraw it, and ask. */
  doubt() {
    this.show("asking", "Checking …");
    this.look();
  }

  /** Ask; while not all is ready, again after a while. */
  async look() {
    clearTimeout(this.timer);
    const look = (this.latest = {});
    try {
      const response = await fetch("readyz", { signal: AbortSignal.timeout(TIMEOUT_MS) });
      const { ready, deployments } = await response.json();
      if (look !== this.latest) return;
      this.states = deployments ?? {};
      const waiting = Object.entries(this.states).filter(([, state]) => !state.ready).map(([name]) => title(name));
      this.show(ready ? "ready" : "starting", ready ? "Ready" : waiting.length === 1 ? `${waiting[0]} not ready` : "Not all ready");
      if (ready) return;
    } catch {
      if (look !== this.latest) return;
      this.states = {};
      this.show("away", "Not reachable");
    }
    if (!document.hidden) this.timer = setTimeout(() => this.look(), AGAIN_MS);
  }

  show(state, text) {
    part("readiness").dataset.state = state;
    part("readiness").lastElementChild.textContent = text;
    part("readiness").title = text;
    if (part("ask").open && part("ask").dataset.about === "readiness") this.draw();
  }

  open() {
    const dialog = part("ask");
    dialog.dataset.about = "readiness";
    dialog.addEventListener("close", () => delete dialog.dataset.about, { once: true });
    this.draw();
    dialog.showModal();
    this.look();
  }

  draw() {
    const rows = Object.entries(this.states).map(([name, { ready, detail, running_requests: running }]) => element(
      "li",
      { class: "state", "data-state": ready ? "ready" : "starting" },
      element("i"),
      element("span", {}, title(name)),
      element("small", {}, detail ?? (running ? `${running} at work` : ready ? "ready" : "not ready")),
    ));
    const close = button({ text: "Close", kind: "button" });
    close.dataset.close = "";
    part("ask").replaceChildren(element("div", {},
      dialogHead("ask-title", "How the service is"),
      rows.length ? element("ul", { class: "states", role: "list" }, rows) : element("p", {}, "The service cannot be reached. It is asked again every few seconds."),
      element("div", { class: "foot" }, close)));
  }
}

function title(name) {
  return NAMES[name] ?? name;
}
