/** The page of all rooms: how much is unread in each, who is there, and new ones. */

import { live } from "./live.js";
import { showCount, roomsIn } from "./sidebar.js";
import { check, cursor, get, post, roomPage, sentenceOf, transports } from "./site.js";
import { Unread, countText } from "./unread.js";

const list = document.getElementById("rooms");
const form = document.getElementById("new-room");
const title = document.title;

document.documentElement.classList.add("js"); // shows what is of no use without
const unread = new Unread(roomsIn(list), cursor, (room, count) => {
  showCount(list, room, count);
  document.title = unread.total ? `(${countText(unread.total)}) ${title}` : title;
});

function showPresence({ room, users, count }) {
  const line = list.querySelector(`[data-room="${CSS.escape(room)}"]`)?.parentElement.querySelector(".who");
  const names = users.map((name) => `\u2068${name}\u2069`).join(", "); // each its own direction
  const others = count > users.length ? ` and ${count - users.length} more` : "";
  if (line) line.textContent = users.length ? `Here: ${names}${others}` : "Nobody here";
}

async function showAllPresence() {
  const { rooms, counts } = await get("api/presence");
  for (const [room, users] of Object.entries(rooms)) showPresence({ room, users, count: counts[room] });
}

async function addRoom(event) {
  event.preventDefault();
  const error = document.getElementById("new-room-error");
  try {
    const { name } = await post("api/rooms", { name: form.elements.name.value });
    location.assign(roomPage(name));
  } catch (refused) {
    error.textContent = sentenceOf(refused);
    form.elements.name.setAttribute("aria-invalid", "true");
    form.elements.name.focus();
  }
}

form?.addEventListener("submit", addRoom);
unread.load();
live(transports(roomsIn(list)), {
  since: cursor,
  check,
  onMessage: (message) => unread.take(message),
  onNote: (note) => note.presence && showPresence(note.presence),
  onStatus: (state) => state === "connected" && showAllPresence().catch(() => {}),
});
