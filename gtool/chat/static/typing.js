/** Who writes something just now: told to the others while the user does, and shown of them. */

import { post, roomPath, user } from "./site.js";

const TOLD_MS = 3_000; // between two words of it
const SHOWN_MS = 5_000; // after the last word
const MOST_NAMES = 3;

/** Tell the others while there is something in a field. Whether they hear of it is of no importance. */
export function tellTyping(field, room) {
  let toldAt = -Infinity;
  field.addEventListener("input", () => {
    if (!field.value.trim() || performance.now() - toldAt < TOLD_MS) return;
    toldAt = performance.now();
    post(`${roomPath(room)}/typing`, { user }).catch(() => {});
  });
  field.form.addEventListener("submit", () => (toldAt = -Infinity)); // the next message is told of at once
}

/** The line that says who writes. */
export class TypingLine {
  #line;
  #timers = new Map(); // by name

  constructor(line) {
    this.#line = line;
  }

  add(name) {
    if (name === user) return;
    clearTimeout(this.#timers.get(name));
    this.#timers.set(name, setTimeout(() => this.remove(name), SHOWN_MS));
    this.#show();
  }

  /** Forget one who has said it, or has gone. */
  remove(name) {
    clearTimeout(this.#timers.get(name));
    if (this.#timers.delete(name)) this.#show();
  }

  #show() {
    const names = [...this.#timers.keys()].map((name) => `\u2068${name}\u2069`); // each its own direction
    const who = names.length > MOST_NAMES ? "Several people" : new Intl.ListFormat("en").format(names);
    this.#line.textContent = names.length ? `${who} ${names.length > 1 ? "are" : "is"} typing…` : "";
  }
}
