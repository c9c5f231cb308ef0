/**
 * Messages on their way to the server: in order, each until it is known to be there, or refused.
 *
 * A message that finds no server waits, in the browser's storage too, for as long as it takes. It has a key of its
 * own, by which the server knows it again: however often it is sent, it is said once.
 */

import { kept } from "./kept.js";
import { backOff } from "./live.js";
import { Refused, post, roomPath, user } from "./site.js";

export class Outbox {
  #room;
  #told;
  #items = []; // {key, text, at, reason}: with a reason, one that is refused
  #isSending = false;
  #failures = 0;
  #timer;

  /** `told` is {changed(items), sent(message), failed()}; the last is for when no answer came. */
  constructor(room, told) {
    [this.#room, this.#told] = [room, told];
    this.#items = kept.names(this.#name("")).map((name) => itemIn(kept.get(name))).filter(Boolean);
    this.#items.sort((one, other) => one.at - other.at);
    kept.onChange((name, value) => value === null && this.#forget(name));
    this.#changed();
    this.send();
  }

  add(text) {
    const at = Math.max(Date.now(), (this.#items.at(-1)?.at ?? 0) + 1); // in order, whatever the clock does
    const item = { key: newKey(), text, at, reason: "" };
    kept.set(this.#name(item.key), JSON.stringify(item));
    this.#items.push(item);
    this.#changed();
    this.send();
  }

  /** Take a refused message away, for good or to be changed. */
  remove(item) {
    this.#items = this.#items.filter((one) => one !== item);
    kept.remove(this.#name(item.key));
    this.#changed();
  }

  /** Send a refused message again. */
  retry(item) {
    item.reason = "";
    this.#changed();
    this.send();
  }

  /** Send what waits, now. */
  async send() {
    clearTimeout(this.#timer);
    if (this.#isSending) return;
    this.#isSending = true;
    let wait = 0;
    for (let item; !wait && (item = this.#items.find(({ reason }) => !reason)); ) wait = await this.#try(item);
    this.#isSending = false;
    if (wait) this.#timer = setTimeout(() => this.send(), wait);
  }

  /** Send one; give the milliseconds to wait before the next attempt, or 0 if there is nothing more to be done. */
  async #try(item) {
    try {
      const headers = { "Idempotency-Key": item.key };
      const message = await post(`${roomPath(this.#room)}/messages`, { user, text: item.text }, headers);
      this.#failures = 0;
      this.#told.sent(message);
      this.remove(item);
      return 0;
    } catch (error) {
      return this.#failed(item, error);
    }
  }

  #failed(item, error) {
    if (!(error instanceof Refused)) {
      this.#told.failed();
      return backOff(this.#failures++);
    }
    if (error.status === 429) return error.retryAfterMs;
    if (error.status >= 500) return Math.max(error.retryAfterMs, backOff(this.#failures++));
    item.reason = error.sentence;
    this.#changed();
    return 0;
  }

  /** Leave out what another tab has sent. */
  #forget(name) {
    const others = this.#items.filter(({ key }) => this.#name(key) !== name);
    if (others.length === this.#items.length) return;
    this.#items = others;
    this.#changed();
  }

  #name(key) {
    return `outbox ${this.#room} ${key}`;
  }

  #changed() {
    this.#told.changed(this.#items);
  }
}

/** Give a key that nobody has had; crypto.randomUUID() is not there on plain http: to another host. */
function newKey() {
  return Array.from(crypto.getRandomValues(new Uint8Array(16)), (byte) => byte.toString(16).padStart(2, "0")).join("");
}

function itemIn(text) {
  try {
    return { ...JSON.parse(text), reason: "" };
  } catch {
    return null;
  }
}
