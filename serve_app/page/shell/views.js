// The views: the one that the address names after its hash is shown, the others are hidden.

import { part } from "../shared/dom.js";

const NAMES = ["chat", "documents", "images", "jobs"];

export class Views {
  /** `views` are objects by name that may have `show()` and `hide()`. */
  constructor(views) {
    this.views = views;
    this.current = null;
    addEventListener("hashchange", () => this.turn(true));
    document.querySelector(".skip").addEventListener("click", (event) => {
      event.preventDefault();
      part("main").focus();
    });
  }

  /** Show the view that the address names. */
  turn(moved = false) {
    const asked = location.hash.slice(1);
    const name = NAMES.includes(asked) ? asked : NAMES[0];
    if (name === this.current) return;
    this.views[this.current]?.hide?.();
    this.current = name;
    for (const one of NAMES) part(`view-${one}`).hidden = one !== name;
    for (const link of document.querySelectorAll(".rail nav a")) {
      if (link.hash === `#${name}`) link.setAttribute("aria-current", "page");
      else link.removeAttribute("aria-current");
    }
    const heading = part(`title-${name}`);
    document.title = name === "chat" ? "GenServe" : `${heading.textContent} · GenServe`;
    if (moved) heading.focus({ preventScroll: true });
    this.views[name]?.show?.();
  }

  go(name) {
    location.hash = name;
    this.turn();
  }
}
