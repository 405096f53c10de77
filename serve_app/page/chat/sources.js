// The sources of an answer: numbered chips, a list below it, and the passage in a side panel.

import { button, element, foreign, icon, part } from "../shared/dom.js";
import { dialogHead } from "../shared/dialogs.js";
import { link, safeUrl } from "../markdown/links.js";
import { pages } from "../shared/formatting.js";
import { characters } from "./attributions.js";
import { openOriginal } from "./originals.js";

/** The chip of a citation in the text; `span` is what of the source supports it, if known. */
export function chip(source, all, span = null, quote = "") {
  const said = quote ? `: ${quote}` : "";
  return element(
    "button",
    { type: "button", class: "chip", "aria-label": `Source ${source.id}: ${nameOf(source)}${said}`, title: quote || nameOf(source), onclick: () => openSource(source, all, span) },
    String(source.id),
  );
}

/**
 * The list of sources below an answer; `cited` are the numbers it refers to, null until known, and
 * `supporting` those that were found to support some of its sentences.
 */
export function sourceList(sources, cited, supporting = []) {
  const items = sources.map((source) => {
    const where = source.kind === "page" ? host(source.uri) : placeOf(source);
    const used = (cited?.includes(source.id) ?? false) || supporting.includes(source.id);
    return element("li", {}, element(
      "button",
      { type: "button", class: used ? "source used" : "source", "data-source": source.id, onclick: () => openSource(source, sources) },
      element("b", { class: "chip" }, String(source.id)),
      icon(source.kind === "page" ? "globe" : "document"),
      foreign("span", nameOf(source), { class: "source-title" }),
      where ? foreign("small", where) : null,
    ));
  });
  // Given to read is not the same as used: nobody should take them for what backs the answer.
  const heading = cited?.length === 0 && !supporting.length ? "Sources it was given; it cites none" : "Sources";
  return element("section", { class: "sources", "aria-label": "Sources" }, element("h3", {}, heading), element("ol", { role: "list" }, items));
}

/** Show a source's passage, as plain text, with the `span` of it that is meant. */
export function openSource(source, all, span = null) {
  const dialog = part("source");
  const page = source.kind === "page";
  const facts = [
    [page ? "Web page" : "Document", null],
    [placeOf(source), null],
    [source.title ? source.filename : "", "file"],
    [source.version > 1 ? `version ${source.version}` : "", null],
    [source.ocr ? "read by OCR" : "", "Its text was recognised in a picture, and may be wrong"],
    [source.place === "sheet" ? "" : source.section, "section"],
    ...Object.entries(source.attributes ?? {}).map(([name, value]) => [`${name}: ${value}`, "attribute"]),
    [Number.isFinite(source.score) ? `likeness ${source.score.toFixed(2)}` : "", "How like the question it is, of 1"],
  ];
  const href = page && /^https?:/i.test(source.uri) ? safeUrl(source.uri) : null;
  const place = all.findIndex((one) => one.id === source.id);
  const step = (by) => {
    const other = all[place + by];
    return button({
      symbol: by < 0 ? "left" : "right",
      label: by < 0 ? "Previous source" : "Next source",
      kind: "tool",
      onclick: other ? () => openSource(other, all) : null,
    });
  };
  const [before, after] = [step(-1), step(1)];
  before.disabled = place <= 0;
  after.disabled = place >= all.length - 1;
  dialog.replaceChildren(
    element("div", { class: "panel" },
      dialogHead("source-title", nameOf(source)),
      element("p", { class: "facts" }, facts.filter(([fact]) => fact).map(([fact, title]) => foreign("span", fact, { title }))),
      href ? link(href, icon("out"), foreign("span", href)) : null,
      source.content_uri ? button({ text: "Open the original", symbol: "out", onclick: () => openOriginal(source) }) : null,
      source.text ? passage(source.text, span) : element("p", { class: "soft" }, "Its text is no longer kept in this tab."),
      element("div", { class: "foot" }, before, element("span", { class: "soft" }, `${source.id} of ${all.length}`), after),
    ),
  );
  if (!dialog.open) dialog.showModal();
  dialog.querySelector("[data-close]").focus();
  dialog.querySelector("mark")?.scrollIntoView({ block: "center" });
}

function passage(text, span) {
  const quote = element("blockquote", { class: "passage", tabindex: 0, dir: "auto" });
  if (!span) quote.append(unwrapped(text));
  else quote.append(unwrapped(characters(text, 0, span.start)), element("mark", {}, unwrapped(characters(text, span.start, span.end))), unwrapped(characters(text, span.end)));
  return quote;
}

function nameOf({ title, filename, uri }) {
  return title || filename || uri || "untitled";
}

/** Where in its document a passage stands: "page 4", "slides 2–3", "sheet Costs". */
function placeOf({ place, section, page, page_end }) {
  return place === "sheet" ? `sheet ${section}` : pages(page, page_end, place ?? undefined);
}

/** A passage whose long lines run on: where a file or a PDF broke them means nothing here. */
function unwrapped(text) {
  return text.replace(/([^\n]{50})\n(?=[\p{L}\p{N}("“])(?!\d+[.)])/gu, "$1 ");
}

function host(uri) {
  return URL.canParse(uri) ? new URL(uri).host : "";
}
