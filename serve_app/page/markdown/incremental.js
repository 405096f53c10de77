// Incremental Markdown: finished blocks are built once, only the last one is rebuilt as text comes.

import { blocks } from "./blocks.js";
import { nodes } from "./rendering.js";

// Building takes at most a quarter of the time, so that even one endless block stays cheap.
const REST = 3;

export class IncrementalMarkdown {
  /** `built` is called whenever nodes have changed. */
  constructor(root, cite, built) {
    this.root = root;
    this.cite = cite;
    this.built = built;
    this.text = "";
    this.done = 0;  // characters whose nodes stand for good
    this.tail = [];  // the nodes that may still change
    this.open = null;  // the last block of them
    this.timer = null;
    this.earliest = 0;
  }

  /** Add to the text; it is shown with the next frame. */
  write(text) {
    this.text += text;
    if (this.timer !== null) return;
    const wait = Math.max(0, this.earliest - performance.now());
    this.timer = setTimeout(() => requestAnimationFrame(() => this.timer !== null && this.build()), wait);
  }

  /** Show all there is, now. */
  finish() {
    clearTimeout(this.timer);
    this.build();
  }

  build() {
    this.timer = null;
    const began = performance.now();
    const lines = this.text.slice(this.done).split("\n");
    const found = blocks(lines);
    if (!this.grewCode(found)) {
      const made = nodes(found, this.cite);
      for (const node of this.tail) node.remove();
      for (const node of made) this.root.append(node);
      this.tail = made;
      this.open = found.at(-1) ?? null;
    }
    this.settle(lines);
    this.built?.();
    this.earliest = performance.now() + REST * (performance.now() - began);
  }

  /** The last block was code and still is: only its new characters are added. */
  grewCode(found) {
    const [block] = found;
    if (found.length !== 1 || this.tail.length !== 1) return false;
    if (block.type !== "code" || this.open?.type !== "code" || block.language !== this.open.language) return false;
    const text = this.tail[0].querySelector("code").firstChild;
    if (!text || !block.text.startsWith(this.open.text)) return false;
    text.appendData(block.text.slice(this.open.text.length));
    this.open = block;
    return true;
  }

  /** Leave for good the blocks that another one follows, as whole lines tell. */
  settle(lines) {
    const whole = blocks(lines.slice(0, -1));
    if (whole.length < 2) return;
    const count = whole.length - 1;
    const { line } = whole[count];
    this.done += lines.slice(0, line).reduce((sum, text) => sum + text.length + 1, 0);
    this.tail = this.tail.slice(count);
    this.open = this.tail.length === 1 ? this.open : null;
  }
}
