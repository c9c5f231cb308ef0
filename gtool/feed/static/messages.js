/** The last messages as a list, newest first; what a screen reader says of them; and how many come a second. */

const MOST_ITEMS = 200;
const MOST_TEXT = 20_000; // characters of a message that are kept
const LONG_TEXT = 400; // above which it is folded
const RENDER_MS = 100; // between renderings: 60 a second are no more readable than 10
const BUSY_PER_S = 1; // above which messages are summed up, not read out one by one
const SUMMARY_MS = 30_000;
const RATE_S = 5;
const FAR_S = 60; // from now, at which a time is another clock's

const CLOCK = new Intl.DateTimeFormat(undefined, { timeStyle: "medium", hourCycle: "h23" });

/** A list that is rendered now and then, and never holds more than its last items. */
export class MessageList {
  #log;
  #list;
  #waiting = []; // oldest first
  #renderedAt = -Infinity;

  /** `log` is the live region, `list` the list in it. */
  constructor(log, list) {
    this.#log = log;
    this.#list = list;
  }

  /** Add a message; `time` is in seconds. */
  add(time, text) {
    this.#wait({ time, text });
  }

  /** Add a line that says that something is missing at this place. */
  addGap(text) {
    this.#wait({ gap: text });
  }

  /** Show what has come, unless that was done a moment ago. `rate` decides whether it is read out. */
  render(now, rate) {
    if (!this.#waiting.length || now - this.#renderedAt < RENDER_MS) return;
    this.#renderedAt = now;
    const items = this.#waiting.slice(-MOST_ITEMS).reverse();
    this.#waiting = [];
    const isBusy = rate > BUSY_PER_S || items.length > 2;
    this.#log.ariaLive = isBusy ? "off" : "polite"; // before they are added
    this.#log.classList.toggle("busy", items.length > 2);
    this.#list.prepend(...items.map(itemOf));
    while (this.#list.childElementCount > MOST_ITEMS) this.#list.lastElementChild.remove();
  }

  #wait(item) {
    this.#waiting.push(item);
    if (this.#waiting.length > 2 * MOST_ITEMS) this.#waiting = this.#waiting.slice(-MOST_ITEMS);
  }
}

/** Make a list item. A message is text: nothing that is in it becomes markup. */
function itemOf({ time, text, gap }) {
  const item = document.createElement("li");
  if (gap !== undefined) {
    item.className = "gap";
    item.textContent = gap;
    return item;
  }
  const clock = document.createElement("time");
  const date = new Date(time * 1000);
  if (!Number.isNaN(date.getTime())) {
    clock.dateTime = date.toISOString();
    clock.textContent = CLOCK.format(date);
  } // else a time that no calendar knows: of ids that are not of milliseconds, say
  item.append(clock, text.length > LONG_TEXT ? folded(text) : codeOf(text));
  return item;
}

function codeOf(text) {
  const code = document.createElement("code");
  code.textContent = text;
  return code;
}

function folded(text) {
  const details = document.createElement("details");
  const summary = document.createElement("summary");
  summary.append(codeOf(`${text.slice(0, LONG_TEXT / 4)}…`), ` ${text.length} characters`);
  details.append(summary, codeOf(text.length > MOST_TEXT ? `${text.slice(0, MOST_TEXT)}…` : text));
  return details;
}

/** Messages a second, by when the server had them: what is replayed makes no peak. */
export class Rate {
  #counts = new Map(); // by second

  add(time) {
    const second = Math.floor(time);
    this.#counts.set(second, (this.#counts.get(second) ?? 0) + 1);
  }

  /** Give the mean of the last few whole seconds. */
  at(now) {
    const end = Math.floor(now);
    let sum = 0;
    for (const [second, count] of this.#counts) {
      if (Math.abs(second - end) > FAR_S || second < end - RATE_S) this.#counts.delete(second);
      else if (second < end) sum += count;
    }
    return sum / RATE_S;
  }
}

/** Says to a screen reader how many messages there were, while they are too many to be read out. */
export class Summary {
  #region;
  #saidAt = performance.now();
  #total = 0;

  constructor(region) {
    this.#region = region;
  }

  update(now, total, rate) {
    if (now - this.#saidAt < SUMMARY_MS) return;
    const count = total - this.#total;
    [this.#saidAt, this.#total] = [now, total];
    this.#region.textContent = rate > BUSY_PER_S ? `${count} messages in the last ${SUMMARY_MS / 1000} seconds` : "";
  }
}
