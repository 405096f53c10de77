// Inline Markdown as nodes: emphasis, code, maths, links and citations, in one pass over the text.

import { element, icon } from "../shared/dom.js";
import { link, safeUrl } from "./links.js";
import { mathsEnd } from "./maths.js";

const SPECIAL = /[\\`*_~[!<$\n]|https?:\/\//g;
const BARE_URL = /https?:\/\/[^\s<>"`[\]]{1,2000}/y;
const ANGLE_URL = /<((?:https?:\/\/|mailto:)[^\s<>]{1,2000})>/y;
const BREAK = /<br ?\/?>/iy;
const CITATION = /\[(\d{1,3}(?:, ?\d{1,3}){0,9})\]/y;
const DESTINATION = /\((?:<([^<>\n]{0,2000})>|([^\s()<>]{0,2000}(?:\([^\s()<>]{0,500}\)[^\s()<>]{0,500})?))(?: {1,3}"[^"\n]{0,500}")?\)/y;
const MARKUP = /[!-/:-@[-`{-~]/;
const SPACE = /\s/;
const PUNCTUATION = /[\p{P}\p{S}]/u;
const MAX_OPEN = 12;  // emphasis within emphasis; deeper is plain text

/** Read inline Markdown into nodes; `cite(number)` gives the node of a citation, or null. */
export function inline(text, cite, linked = false) {
  return new Reading(text, cite, linked).nodes();
}

class Reading {
  constructor(text, cite, linked) {
    this.text = text;
    this.cite = cite;
    this.linked = linked;  // inside a link there is no other
    this.frames = [{ key: "", mark: "", children: [] }];
    this.plain = "";
    this.absent = new Set();  // closing marks of maths that do not come again
  }

  nodes() {
    const { text } = this;
    let at = 0;
    while (at < text.length) {
      SPECIAL.lastIndex = at;
      const special = SPECIAL.exec(text);
      if (!special) break;
      this.plain += text.slice(at, special.index);
      at = special.index;
      const end = this.special(special[0], at);
      if (end > at) at = end;
      else {
        this.plain += special[0];
        at += special[0].length;
      }
    }
    this.plain += text.slice(at);
    this.flush();
    // What was opened and never closed is text.
    const [outermost, ...open] = this.frames;
    return open.reduce((all, frame) => all.concat(frame.mark, frame.children), outermost.children);
  }

  /** Take what begins here; gives where it ends, or `at` if it is plain text. */
  special(mark, at) {
    if (mark === "\n") return this.put(element("br"), at + 1);
    if (mark === "$") return this.maths(at);
    if (mark === "\\") return this.maths(at) || this.escaped(at);
    if (mark === "`") return this.code(at);
    if (mark === "[") return this.citation(at) || this.bracketed(at, false) || at;
    if (mark === "!") return this.text[at + 1] === "[" ? this.bracketed(at + 1, true) || at : at;
    if (mark === "<") return this.angle(at);
    if (mark.startsWith("http")) return this.bareUrl(at);
    return this.emphasis(mark, at);
  }

  put(node, end) {
    this.flush();
    this.frames.at(-1).children.push(node);
    return end;
  }

  flush() {
    if (this.plain) this.frames.at(-1).children.push(this.plain);
    this.plain = "";
  }

  /** Maths as it is written; 0 or `at` if there is none. */
  maths(at) {
    const { text } = this;
    const end = mathsEnd(text, at, this.absent);
    if (end > at) return this.put(element("code", { class: "maths", dir: "ltr" }, text.slice(at, end)), end);
    if (text[at] === "\\") return 0;
    if (text[at + 1] !== "$") return at;
    this.plain += "$$";
    return at + 2;
  }

  escaped(at) {
    const next = this.text[at + 1];
    if (next === "\n") return this.put(element("br"), at + 2);
    if (!next || !MARKUP.test(next)) return at;
    this.plain += next;
    return at + 2;
  }

  code(at) {
    this.ticks ??= ticksByLength(this.text);
    let length = 1;
    while (this.text[at + length] === "`") length += 1;
    const places = this.ticks.get(length) ?? [];
    while (places.length && places.at(-1) <= at) places.pop();
    if (!places.length) {
      this.plain += "`".repeat(length);
      return at + length;
    }
    const close = places.at(-1);
    const inner = this.text.slice(at + length, close).replaceAll("\n", " ");
    const spaced = inner.startsWith(" ") && inner.endsWith(" ") && inner.trim() !== "";
    return this.put(element("code", {}, spaced ? inner.slice(1, -1) : inner), close + length);
  }

  citation(at) {
    CITATION.lastIndex = at;
    const found = CITATION.exec(this.text);
    if (!found || this.linked || this.text[CITATION.lastIndex] === "(") return 0;
    const end = CITATION.lastIndex;
    const chips = found[1].split(",").map((number) => this.cite(Number.parseInt(number, 10)));
    if (chips.some((chip) => !chip)) return 0;
    for (const chip of chips) this.put(chip, end);
    return end;
  }

  bracketed(at, picture) {
    this.brackets ??= closingBrackets(this.text);
    const close = this.brackets.get(at);
    if (close === undefined) return 0;
    DESTINATION.lastIndex = close + 1;
    const destination = DESTINATION.exec(this.text);
    if (!destination) return 0;
    const end = DESTINATION.lastIndex;
    const label = this.text.slice(at + 1, close);
    if (picture) {
      // It is never loaded: an answer must not make the browser call anywhere.
      return this.put(element("span", { class: "alt", title: "A picture, not loaded" }, icon("image"), label || "picture"), end);
    }
    if (this.linked) return 0;
    const href = safeUrl(destination[1] ?? destination[2]);
    const children = inline(label, this.cite, true);
    return this.put(href ? link(href, children) : element("span", {}, children), end);
  }

  angle(at) {
    BREAK.lastIndex = at;
    if (BREAK.test(this.text)) return this.put(element("br"), BREAK.lastIndex);
    ANGLE_URL.lastIndex = at;
    const found = ANGLE_URL.exec(this.text);
    const end = ANGLE_URL.lastIndex;
    const href = found && !this.linked && safeUrl(found[1]);
    return href ? this.put(link(href, found[1]), end) : at;
  }

  bareUrl(at) {
    if (this.linked || /\w/.test(this.text[at - 1] ?? "")) return at;
    BARE_URL.lastIndex = at;
    let url = BARE_URL.exec(this.text)?.[0] ?? "";
    url = url.slice(0, url.length - trailing(url));
    const href = safeUrl(url);
    return href ? this.put(link(href, url), at + url.length) : at;
  }

  emphasis(mark, at) {
    const { text, frames } = this;
    let length = 1;
    while (text[at + length] === mark) length += 1;
    const end = at + length;
    const key = mark.repeat(length);
    const before = text[at - 1] ?? " ";
    const after = text[end] ?? " ";
    const fits = mark === "~" ? length === 2 : length <= 3;
    // As CommonMark has it: a mark leans on the text that it touches.
    const left = !SPACE.test(after) && (!PUNCTUATION.test(after) || SPACE.test(before) || PUNCTUATION.test(before));
    const right = !SPACE.test(before) && (!PUNCTUATION.test(before) || SPACE.test(after) || PUNCTUATION.test(after));
    const word = mark === "_";  // snake_case stays what it is
    if (fits && right && !(word && left && !PUNCTUATION.test(after))) {
      const opened = frames.findLastIndex((frame) => frame.key === key);
      if (opened > 0) return this.closed(opened, end);
    }
    if (fits && left && !(word && right && !PUNCTUATION.test(before)) && frames.length <= MAX_OPEN) {
      this.flush();
      frames.push({ key, mark: key, children: [] });
      return end;
    }
    this.plain += key;
    return end;
  }

  closed(opened, end) {
    this.flush();
    const [frame, ...unclosed] = this.frames.splice(opened);
    const tags = { "~~": ["del"], 1: ["em"], 2: ["strong"], 3: ["strong", "em"] };
    let inside = unclosed.reduce((all, inner) => all.concat(inner.mark, inner.children), frame.children);
    for (const tag of tags[frame.key] ?? tags[frame.key.length]) inside = element(tag, {}, inside);
    return this.put(inside, end);
  }
}

/** Where runs of backticks stand, by their length, the last first. */
function ticksByLength(text) {
  const places = new Map();
  for (const run of text.matchAll(/`+/g)) {
    if (!places.has(run[0].length)) places.set(run[0].length, []);
    places.get(run[0].length).push(run.index);
  }
  for (const of of places.values()) of.reverse();
  return places;
}

/** The place of the bracket that closes each one. */
function closingBrackets(text) {
  const places = new Map();
  const open = [];
  for (let at = 0; at < text.length; at += 1) {
    if (text[at] === "\\") at += 1;
    else if (text[at] === "[") open.push(at);
    else if (text[at] === "]" && open.length) places.set(open.pop(), at);
  }
  return places;
}

/** How many characters at the end of an address belong to the sentence around it. */
function trailing(url) {
  let count = 0;
  for (let at = url.length - 1; at > 0; at -= 1) {
    if (/[.,;:!?'*_~]/.test(url[at])) count += 1;
    else if (url[at] === ")" && !url.slice(0, at).includes("(")) count += 1;
    else break;
  }
  return count;
}
