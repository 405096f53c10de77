// Light or dark: as the device has it, unless the person chose. Runs before the first paint.

const KEPT = "genserve.theme";
const dark = matchMedia("(prefers-color-scheme: dark)");

/** What the person chose: "auto", "light" or "dark". */
export function chosenTheme() {
  try {
    const kept = localStorage.getItem(KEPT);
    return kept === "light" || kept === "dark" ? kept : "auto";
  } catch {
    return "auto";  // storage may be forbidden
  }
}

/** Choose, and show it at once. */
export function chooseTheme(theme) {
  try {
    if (theme === "auto") localStorage.removeItem(KEPT);
    else localStorage.setItem(KEPT, theme);
  } catch {
    // Then it lasts as long as the page.
  }
  show(theme);
}

/** From what is seen now to the other. */
export function switchTheme() {
  const seen = document.documentElement.dataset.theme ?? (dark.matches ? "dark" : "light");
  chooseTheme(seen === "dark" ? "light" : "dark");
}

function show(theme) {
  if (theme === "auto") delete document.documentElement.dataset.theme;
  else document.documentElement.dataset.theme = theme;
}

show(chosenTheme());
