/** How many messages of each room the user has not read in this browser. */

import { kept } from "./kept.js";
import { get, roomPath, user } from "./site.js";

const MOST = 100; // that are counted

export class Unread {
  #rooms = new Map(); // by name: {mark: the last id that is read, ids: of those that are not}
  #changed;

  /** `changed(room, count)` is told of each change; `cursor` is where a room begins that was not read before. */
  constructor(rooms, cursor, changed) {
    this.#changed = changed;
    for (const room of rooms) this.#open(room, cursor);
    kept.onChange((name, mark) => name.startsWith("read ") && mark && this.read(name.slice(5), mark));
  }

  get total() {
    return [...this.#rooms.values()].reduce((sum, { ids }) => sum + ids.size, 0);
  }

  /** Ask for what came while this browser was away. */
  async load() {
    await Promise.all([...this.#rooms].map(([room, { mark }]) => this.#loadRoom(room, mark).catch(() => {})));
  }

  /** Count a message of any room, unless it is one's own. */
  take({ id, room, user: author }) {
    const { mark, ids } = this.#rooms.get(room) ?? this.#open(room, id.replace(/:.*/, ":0"));
    if (author === user || ids.size === MOST || !isAfter(id, mark)) return;
    ids.add(id);
    this.#changed(room, ids.size);
  }

  /** Take a room as read up to an id. */
  read(room, id) {
    const found = this.#rooms.get(room);
    if (!found || !isAfter(id, found.mark)) return;
    found.mark = id;
    kept.set(`read ${room}`, id);
    for (const one of found.ids) if (!isAfter(one, id) || !isOfSameEpoch(one, id)) found.ids.delete(one);
    this.#changed(room, found.ids.size);
  }

  #open(room, cursor) {
    const found = { mark: kept.get(`read ${room}`), ids: new Set() };
    if (!found.mark) kept.set(`read ${room}`, (found.mark = cursor));
    this.#rooms.set(room, found);
    return found;
  }

  async #loadRoom(room, mark) {
    const { messages } = await get(`${roomPath(room)}/messages`, [["since", mark], ["limit", MOST]]);
    messages.forEach((message) => this.take(message));
  }
}

/** Write a count as it is shown. */
export const countText = (count) => (count >= MOST ? `${MOST - 1}+` : String(count));

/** Whether an id is of a later message than a mark: what is of another epoch is new. */
const isAfter = (id, mark) => !isOfSameEpoch(id, mark) || Number(id.split(":")[1]) > Number(mark.split(":")[1]);

const isOfSameEpoch = (id, other) => id.split(":")[0] === other.split(":")[0];
