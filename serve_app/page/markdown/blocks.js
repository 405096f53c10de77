// Markdown blocks from lines: a tree of plain objects, each with the line it begins on.

import { mathsBlock } from "./maths.js";

const FENCE = /^( {0,3})(`{3,}|~{3,})[ \t]*([^`]*)$/;
const RULE = /^ {0,3}([-*_])[ \t]*(?:\1[ \t]*){2,}$/;
const ITEM = /^([ \t]*)([-*+]|\d{1,9}[.)])(?:[ \t]+|$)/;
const QUOTE = /^ {0,3}> ?/;
const HEADING = /^ {0,3}(#{1,6})(?:[ \t]|$)/;
const TABLE_RULE = /^ {0,3}\|?[ \t]*:?-+:?[ \t]*(?:\|[ \t]*:?-+:?[ \t]*)*\|?[ \t]*$/;
// Bounds, since what is read here may be hostile: deeper or wider is plain text.
const MAX_DEPTH = 8;
const MAX_COLUMNS = 40;

/** Read lines into blocks: heading, rule, code, maths, quote, list, table, paragraph. */
export function blocks(lines, depth = 0) {
  const found = [];
  for (let at = 0; at < lines.length; ) {
    if (lines[at].trim() === "") {
      at += 1;
      continue;
    }
    const block = fence(lines, at) ?? mathsBlock(lines, at) ?? heading(lines, at) ?? rule(lines, at) ?? nested(lines, at, depth) ?? table(lines, at) ?? paragraph(lines, at);
    found.push({ ...block, line: at });
    at = block.next;
  }
  return found;
}

function fence(lines, at) {
  const opening = FENCE.exec(lines[at]);
  if (!opening) return null;
  const [, indent, marks, info] = opening;
  const code = [];
  let next = at + 1;
  for (; next < lines.length; next += 1) {
    const line = lines[next];
    const bare = line.trim();
    if (bare.length >= marks.length && bare === marks[0].repeat(bare.length)) {
      return { type: "code", language: word(info), text: code.join("\n"), closed: true, next: next + 1 };
    }
    code.push(indent && line.startsWith(indent) ? line.slice(indent.length) : line);
  }
  return { type: "code", language: word(info), text: code.join("\n"), closed: false, next };
}

function word(info) {
  return info.trim().split(/\s/, 1)[0].slice(0, 30);
}

function heading(lines, at) {
  const opening = HEADING.exec(lines[at]);
  if (!opening) return null;
  let text = lines[at].trim().slice(opening[1].length).trim();
  let end = text.length;
  while (end > 0 && text[end - 1] === "#") end -= 1;
  if (end === 0 || text[end - 1] === " ") text = text.slice(0, end).trim();
  return { type: "heading", level: opening[1].length, text, next: at + 1 };
}

function rule(lines, at) {
  return RULE.test(lines[at]) ? { type: "rule", next: at + 1 } : null;
}

function nested(lines, at, depth) {
  if (depth >= MAX_DEPTH) return null;
  return quote(lines, at, depth) ?? list(lines, at, depth);
}

function quote(lines, at, depth) {
  if (!QUOTE.test(lines[at])) return null;
  const inner = [];
  let next = at;
  for (; next < lines.length; next += 1) {
    if (QUOTE.test(lines[next])) inner.push(lines[next].replace(QUOTE, ""));
    else if (lines[next].trim() !== "" && inner.at(-1)?.trim() && !interrupts(lines, next)) inner.push(lines[next]);
    else break;
  }
  return { type: "quote", blocks: blocks(inner, depth + 1), next };
}

function list(lines, at, depth) {
  const first = ITEM.exec(lines[at]);
  if (!first) return null;
  const ordered = /\d/.test(first[2]);
  const outer = width(first[1]);
  const items = [];
  let loose = false;
  let blank = false;
  let inset = 0;
  let next = at;
  for (; next < lines.length; next += 1) {
    const line = lines[next];
    if (line.trim() === "") {
      blank = true;
      items.at(-1).push("");
      continue;
    }
    const opening = ITEM.exec(line);
    const indent = width(line.slice(0, line.length - line.trimStart().length));
    const sibling = opening && indent < outer + 2 && !RULE.test(line);
    if (sibling) {
      if (/\d/.test(opening[2]) !== ordered) break;
      inset = indent + Math.min(opening[0].trimStart().length, opening[2].length + 4);
      items.push([line.slice(opening[0].length)]);
    } else if (indent >= Math.min(inset, outer + 2)) {
      items.at(-1).push(moved(line, inset));
    } else if (!blank && !interrupts(lines, next)) {
      items.at(-1).push(line);
    } else break;
    loose ||= blank;
    blank = false;
  }
  return {
    type: "list",
    start: ordered ? Number.parseInt(first[2], 10) : null,
    loose,
    items: items.map((item) => blocks(item, depth + 1)),
    next,
  };
}

/** How many columns white space takes. */
function width(space) {
  return space.replaceAll("\t", "    ").length;
}

/** A line moved to the left by up to so many columns of white space. */
function moved(line, columns) {
  let at = 0;
  for (let gone = 0; gone < columns && /[ \t]/.test(line[at] ?? ""); at += 1) gone += width(line[at]);
  return line.slice(at);
}

function table(lines, at) {
  if (!lines[at].includes("|") || !TABLE_RULE.test(lines[at + 1] ?? "")) return null;
  const head = cells(lines[at]);
  const rules = cells(lines[at + 1]);
  if (head.length !== rules.length || head.length > MAX_COLUMNS) return null;
  const rows = [];
  let next = at + 2;
  while (next < lines.length && lines[next].includes("|")) {
    rows.push(cells(lines[next]).slice(0, head.length));
    next += 1;
  }
  const sides = rules.map((mark) => (mark.endsWith(":") ? (mark.startsWith(":") ? "center" : "end") : "start"));
  return { type: "table", head, sides, rows, next };
}

function cells(line) {
  const found = [];
  let cell = "";
  const bare = line.trim().replace(/^\|/, "");
  for (let at = 0; at < bare.length; at += 1) {
    if (bare[at] === "\\" && bare[at + 1] === "|") {
      cell += "|";
      at += 1;
    } else if (bare[at] === "|") {
      found.push(cell.trim());
      cell = "";
    } else cell += bare[at];
  }
  if (cell.trim() || !bare.endsWith("|")) found.push(cell.trim());
  return found;
}

function paragraph(lines, at) {
  let next = at + 1;
  while (next < lines.length && lines[next].trim() !== "" && !interrupts(lines, next)) next += 1;
  return { type: "paragraph", text: lines.slice(at, next).join("\n").trim(), next };
}

/** Whether a line begins something else, although no empty line stands before it. */
function interrupts(lines, at) {
  const line = lines[at];
  if (HEADING.test(line) || QUOTE.test(line) || RULE.test(line) || FENCE.test(line) || mathsBlock(lines, at)) return true;
  const item = ITEM.exec(line);
  if (item && line.length > item[0].length && (!/\d/.test(item[2]) || Number.parseInt(item[2], 10) === 1)) return true;
  return line.includes("|") && TABLE_RULE.test(lines[at + 1] ?? "") && cells(line).length === cells(lines[at + 1]).length;
}
