// DOM nodes of Markdown blocks. All text goes into text nodes: nothing is loaded, nothing runs.

import { button, element } from "../shared/dom.js";
import { copies } from "../shared/clipboard.js";
import { inline } from "./inline.js";

const BUILD = {
  heading: ({ level, text }, cite) => element(`h${Math.min(level + 2, 6)}`, { dir: "auto" }, inline(text, cite)),
  rule: () => element("hr"),
  code: (block) => code(block),
  maths: ({ text }) => element("pre", { class: "maths", tabindex: 0, dir: "ltr" }, text),
  quote: ({ blocks }, cite) => element("blockquote", {}, nodes(blocks, cite)),
  list: (block, cite) => list(block, cite),
  table: (block, cite) => table(block, cite),
  paragraph: ({ text }, cite) => element("p", { dir: "auto" }, inline(text, cite)),
};

/** The nodes of blocks; `cite(number)` gives the node of a citation, or null. */
export function nodes(blocks, cite) {
  return blocks.map((block) => BUILD[block.type](block, cite));
}

function code({ language, text }) {
  const copy = button({ text: "Copy", symbol: "copy", kind: "link" });
  const shown = element("code", {}, text);
  copies(copy, () => shown.textContent);
  return element(
    "figure",
    { class: "code" },
    element("figcaption", {}, element("span", {}, language || "text"), copy),
    element("pre", { tabindex: 0, dir: "ltr" }, shown),
  );
}

function list({ start, loose, items }, cite) {
  const made = start === null ? element("ul") : element("ol", { start: start === 1 ? null : start });
  for (const item of items) made.append(element("li", { dir: "auto" }, itemNodes(item, loose, cite)));
  return made;
}

function itemNodes(blocks, loose, cite) {
  return blocks.flatMap((block, place) => {
    const text = place === 0 && block.type === "paragraph" ? ticked(block.text) : block.text;
    if (block.type === "paragraph" && !loose) return inline(text, cite);
    return nodes([{ ...block, text }], cite);
  });
}

function ticked(text) {
  const box = /^\[([ xX])\] /.exec(text);
  return box ? `${box[1] === " " ? "☐" : "☑"} ${text.slice(4)}` : text;
}

function table({ head, sides, rows }, cite) {
  const row = (tag, cells) =>
    element("tr", {}, sides.map((side, place) => element(tag, { class: side, dir: "auto" }, inline(cells[place] ?? "", cite))));
  return element(
    "div",
    { class: "table", tabindex: 0, role: "group", "aria-label": "Table" },
    element("table", {}, element("thead", {}, row("th", head)), element("tbody", {}, rows.map((cells) => row("td", cells)))),
  );
}
