// TeX maths in Markdown, shown as it is written: Markdown would take its backslashes and stars.

const CLOSINGS = { "\\(": "\\)", "\\[": "\\]", "$$": "$$" };
const DISPLAY = /^ {0,3}(\$\$|\\\[)/;
const AFTER_DISPLAY = /^[\s.,;:!?]*$/;
const MAX_DISPLAY_LINES = 200;
const TO_NEXT_DOLLAR = /(?:\\[^]|[^\\$])*\$/y;
const TEX = /[\\^_={}]/;

/** The end of the maths that begins in a text, or `at`; `absent` collects closings not met again. */
export function mathsEnd(text, at, absent) {
  const closing = CLOSINGS[text.slice(at, at + 2)];
  if (!closing) return text[at] === "$" ? dollarsEnd(text, at) : at;
  const end = absent.has(closing) ? -1 : text.indexOf(closing, at + 2);
  if (end < 0) absent.add(closing);
  return end > at + 2 ? end + 2 : at;
}

/** The end of `$x$`, which is neither a price nor the name of a variable. */
function dollarsEnd(text, at) {
  TO_NEXT_DOLLAR.lastIndex = at + 1;
  const found = TO_NEXT_DOLLAR.exec(text);
  if (!found) return at;
  const inner = found[0].slice(0, -1);
  const end = at + 1 + found[0].length;
  const spaced = inner === "" || inner !== inner.trim();
  const inWord = /\w/.test(text[at - 1] ?? "") || /\w/.test(text[end] ?? "");
  const price = /^\d/.test(inner) && !TEX.test(inner);
  return spaced || inWord || price ? at : end;
}

/** The block of maths on lines of its own, which has no empty line in it; null if there is none. */
export function mathsBlock(lines, at) {
  const opening = DISPLAY.exec(lines[at]);
  if (!opening) return null;
  const closing = CLOSINGS[opening[1]];
  const most = Math.min(lines.length, at + MAX_DISPLAY_LINES);
  let next = at;
  for (; next < most && lines[next].trim() !== ""; next += 1) {
    const end = lines[next].indexOf(closing, next === at ? opening[0].length : 0);
    if (end < 0) continue;
    return AFTER_DISPLAY.test(lines[next].slice(end + 2)) ? block(lines, at, next + 1) : null;
  }
  // Still being written.
  return next === lines.length && lines[at].trim() === opening[1] ? block(lines, at, next) : null;
}

function block(lines, at, next) {
  return { type: "maths", text: lines.slice(at, next).join("\n").trim(), next };
}
