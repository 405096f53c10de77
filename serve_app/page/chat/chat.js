// The chat: questions asked, answers followed and stopped, the conversation begun anew.

import { faultOf, wasStopped } from "../shared/requests.js";
import { Answer } from "./answer.js";
import { completion } from "./completion.js";
import { Composer } from "./composer.js";
import { conversation } from "./conversation.js";
import { element, foreign, icon, part } from "../shared/dom.js";
import { announce, notice } from "../shared/notices.js";
import { Scrolling } from "./scrolling.js";
import { settings } from "../shared/settings.js";
import { many } from "../shared/formatting.js";

const EXAMPLES = [
  ["chat", "Ask the model", "Explain in three sentences how a rainbow forms."],
  ["document", "Ask your documents", "What do my documents say about costs?"],
  ["globe", "Ask a web page", "Summarise https://example.com in two sentences."],
  ["image", "Make a picture", "a large red circle on a blue background"],
];

export class Chat {
  constructor({ paint }) {
    this.paint = paint;
    this.stopping = null;  // of the answer under way
    this.turns = part("turns");
    this.scrolling = new Scrolling(part("scroller"), part("conversation"), part("newest"));
    this.composer = new Composer({ send: (text) => this.ask(text), stop: () => this.stop() });
    part("new-chat").addEventListener("click", () => this.restart());
    part("examples").append(...EXAMPLES.map((example) => this.example(...example)));
    addEventListener("pagehide", () => conversation.keep());
    this.draw();
  }

  /** Show the conversation as it is kept. */
  draw() {
    this.turns.replaceChildren(
      ...conversation.turns.map((turn) => (turn.role === "user" ? question(turn.content) : new Answer(turn, () => this.askAgain(turn)).element)),
    );
    this.tidy();
    if (conversation.turns.length) this.scrolling.follow();
    else this.scrolling.begin();
  }

  tidy() {
    const empty = conversation.turns.length === 0;
    part("welcome").hidden = !empty;
    part("new-chat").hidden = empty;
  }

  ask(text) {
    if (this.stopping) return;
    const turn = conversation.ask(text);
    this.turns.append(question(text));
    this.answer(turn);
  }

  askAgain(turn) {
    if (this.stopping) return;
    if (turn !== conversation.turns.at(-1)) {
      this.ask(conversation.turns[conversation.turns.indexOf(turn) - 1].content);
      return;
    }
    conversation.takeBack();
    this.turns.lastElementChild.remove();
    this.answer(conversation.reply());
  }

  async answer(turn) {
    const answer = new Answer(turn, () => this.askAgain(turn));
    const stopping = new AbortController();
    this.stopping = stopping;
    answer.doing(aim(conversation.turns.at(-2).content));
    this.turns.append(answer.element);
    this.tidy();
    this.composer.busy(true);
    this.scrolling.follow();
    announce("Answering.");
    try {
      for await (const chunk of completion(conversation.messages(), stopping.signal)) {
        if (stopping.signal.aborted) break;
        answer.take(chunk);
      }
      answer.end(stopping.signal.aborted ? "stopped" : "done");
      announce(stopping.signal.aborted ? "Stopped." : `The answer is there, with ${many(turn.sources.length, "source")}.`);
    } catch (error) {
      if (wasStopped(error)) {
        answer.end("stopped");
        announce("Stopped.");
      } else {
        answer.end("failed", faultOf(error));
        announce("The answer failed.");
      }
    } finally {
      this.stopping = null;
      this.composer.busy(false);
      conversation.keep();
    }
  }

  stop() {
    this.stopping?.abort();
  }

  restart() {
    this.stop();
    const before = conversation.clear();
    this.draw();
    this.composer.focus();
    const back = () => {
      if (this.stopping) return;
      conversation.replace([...before, ...conversation.turns]);
      this.draw();
    };
    notice("A new chat.", { action: { text: "Undo", act: back } });
  }

  example(symbol, title, text) {
    const use = () => (symbol === "image" ? this.paint(text) : this.composer.fill(text));
    return element("li", {}, element("button", { type: "button", class: "example", onclick: use }, icon(symbol), element("strong", {}, title), element("span", {}, text)));
  }
}

function question(text) {
  return element("li", { class: "turn question" }, element("h2", { class: "sr" }, "You asked"), foreign("p", text));
}

/** What is done first with a question. */
function aim(text) {
  if (!settings.answersFromSources) return "Thinking …";
  const page = settings.values.web && /https?:\/\//i.test(text);
  if (page && settings.values.documents) return "Reading the page and searching documents …";
  if (page) return "Reading the page …";
  return settings.values.documents ? "Searching documents …" : "Thinking …";
}
