// The timings of an answer: one line that opens to a table.

import { element, foreign } from "../shared/dom.js";
import { seconds } from "../shared/formatting.js";

const OUTCOMES = { ok: "read", timeout: "too slow", empty: "without text", http_error: "gave an error", unavailable: "not tried" };

/** The line of a finished answer, or null if nothing was measured. */
export function timings({ timings: measured, usage, pages }) {
  const { total_s: total, first_token_s: first } = measured;
  if (!total) return null;
  const tokens = usage?.completion_tokens ?? 0;
  const rate = tokens > 1 && total > first ? (tokens - 1) / (total - first) : null;
  const short = [seconds(total), rate ? `${Math.round(rate)} tokens/s` : ""].filter(Boolean).join(" · ");
  const rows = [
    ["First token", first && seconds(first)],
    ["Searching documents", measured.search_s && seconds(measured.search_s)],
    ["Reading pages", measured.pages_s && seconds(measured.pages_s)],
    ["Whole answer", seconds(total)],
    ["Speed", rate && `${rate.toFixed(1)} tokens/s`],
    ["Tokens read", usage && String(usage.prompt_tokens)],
    ["Tokens written", usage && String(tokens)],
    ...pages.map(({ url, outcome }) => [`Page ${OUTCOMES[outcome] ?? outcome.replaceAll("_", " ")}`, url]),
  ];
  return element(
    "details",
    { class: "figures" },
    element("summary", {}, short),
    element("dl", {}, rows.filter(([, value]) => value).map(([name, value]) => element("div", {}, element("dt", {}, name), foreign("dd", value)))),
  );
}
