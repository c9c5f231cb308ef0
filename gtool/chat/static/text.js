/** Texts of others as nodes: nothing that is in them becomes markup, or changes what is beside them. */

// Without the marks that turn the direction of text: a link has to look like where it leads.
const LINK = /https?:\/\/[^\s<>"\u200b-\u200f\u202a-\u202e\u2060-\u2069\ufeff]+/giu;
const AFTER_LINK = /[.,;:!?'’”»*_~]+$/u;
const PAIRS = { ")": "(", "]": "[", "}": "{" };
const TINTS = 10;

/** Make an element; `content` is nodes and texts. */
export function element(tag, attributes = {}, ...content) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  made.append(...content);
  return made;
}

/** Give a text's nodes, its http: and https: URLs as links. */
export function nodesOf(text) {
  const nodes = [];
  let end = 0;
  for (const { 0: found, index } of text.matchAll(LINK)) {
    const url = trimmed(found);
    if (!URL.canParse(url)) continue;
    nodes.push(text.slice(end, index), linkTo(url));
    end = index + url.length;
  }
  return [...nodes, text.slice(end)].filter((node) => node !== "");
}

function linkTo(url) {
  return element("a", { href: url, target: "_blank", rel: "noopener noreferrer nofollow" }, url);
}

/** Leave to the sentence what is more likely its own: a full stop, or a bracket that was opened before the link. */
function trimmed(url) {
  for (;;) {
    const short = url.replace(AFTER_LINK, "");
    const last = short.at(-1);
    const isUnpaired = last in PAIRS && short.split(last).length > short.split(PAIRS[last]).length;
    if (!isUnpaired) return short;
    url = short.slice(0, -1);
  }
}

/** Give the number of a name's colour. */
export function tintOf(name) {
  let hash = 0x811c9dc5; // FNV-1a: names that are alike get colours that are not
  for (const character of name) hash = Math.imul(hash ^ character.codePointAt(0), 0x01000193);
  return (hash >>> 8) % TINTS;
}

const CLOCK = new Intl.DateTimeFormat(undefined, { hour: "2-digit", minute: "2-digit" });
const FULL = new Intl.DateTimeFormat(undefined, { dateStyle: "full", timeStyle: "medium" });
const DAY = new Intl.DateTimeFormat(undefined, { dateStyle: "full" });
const SHORT_DAY = new Intl.DateTimeFormat(undefined, { dateStyle: "medium" });

/** Write a date into a <time>: in the reader's own time. */
export function showTime(time, date, withDay = false) {
  time.dateTime = date.toISOString();
  time.title = FULL.format(date);
  time.textContent = withDay ? `${SHORT_DAY.format(date)}, ${CLOCK.format(date)}` : CLOCK.format(date);
}

export const dayText = (date) => DAY.format(date);
