// What was not read of a document, in words.

import { foreign } from "../shared/dom.js";

/** One note for each warning of a document. */
export function warningNotes(warnings = []) {
  return warnings.map(({ message }) => foreign("small", message, { class: "warning" }));
}
