// The turns of the conversation: kept for the tab within bounds, and as messages for the model.

import { keep, kept } from "../shared/storage.js";

const NAME = "genserve.conversation";
const MAX_KEPT_CHARS = 1_000_000;
const MAX_SENT_CHARS = 60_000;
const MAX_SENT_MESSAGES = 60;

class Conversation {
  constructor() {
    const before = kept(NAME);
    this.turns = Array.isArray(before) ? before.filter((turn) => ["user", "assistant"].includes(turn?.role)) : [];
    for (const turn of this.turns) {
      if (turn.role === "assistant" && turn.ended === null) turn.ended = "stopped";  // the page was left
    }
  }

  /** A question, and the answer that is to come; gives the answer's turn. */
  ask(text) {
    this.turns.push({ role: "user", content: text });
    return this.reply();
  }

  reply() {
    const turn = { role: "assistant", content: "", ended: null, sources: [], pages: [], warnings: [], attributions: [], cited: null, timings: {}, usage: null };
    this.turns.push(turn);
    this.keep();
    return turn;
  }

  /** Take back the last answer, to have another. */
  takeBack() {
    if (this.turns.at(-1)?.role === "assistant") this.turns.pop();
  }

  /** All turns, leaving none. */
  clear() {
    const { turns } = this;
    this.replace([]);
    return turns;
  }

  replace(turns) {
    this.turns = turns;
    this.keep();
  }

  /** Keep as much as there is room for: passages of old answers go first, then old turns. */
  keep() {
    let kept = this.turns;
    for (let old = 0; JSON.stringify(kept).length > MAX_KEPT_CHARS && old < kept.length - 1; old += 1) {
      const sources = kept[old].sources?.map((source) => ({ ...source, text: "" }));
      kept = kept.with(old, sources ? { ...kept[old], sources } : kept[old]);
    }
    while (kept.length > 2 && JSON.stringify(kept).length > MAX_KEPT_CHARS) kept = kept.slice(2);
    while (!keep(NAME, kept.length ? kept : null) && kept.length > 2) kept = kept.slice(2);
  }

  /** What is sent: the latest question and what came before it, without what was never answered. */
  messages() {
    const sent = [];
    let chars = 0;
    for (let at = this.turns.length - 1; at >= 0; at -= 1) {
      const { role, content } = this.turns[at];
      if (role === "assistant" && !content) {
        // Of a failed answer its question goes too, but for the one being asked.
        if (at < this.turns.length - 1) at -= 1;
        continue;
      }
      chars += content.length;
      if (sent.length && (chars > MAX_SENT_CHARS || sent.length >= MAX_SENT_MESSAGES)) break;
      sent.unshift({ role, content });
    }
    return sent;
  }
}

export const conversation = new Conversation();
