// The chat: ask questions, follow and stop answers, start a new conversation.

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

const LEAVING_MS = 10_000;  // from "beforeunload" to the end of the page, unless it stays
const EXAMPLES = [  // icon, title, text, and the source that it needs
  ["chat", "Ask the model", "Explain in three sentences how a rainbow forms."],
  ["document", "Ask your documents", "What do my documents say about costs?", "documents"],
  ["globe", "Ask a web page", "Summarise https://example.com in two sentences.", "web"],
  ["image", "Make a picture", "a large red circle on a blue background"],
];

export class Chat {
  constructor({ paint }) {
    this.paint = paint;
    this.stopping = null;  // aborts the answer that is coming
    this.leftAt = -Infinity;
    this.turns = part("turns");
    this.scrolling = new Scrolling(part("scroller"), part("conversation"), part("newest"));
    this.composer = new Composer({ send: (text) => this.ask(text), stop: () => this.stop() });
    part("new-chat").addEventListener("click", () => this.restart());
    part("examples").append(...EXAMPLES.map((example) => this.example(...example)));
    settings.addEventListener("change", () => this.welcome());
    this.welcome();
    addEventListener("beforeunload", () => {
      this.leftAt = performance.now();
    });
    addEventListener("pagehide", () => this.leave());
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

  /** Name the sources that answers can draw on, and show only their examples. */
  welcome() {
    part("origins").textContent = origins();
    for (const item of part("examples").querySelectorAll("[data-source]")) item.hidden = !settings.offers(item.dataset.source);
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
    const doing = aim(conversation.turns.at(-2).content);
    const { signal } = stopping;
    answer.doing(doing);
    addEventListener("key-wanted", () => answer.doing("Waiting for an API key …"), { signal });
    addEventListener("key-answered", () => answer.doing(doing), { signal });
    this.turns.append(answer.element);
    this.tidy();
    this.composer.busy(true);
    this.scrolling.follow();
    announce("Answering.");
    try {
      for await (const chunk of completion(conversation.messages(), signal)) {
        if (signal.aborted) break;
        answer.take(chunk);
      }
      answer.end(signal.aborted ? "stopped" : "done");
      announce(signal.aborted ? "Stopped." : `The answer is there, with ${many(turn.sources.length, "source")}.`);
    } catch (error) {
      if (wasStopped(error) || this.isLeaving) {
        answer.end("stopped");
        announce("Stopped.");
      } else {
        answer.end("failed", faultOf(error));
        announce("The answer failed.");
      }
    } finally {
      this.stopping = null;
      stopping.abort();  // also removes the listeners
      this.composer.busy(false);
      conversation.keep();
    }
  }

  stop() {
    this.stopping?.abort();
  }

  /** Stop before the browser breaks the connection, which would look like a fault. */
  leave() {
    this.stop();
    conversation.keep();
  }

  /** Whether the page is about to go: some browsers break connections before "pagehide". */
  get isLeaving() {
    return performance.now() - this.leftAt < LEAVING_MS;
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

  example(symbol, title, text, source) {
    const use = () => (symbol === "image" ? this.paint(text) : this.composer.fill(text));
    return element("li", { "data-source": source }, element("button", { type: "button", class: "example", onclick: use }, icon(symbol), element("strong", {}, title), element("span", {}, text)));
  }
}

function question(text) {
  return element("li", { class: "turn question" }, element("h2", { class: "sr" }, "You asked"), foreign("p", text));
}

/** The sentence of the welcome that says where answers come from. */
function origins() {
  const documents = settings.offers("documents");
  const web = settings.offers("web");
  const places = ["from the model", documents && "from your documents", web && "from web pages you name"].filter(Boolean);
  const check = documents || web ? ", with numbered sources to check them by" : "";
  return `Answers come ${new Intl.ListFormat("en-GB").format(places)}${check}.`;
}

/** What is done first with a question. */
function aim(text) {
  const page = settings.uses("web") && /https?:\/\//i.test(text);
  const documents = settings.uses("documents");
  if (page && documents) return "Reading the page and searching documents …";
  if (page) return "Reading the page …";
  return documents ? "Searching documents …" : "Thinking …";
}
