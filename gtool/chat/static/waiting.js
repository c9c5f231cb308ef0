/** The messages that are not sent yet, as they are shown below the others, with what can be done about them. */

import { element } from "./text.js";

const QUICK_MS = 300; // within which a message is sent as a rule, and is not shown to wait

export class WaitingList {
  #list;
  #actions;
  #items = [];
  #seenAt = new Map(); // when an item was first here, by its key
  #shown = "";
  #timer;

  /** `actions` is {retry(item), edit(item), drop(item), shown()}. */
  constructor(list, actions) {
    [this.#list, this.#actions] = [list, actions];
  }

  show(items) {
    const seenAt = this.#seenAt;
    this.#seenAt = new Map(items.map(({ key }) => [key, seenAt.get(key) ?? performance.now()]));
    this.#items = items;
    this.#render();
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => this.#render(), QUICK_MS);
  }

  #render() {
    const now = performance.now();
    const isDue = ({ key, reason }) => reason || now - this.#seenAt.get(key) >= QUICK_MS - 1;
    const due = this.#items.filter(isDue);
    const state = JSON.stringify(due);
    if (state === this.#shown) return; // who has the focus on a button keeps it
    this.#shown = state;
    this.#list.replaceChildren(...due.map((item) => this.#rowOf(item)));
    this.#actions.shown();
  }

  #rowOf(item) {
    const text = element("bdi", { class: "text" }, item.text);
    if (!item.reason) {
      return element("li", { class: "waiting" }, text, element("p", { class: "state" }, "Waiting to be sent"));
    }
    const reason = element("p", { class: "state" }, `Not sent: ${item.reason}`);
    const buttons = ["retry", "edit", "drop"].map((action) => this.#button(action, item));
    return element("li", { class: "refused" }, text, reason, element("p", { class: "actions" }, ...buttons));
  }

  #button(action, item) {
    const label = { retry: "Try again", edit: "Edit", drop: "Drop" }[action];
    const button = element("button", { type: "button" }, label);
    button.addEventListener("click", () => this.#actions[action](item));
    return button;
  }
}
