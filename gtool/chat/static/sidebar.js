/** The list of rooms with what is unread in them, and the list of those who are here. */

import { at, user } from "./site.js";
import { element, tintOf } from "./text.js";
import { countText } from "./unread.js";

/** Give the names of the rooms in a list, in order. */
export const roomsIn = (list) => [...list.querySelectorAll("[data-room]")].map((link) => link.dataset.room);

/** Show how much is unread in a room; one that is new gets its place. */
export function showCount(list, room, count) {
  const link = list.querySelector(`[data-room="${CSS.escape(room)}"]`) ?? addRoom(list, room);
  const badge = link.querySelector(".count");
  badge.hidden = count === 0;
  badge.textContent = countText(count);
  badge.append(element("span", { class: "unseen" }, " unread"));
}

function addRoom(list, room) {
  const href = at([room, user].map(encodeURIComponent).join("/")).href;
  const badge = element("span", { class: "count", hidden: "" });
  const link = element("a", { href, "data-room": room }, element("bdi", {}, room), " ", badge);
  list.append(element("li", {}, link));
  return link;
}

/** Show who is in the room; the user is, whoever else comes and goes. */
export function showPeople(list, number, users) {
  const names = [...new Set([...users, user])].sort((one, other) => one.localeCompare(other));
  list.replaceChildren(...names.map(personOf));
  number.textContent = String(names.length);
}

function personOf(name) {
  const item = element("li", {}, element("bdi", { "data-tint": tintOf(name) }, name));
  if (name === user) item.append(" (you)");
  return item;
}
