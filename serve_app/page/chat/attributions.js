// Mark the sentences of an answer, and show the sources that support them.

import { element } from "../shared/dom.js";

const MAX_TRIES = 40;  // frames in which a sentence is searched for, as its text may still arrive
const UNREAD = ".chip, pre, figcaption, .sr";
const CITATION = /[[【]\D{0,12}\d[^\]】\n]{0,40}[\]】]/gu;
const LINK_TARGET = /\]\([^()\n]*(?:\([^()\n]*\)[^()\n]*)?\)|<br ?\/?>/giu;
const LETTER = /[\p{L}\p{N}\p{M}]/u;
const TRAILING = /^[^\s\p{L}\p{N}]+/u;
const UNSUPPORTED = "No source supports this sentence";

/** Characters from one place to another, counted as the service does: by code points. */
export function characters(text, start, end) {
  return [...text].slice(start, end).join("");
}

/** The marks of one answer; `light(number, on)` highlights a source in the list. */
export class Attributions {
  constructor(root, turn, { chip, light }) {
    this.root = root;
    this.turn = turn;
    this.chip = chip;
    this.light = light;
    this.marked = new Map();  // the first node of each sentence that was found
    this.tries = new Map();
  }

  /** Mark the sentences without a mark, or whose text was rendered again. */
  mark() {
    const waiting = (this.turn.attributions ?? []).filter((one) => !this.marked.get(one)?.isConnected && (this.tries.get(one) ?? 0) < MAX_TRIES);
    if (!waiting.length) return;
    const shown = new Shown(this.root);
    const raw = [...this.turn.content];
    const found = [];
    for (const one of waiting) {
      this.tries.set(one, (this.tries.get(one) ?? 0) + 1);
      const place = shown.find(raw.slice(one.start, one.end).join(""), found.at(-1)?.place.end ?? 0);
      if (place) found.push({ one, place });
    }
    // From the last to the first: splitting a node does not change the nodes before it.
    for (const { one, place } of found.toSorted((a, b) => b.place.start - a.place.start)) this.put(one, shown.parts(place));
  }

  put(one, parts) {
    const source = this.turn.sources.find(({ id }) => id === one.source);
    const quote = source && one.quote ? characters(source.text, one.quote.start, one.quote.end) : "";
    const show = (on) => {
      this.light(one.source, on);
      for (const span of spans) span.classList.toggle("lit", on);
    };
    const attributes = { class: "said unsupported", title: UNSUPPORTED };
    const supported = { class: "said", title: `${one.source}: ${quote || source?.title}`, onpointerenter: () => show(true), onpointerleave: () => show(false) };
    // The last one first, as above.
    const spans = parts.map(([node, start, end]) => {
      const span = element("span", source ? supported : attributes);
      const range = document.createRange();
      range.setStart(node, start);
      range.setEnd(node, end);
      range.surroundContents(span);
      return span;
    });
    this.marked.set(one, spans[0]);
    if (source) this.cite(one, spans, show, this.chip(source, one.quote, quote));
    else spans[0].append(element("span", { class: "sr" }, ` (${UNSUPPORTED})`));
  }

  /** Add the chip of the supporting source after a sentence, or replace the chip of this source. */
  cite(one, spans, show, chip) {
    chip.addEventListener("focus", () => show(true));
    chip.addEventListener("blur", () => show(false));
    let [behind] = spans;
    for (let next = behind.nextSibling; next && (isChip(next) || next.data?.trim() === ""); next = next.nextSibling) if (isChip(next)) behind = next;
    behind.after(chip);
    const given = [...this.root.querySelectorAll("button.chip")].filter((other) => follows(spans.at(-1), other) && follows(other, chip));
    const right = given.find((other) => other.textContent === chip.textContent);
    if (right) right.replaceWith(chip);
    else if (one.corrected) {
      for (const other of given) {
        other.classList.add("wrong");
        other.title = `It does not support this sentence; source ${one.source} does`;
      }
    }
  }
}

function isChip(node) {
  return node.classList?.contains("chip") ?? false;
}

function follows(node, other) {
  return Boolean(node.compareDocumentPosition(other) & Node.DOCUMENT_POSITION_FOLLOWING);
}

/** The visible letters and digits, each with its place. */
class Shown {
  constructor(root) {
    this.letters = "";
    this.places = [];
    const walker = document.createTreeWalker(root, NodeFilter.SHOW_TEXT);
    for (let node = walker.nextNode(); node; node = walker.nextNode()) {
      if (node.parentElement.closest(UNREAD)) continue;
      let at = 0;
      for (const char of node.data) {
        if (LETTER.test(char)) {
          this.letters += char;
          for (let unit = 0; unit < char.length; unit += 1) this.places.push([node, at + unit]);
        }
        at += char.length;
      }
    }
  }

  /** Where a sentence of Markdown is among the letters, or null. */
  find(markdown, from) {
    const bare = [...markdown.replace(CITATION, "").replace(LINK_TARGET, "]")].filter((char) => LETTER.test(char)).join("");
    if (!bare) return null;
    let start = this.letters.indexOf(bare, from);
    if (start < 0) start = this.letters.indexOf(bare);
    return start < 0 ? null : { start, end: start + bare.length };
  }

  /** The stretches of text nodes, the last one first. */
  parts({ start, end }) {
    const found = [];
    for (const [node, place] of this.places.slice(start, end)) {
      if (found[0]?.[0] === node) found[0][2] = place + 1;
      else {
        if (found[0]) found[0][2] = found[0][0].length;
        found.unshift([node, found[0] ? 0 : place, place + 1]);
      }
    }
    const [last] = found;
    last[2] += TRAILING.exec(last[0].data.slice(last[2]))?.[0].length ?? 0;
    return found;
  }
}
