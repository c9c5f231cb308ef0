/** What the browser keeps for a user: texts by name. Where it keeps nothing, that is for as long as the page is open. */

import { at, user } from "./site.js";

const SITE = `gtool-chat ${at("").pathname} `; // several chats may be on one host
const PREFIX = `${SITE}${user} `;

let storage;
try {
  storage = window.localStorage;
  storage.setItem(SITE, "");
  storage.removeItem(SITE);
} catch {
  const map = new Map();
  storage = {
    getItem: (name) => map.get(name) ?? null,
    setItem: (name, value) => map.set(name, value),
    removeItem: (name) => map.delete(name),
    key: (index) => [...map.keys()][index],
    get length() {
      return map.size;
    },
  };
}

export const kept = {
  get: (name) => storage.getItem(PREFIX + name),
  remove: (name) => storage.removeItem(PREFIX + name),

  /** Keep a text; not if the browser has no room for it. */
  set(name, value) {
    try {
      storage.setItem(PREFIX + name, value);
    } catch {
      // It is in the page still.
    }
  },

  /** Give the names that begin with a prefix. */
  names: (prefix) =>
    Array.from({ length: storage.length }, (_, index) => storage.key(index))
      .filter((name) => name.startsWith(PREFIX + prefix))
      .map((name) => name.slice(PREFIX.length)),

  /** Have a function called when another tab of this user's keeps or removes (null) something. */
  onChange(call) {
    window.addEventListener("storage", ({ key, newValue }) => {
      if (key?.startsWith(PREFIX)) call(key.slice(PREFIX.length), newValue);
    });
  },
};
