/** The list of rooms with what is unread in them, and the list of those who are here. */

import { roomPage, user } from "./site.js";
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
  const badge = element("span", { class: "count", hidden: "" });
  const link = element("a", { href: roomPage(room), "data-room": room }, element("bdi", {}, room), " ", badge);
  list.append(element("li", {}, link));
  return link;
}

/** Show who is in the room: some of them by name, and how many there are. The user is, whoever comes and goes. */
export function showPeople(list, number, { users, count }) {
  const names = [...new Set([...users, user])].sort((one, other) => one.localeCompare(other));
  const most = Math.max(count, names.length);
  list.replaceChildren(...names.map(personOf));
  if (most > names.length) list.append(element("li", {}, `and ${most - names.length} more`));
  number.textContent = String(most);
}

function personOf(name) {
  const item = element("li", {}, element("bdi", { "data-tint": tintOf(name) }, name));
  if (name === user) item.append(" (you)");
  return item;
}
