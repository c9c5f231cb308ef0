/** The page of a room: joins the connection, the messages, the outbox and all that is around them. */

import { showConnection } from "./banner.js";
import { putBack, readComposer } from "./composer.js";
import { showHistory } from "./history.js";
import { live } from "./live.js";
import { MessageLog } from "./log.js";
import { Outbox } from "./outbox.js";
import { showSearch } from "./search.js";
import { roomsIn, showCount, showPeople } from "./sidebar.js";
import { check, cursor, room, transports, user } from "./site.js";
import { TypingLine, tellTyping } from "./typing.js";
import { Unread, countText } from "./unread.js";
import { WaitingList } from "./waiting.js";

const REPLAY_MS = 1_000; // after a connection is open: what comes then is summed up, not read out one by one
const LOST = "Some messages are missing here: the server keeps them no more.";

const page = Object.fromEntries([...document.querySelectorAll("[id]")].map((element) => [element.id, element]));
const title = document.title;
let openedAt = Infinity;
let replayed = 0;

document.documentElement.classList.add("js"); // shows what is of no use without
const log = new MessageLog(page.scroll, page.messages, user, () => (page.older.hidden = false));
const unread = new Unread(roomsIn(page.rooms), cursor, showUnread);
const typing = new TypingLine(page.typing);
const waiting = new WaitingList(page.outbox, {
  retry: (item) => outbox.retry(item),
  drop: (item) => outbox.remove(item),
  shown: () => log.stay(),
  edit(item) {
    outbox.remove(item);
    putBack(page.composer, item.text);
  },
});
const outbox = new Outbox(room, {
  changed: (items) => waiting.show(items),
  sent: (message) => takeMessage(message),
  failed: () => document.body.dataset.transport && connection.reconnect(), // is it there still?
});

// ---------------------------------------------------------------------------------------------------- what comes in

function takeMessage(message) {
  if (message.room === room) {
    const isReplay = performance.now() - openedAt < REPLAY_MS;
    const isNew = log.add(message, isReplay);
    if (isNew && isReplay && message.user !== user) replayed += 1;
    typing.remove(message.user);
  }
  unread.take(message);
  readWhatIsSeen();
}

function takeNote(note) {
  if (note.presence?.room === room) showPeople(page.people, page.present, note.presence);
  if (note.typing?.room === room) typing.add(note.typing.user);
  if (note.recovered === false) log.addGap(LOST);
}

function readWhatIsSeen() {
  const isSeen = document.visibilityState === "visible" && log.isAtEnd;
  if (isSeen && log.newestId) unread.read(room, log.newestId);
}

function showUnread(name, count) {
  showCount(page.rooms, name, count);
  document.title = unread.total ? `(${countText(unread.total)}) ${title}` : title;
  if (name !== room) return;
  page.newer.hidden = count === 0 || log.isAtEnd;
  page.newer.textContent = `${countText(count)} new ${count === 1 ? "message" : "messages"}`;
}

function tellReplayed() {
  if (replayed) page.said.textContent = `${replayed} ${replayed === 1 ? "message" : "messages"} came meanwhile`;
  replayed = 0;
}

// ---------------------------------------------------------------------------------------------------------- the rest

const showStatus = showConnection(page, () => connection.reconnect());
const connection = live(transports(roomsIn(page.rooms)), {
  since: cursor,
  check,
  onMessage: takeMessage,
  onNote: takeNote,
  onStatus(state, detail) {
    showStatus(state, detail);
    openedAt = state === "connected" ? performance.now() : Infinity;
    if (state !== "connected") return;
    outbox.send();
    setTimeout(tellReplayed, REPLAY_MS);
  },
});

showHistory(log, page.scroll, page.older, room);
showSearch(page, room);
readComposer(page.composer, (text) => {
  log.toEnd();
  outbox.add(text);
});
tellTyping(page.composer.elements.message, room);

page.scroll.addEventListener("scroll", readWhatIsSeen);
document.addEventListener("visibilitychange", readWhatIsSeen);
page.newer.addEventListener("click", () => {
  log.toEnd();
  readWhatIsSeen();
  page.composer.elements.message.focus();
});
showPeople(page.people, page.present, {
  users: [...page.people.querySelectorAll("[data-name]")].map((item) => item.dataset.name),
  count: Number(page.present.textContent),
});
unread.load().then(readWhatIsSeen);
readWhatIsSeen();
