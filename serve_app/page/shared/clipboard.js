// Copy text to the clipboard, also where the page is not served over HTTPS.

import { element } from "./dom.js";

const SHOWN_MS = 1600;

/** Make a button copy what `text()` gives, and say so. */
export function copies(button, text) {
  const label = button.querySelector("span");
  const usual = label.textContent;
  button.addEventListener("click", async () => {
    label.textContent = (await copied(text())) ? "Copied" : "Not allowed";
    setTimeout(() => {
      label.textContent = usual;
    }, SHOWN_MS);
  });
}

async function copied(text) {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    // Over plain HTTP there is no clipboard but the old one, which copies a selection.
    const area = element("textarea", { class: "sr", "aria-hidden": true });
    area.value = text;
    document.body.append(area);
    area.select();
    const done = document.execCommand("copy");
    area.remove();
    return done;
  }
}
