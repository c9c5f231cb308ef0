/** The messages of a room as they are shown: each once, in order, with the days between them. */

import { dayText, element, nodesOf, showTime, tintOf } from "./text.js";

const MOST_ITEMS = 1_000; // older ones go while the reader is at the end: scrolling up brings them back
const NEAR_PX = 48; // from the end, within which a reader is taken to be at it
const TOGETHER_MS = 300_000; // between messages of one user that stand under one name

export class MessageLog {
  #scroll;
  #list;
  #user;
  #ids = new Set();
  #isAtEnd = true;
  #endTop = 0; // where it was scrolled to when it was at the end last
  #pruned;

  /** `scroll` is what scrolls, `list` the list in it; `user` is whose messages are marked; pruned() is told of that. */
  constructor(scroll, list, user, pruned) {
    [this.#scroll, this.#list, this.#user, this.#pruned] = [scroll, list, user, pruned];
    const shown = [...list.children].map(messageIn);
    list.replaceChildren();
    for (const message of shown) this.add(message, true);
    this.toEnd();
    scroll.addEventListener("scroll", () => (this.#isAtEnd = this.#isNearEnd()));
    new ResizeObserver(() => this.stay()).observe(scroll); // a phone's keyboard comes and goes
  }

  /** Whether the reader sees what comes; else stays where it is. */
  get isAtEnd() {
    return this.#isAtEnd;
  }

  get oldestId() {
    return this.#list.querySelector(".message")?.dataset.id;
  }

  get newestId() {
    let item = this.#list.lastElementChild;
    while (item && !item.dataset.id) item = item.previousElementSibling;
    return item?.dataset.id;
  }

  /** After a change around the list: keep a reader who is at the end there. */
  stay() {
    this.#noticeScroll();
    if (this.#isAtEnd) this.toEnd();
  }

  toEnd() {
    this.#scroll.scrollTop = this.#scroll.scrollHeight;
    this.#isAtEnd = true;
    this.#endTop = this.#scroll.scrollTop;
  }

  /** Show a message, unless it is shown; give whether it was not. A quiet one is not read out by a screen reader. */
  add(message, isQuiet = false) {
    if (this.#ids.has(message.id)) return false;
    this.#ids.add(message.id);
    this.#keepEnd(() => this.#insert(itemOf(message, this.#user, isQuiet)));
    return true;
  }

  /** Show older messages above the others; what the reader sees stays where it is. */
  addOlder(messages) {
    const fromEnd = this.#scroll.scrollHeight - this.#scroll.scrollTop;
    const wasAtEnd = this.#isAtEnd;
    this.#isAtEnd = false;
    for (const message of messages) this.add(message, true);
    this.#isAtEnd = wasAtEnd;
    this.#scroll.scrollTop = this.#scroll.scrollHeight - fromEnd;
  }

  /** Say that something is missing after what is shown. */
  addGap(text) {
    this.#keepEnd(() => this.#list.append(element("li", { class: "gap" }, text)));
  }

  #isNearEnd() {
    const { scrollHeight, scrollTop, clientHeight } = this.#scroll;
    return scrollHeight - scrollTop - clientHeight < NEAR_PX;
  }

  /** See that the reader has scrolled up: the event of it may come after the message that would undo it. */
  #noticeScroll() {
    if (this.#scroll.scrollTop < this.#endTop && !this.#isNearEnd()) this.#isAtEnd = false;
  }

  #keepEnd(change) {
    this.#noticeScroll();
    change();
    if (!this.#isAtEnd) return;
    this.#prune();
    this.toEnd();
  }

  #prune() {
    if (this.#list.childElementCount <= MOST_ITEMS) return;
    for (const item of [...this.#list.children].slice(0, -MOST_ITEMS)) {
      this.#ids.delete(item.dataset.id);
      item.remove();
    }
    this.#pruned?.();
  }

  /** Put an item where its id says; what another epoch has is older. */
  #insert(item) {
    const [epoch, offset] = placeOf(item);
    let newer = null;
    for (let other = this.#list.lastElementChild; other; other = other.previousElementSibling) {
      const [otherEpoch, otherOffset] = placeOf(other);
      if (otherEpoch !== epoch || otherOffset < offset) break;
      newer = other;
    }
    this.#list.insertBefore(item, newer);
    joinTo(item, item.previousElementSibling);
    if (newer) joinTo(newer, item);
  }
}

function placeOf(item) {
  const [epoch, offset] = (item.dataset.id ?? ":").split(":");
  return [epoch, Number(offset)];
}

/** Read a message that the server has put into the page. */
function messageIn(item) {
  const find = (selector) => item.querySelector(selector);
  const time = new Date(find("time").dateTime) / 1000;
  return { id: item.dataset.id, time, user: find(".user").textContent, text: find(".text").textContent };
}

function itemOf({ id, time, user, text }, me, isQuiet) {
  const clock = element("time");
  showTime(clock, new Date(time * 1000));
  const name = element("bdi", { class: "user", "data-tint": tintOf(user) }, user);
  const head = element("p", { class: "head" }, name, " ", clock);
  const body = element("bdi", { class: "text" }, ...nodesOf(text));
  const item = element("li", { class: "message", "data-id": id }, head, body);
  if (user === me) item.classList.add("own");
  if (isQuiet) item.ariaLive = "off"; // a live region of its own, that says nothing
  else item.classList.add("fresh");
  return item;
}

/** Show an item as one that follows another: under the same name, or after the day has changed. */
function joinTo(item, before) {
  const isAfterMessage = before?.classList.contains("message") ?? false;
  const [date, dateBefore] = [item, isAfterMessage ? before : null].map((one) => one && dateOf(one));
  const day = dayText(date);
  const isNewDay = !dateBefore || dayText(dateBefore) !== day;
  if (isNewDay && !before?.classList.contains("gap")) item.dataset.day = day;
  else delete item.dataset.day;
  const isSameUser = isAfterMessage && nameOf(before) === nameOf(item);
  item.classList.toggle("follows", isSameUser && !isNewDay && date - dateBefore < TOGETHER_MS);
}

const dateOf = (item) => new Date(item.querySelector("time").dateTime);
const nameOf = (item) => item.querySelector(".user").textContent;
