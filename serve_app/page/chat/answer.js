// An answer as it streams in: what is being done, its text, its sources, and warnings.

import { button, element, foreign, icon } from "../shared/dom.js";
import { copies } from "../shared/clipboard.js";
import { timings } from "./timings.js";
import { IncrementalMarkdown } from "../markdown/incremental.js";
import { chip, sourceList } from "./sources.js";
import { Attributions } from "./attributions.js";
import { faultNote } from "../shared/fault_note.js";
import { sentence } from "../shared/formatting.js";

export class Answer {
  /** `turn` is the plain object that is kept; `again` asks once more. */
  constructor(turn, again) {
    this.turn = turn;
    this.again = again;
    this.began = performance.now();
    this.working = element("p", { class: "working" }, element("i"), element("i"), element("i"), element("span", {}, "Asking …"));
    this.prose = element("div", { class: "prose" });
    this.below = element("div", { class: "below" });
    this.element = element("li", { class: "turn answer" }, element("h2", { class: "sr" }, "Answer"), this.working, this.prose, this.below);
    this.attributions = new Attributions(this.prose, turn, {
      chip: (source, span, quote) => chip(source, turn.sources, span, quote),
      light: (number, on) => this.light(number, on),
    });
    this.markdown = new IncrementalMarkdown(this.prose, (number) => this.citation(number), () => this.attributions.mark());
    if (turn.ended === null) {
      this.element.setAttribute("aria-busy", "true");
      return;
    }
    this.markdown.write(turn.content);
    this.close();
  }

  /** Say what is being done until the first token comes. */
  doing(text) {
    this.working.lastChild.textContent = text;
  }

  /** Take one chunk of the stream. */
  take(chunk) {
    const { turn } = this;
    for (const name of ["sources", "pages", "warnings", "cited", "timings", "usage"]) {
      if (chunk[name]) turn[name] = chunk[name];
    }
    if (chunk.attributions) turn.attributions.push(...chunk.attributions.map(kept));
    if (chunk.sources) this.doing("Thinking …");
    const [choice] = chunk.choices ?? [];
    const text = choice?.delta?.content;
    if (choice?.finish_reason) turn.finish = choice.finish_reason;
    if (!text) return;
    if (!turn.content) {
      this.firstToken = performance.now();
      this.working.hidden = true;
      this.element.classList.add("growing");
    }
    turn.content += text;
    this.markdown.write(text);
  }

  /** It has ended: "done", "stopped", or "failed" with a fault. */
  end(ended, fault = null) {
    const { turn } = this;
    turn.ended = ended;
    if (fault) turn.fault = { message: fault.message };
    if (ended === "done" && !turn.timings.total_s) {
      // The bare model does not tell: then as it was seen from here.
      const since = (moment) => (moment - this.began) / 1000;
      turn.timings = { total_s: since(performance.now()), first_token_s: since(this.firstToken ?? performance.now()) };
    }
    this.close(fault);
  }

  close(fault = null) {
    const { turn, below } = this;
    this.markdown.finish();
    this.working.remove();
    this.element.removeAttribute("aria-busy");
    this.element.classList.remove("growing");
    if (turn.ended === "done" && !turn.content) this.prose.append(element("p", { class: "soft" }, "The model had nothing to say."));
    if (turn.finish === "length") below.append(element("p", { class: "soft" }, "It ended at the longest answer allowed; the settings can raise that."));
    if (turn.ended === "stopped") below.append(element("p", { class: "soft" }, turn.content ? "Stopped here." : "Stopped."));
    if (turn.warnings.length) below.append(without(turn.warnings));
    if (turn.sources.length && turn.content) below.append(sourceList(turn.sources, turn.cited, this.supporting()));
    if (turn.ended === "failed") below.append(faultNote(fault ?? { message: turn.fault?.message ?? "The answer failed.", advice: "" }, this.again));
    else below.append(this.foot());
  }

  foot() {
    const foot = element("footer", { class: "answer-foot" });
    if (this.turn.content) {
      const copy = button({ text: "Copy", symbol: "copy", kind: "link" });
      copies(copy, () => this.turn.content);
      foot.append(copy);
    }
    if (this.turn.ended === "stopped") foot.append(button({ text: "Ask again", symbol: "again", kind: "link", onclick: this.again }));
    const line = timings(this.turn);
    if (line) foot.append(line);
    return foot;
  }

  /** The numbers of the sources that support some sentence. */
  supporting() {
    return (this.turn.attributions ?? []).map(({ source }) => source).filter((number) => number !== null);
  }

  /** Show which source in the list is meant, or no longer. */
  light(number, on) {
    this.below.querySelector(`[data-source="${number}"]`)?.classList.toggle("lit", on);
  }

  citation(number) {
    const source = this.turn.sources.find(({ id }) => id === number);
    return source ? chip(source, this.turn.sources) : null;
  }
}

/** An attribution without its quote, which its source has. */
function kept({ start, end, source, cited, corrected, quote }) {
  return { start, end, source, cited, corrected, quote: quote && { start: quote.start, end: quote.end } };
}

/** What the answer had to do without, kindly. */
function without(warnings) {
  const items = warnings.map(({ message, url }) => element("li", {}, sentence(message), url ? foreign("small", url) : null));
  return element("div", { class: "note warn" }, icon("warning"), element("div", {}, element("strong", {}, "Good to know about this answer"), element("ul", { role: "list" }, items)));
}
