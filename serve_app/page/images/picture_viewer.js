// A picture shown large, with the words and the seed that make it again.

import { button, element, foreign, icon, part } from "../shared/dom.js";
import { picture, picturePath } from "./picture_cache.js";
import { seedOf } from "../shared/formatting.js";

/** Show the `place`-th of a job's pictures; `reuse(input)` fills the form with its words. */
export async function view(job, place, reuse) {
  const dialog = part("viewer");
  const { images } = job.result;
  const { number } = images[place];
  const { prompt, width, height, steps } = job.input;
  const seed = seedOf(job.input, number);
  const image = element("img", { alt: prompt, width, height });
  const download = element("a", { class: "button", download: `${job.id}-${number}.png` }, icon("download"), element("span", {}, "Download"));
  const step = (by) => (images[place + by] ? () => view(job, place + by, reuse) : null);
  const arrows = [-1, 1].map((by) => {
    const made = button({ symbol: by < 0 ? "left" : "right", label: by < 0 ? "Previous picture" : "Next picture", kind: "tool", onclick: step(by) });
    made.disabled = !step(by);
    return made;
  });
  const again = () => {
    dialog.close();
    reuse({ ...job.input, seed });
  };
  const close = button({ symbol: "close", label: "Close", kind: "tool" });
  close.dataset.close = "";
  dialog.replaceChildren(
    element("div", { class: "stage" }, image),
    element(
      "div",
      { class: "caption" },
      close,
      foreign("p", prompt),
      element("p", { class: "facts" }, [`seed ${seed}`, `${width} × ${height}`, `${steps} steps`].map((fact) => element("span", {}, fact))),
      element("div", { class: "foot" }, arrows[0], element("span", { class: "soft" }, `${place + 1} of ${images.length}`), arrows[1]),
      element("div", { class: "foot" }, download, button({ text: "Use these words", kind: "button", onclick: again })),
    ),
  );
  dialog.onkeydown = ({ key }) => ({ ArrowLeft: step(-1), ArrowRight: step(1) })[key]?.();
  if (!dialog.open) dialog.showModal();
  close.focus();
  try {
    const loaded = await picture(picturePath(job.id, number));
    image.src = loaded;
    download.href = loaded;
  } catch {
    image.replaceWith(element("p", { class: "soft" }, "This picture is no longer there."));
  }
}
