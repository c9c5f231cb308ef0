/** Search: a form, and what it finds, the newest first. */

import { get, roomPage, sentenceOf } from "./site.js";
import { element, nodesOf, showTime, tintOf } from "./text.js";

const PAGE = 30;

/** `parts` is {search, results, found, finds, more, done}; `room` is the one that is looked in, if not in all. */
export function showSearch(parts, room) {
  const { search: form, results: panel, found: summary, finds: list, more, done: close } = parts;
  let query = [];

  async function ask(before) {
    const asked = query;
    more.hidden = true;
    try {
      const page = [["limit", PAGE], ...(before ? [["before", before]] : [])];
      const { messages } = await get("api/search", [...query, ...page]);
      if (asked !== query) return; // another search has begun
      list.append(...messages.map(itemOf));
      more.hidden = messages.length < PAGE;
      const count = list.childElementCount;
      summary.textContent = count ? `${count}${more.hidden ? "" : " or more"} found` : "Nothing found";
    } catch (error) {
      if (asked === query) summary.textContent = sentenceOf(error);
    }
  }

  form.addEventListener("submit", (event) => {
    event.preventDefault();
    const fields = new FormData(form);
    query = [["q", fields.get("q")], ...(fields.has("everywhere") ? [] : [["room", room]])];
    list.replaceChildren();
    summary.textContent = "Searching…";
    panel.hidden = false;
    ask();
  });
  more.addEventListener("click", () => ask(list.lastElementChild.dataset.id));
  close.addEventListener("click", end);
  panel.addEventListener("keydown", (event) => event.key === "Escape" && end());

  function end() {
    query = [];
    panel.hidden = true;
    form.elements.q.focus();
  }
}

function itemOf({ id, time, room, user: author, text }) {
  const clock = element("time");
  showTime(clock, new Date(time * 1000), true);
  const name = element("bdi", { class: "user", "data-tint": tintOf(author) }, author);
  const link = element("a", { href: roomPage(room) }, element("bdi", {}, room));
  const head = element("p", { class: "head" }, name, " in ", link, " ", clock);
  return element("li", { "data-id": id }, head, element("bdi", { class: "text" }, ...nodesOf(text)));
}
