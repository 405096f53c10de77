// Files dropped anywhere on the page, pasted, or chosen: they go to the chosen collection.

import { collections } from "./collections.js";
import { part } from "../shared/dom.js";
import { notice } from "../shared/notices.js";
import { settings } from "../shared/settings.js";
import { uploads } from "./uploads.js";

/** Take files from everywhere on the page. */
export function takesFiles() {
  const shade = part("drop");
  let inside = 0;  // dragging over a child leaves its parent
  const show = (shown) => {
    if (!shown) inside = 0;
    shade.hidden = !shown;
    part("drop-where").textContent = `to ${collections.name(settings.values.collection)}`;
  };
  addEventListener("dragenter", (event) => {
    if (!carriesFiles(event)) return;
    event.preventDefault();
    inside += 1;
    show(true);
  });
  addEventListener("dragover", (event) => carriesFiles(event) && event.preventDefault());
  addEventListener("dragleave", (event) => {
    if (!carriesFiles(event)) return;
    inside -= 1;
    if (inside <= 0) show(false);
  });
  addEventListener("drop", (event) => {
    show(false);
    if (!carriesFiles(event)) return;
    event.preventDefault();
    const entries = [...event.dataTransfer.items].map((item) => item.webkitGetAsEntry?.());
    if (entries.some((entry) => entry?.isDirectory)) notice("Folders are left out: drop the files in them.");
    take([...event.dataTransfer.files].filter((_, place) => !entries[place]?.isDirectory));
  });
  addEventListener("paste", (event) => {
    const files = [...(event.clipboardData?.files ?? [])];
    if (!files.length) return;
    event.preventDefault();
    take(files);
  });
  const input = part("files");
  input.addEventListener("change", () => {
    take([...input.files]);
    input.value = "";
  });
  for (const opener of ["attach", "add-documents"]) part(opener).addEventListener("click", () => input.click());
}

function take(files) {
  if (files.length) uploads.add(files, settings.values.collection);
}

function carriesFiles(event) {
  return [...(event.dataTransfer?.types ?? [])].includes("Files");
}
