// DOM nodes, made one by one: no text is ever parsed as HTML.

const SVG = "http://www.w3.org/2000/svg";

/**
 * Make an element. Attributes that are functions become listeners (`onclick`), `true` an empty
 * attribute; null, undefined and false are left out. Children are nodes, strings or lists of them.
 */
export function element(tag, attributes = {}, ...children) {
  const made = document.createElement(tag);
  // One by one: a hostile answer may have more of them than a call can take.
  for (const child of children.flat()) {
    if (child !== null && child !== undefined) made.append(child);
  }
  // Last: with `dir=auto` set, every child would have all of them looked through again.
  for (const [name, value] of Object.entries(attributes)) {
    if (value === null || value === undefined || value === false) continue;
    if (typeof value === "function") made.addEventListener(name.replace(/^on/, ""), value);
    else made.setAttribute(name, value === true ? "" : String(value));
  }
  return made;
}

/** One of the symbols drawn in index.html. */
export function icon(name) {
  const svg = document.createElementNS(SVG, "svg");
  svg.setAttribute("class", "icon");
  svg.setAttribute("aria-hidden", "true");
  const use = document.createElementNS(SVG, "use");
  use.setAttribute("href", `#i-${name}`);
  svg.append(use);
  return svg;
}

/** A button with an icon, a text, or both; an icon alone needs its `label`. */
export function button({ text, symbol, label, kind = "button", onclick, title }) {
  const children = [symbol && icon(symbol), text && element("span", {}, text)];
  return element(
    "button",
    { type: "button", class: kind, "aria-label": label, title: title ?? (text ? null : label), onclick },
    ...children,
  );
}

/** Text from outside, kept apart from the direction of what stands around it. */
export function foreign(tag, text, attributes = {}) {
  return element(tag, { dir: "auto", ...attributes }, text ?? "");
}

/** An element of index.html by its id. */
export function part(id) {
  return document.getElementById(id);
}
