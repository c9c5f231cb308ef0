/** What the browser keeps for a user: texts by name. If it keeps nothing: for as long as the page is open. */

import { at, user } from "./site.js";

const SITE = `gtool-chat ${at("").pathname} `; // several chats may be on one host

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

/** Give what is kept for one user. */
export function keptFor(user) {
  const prefix = `${SITE}${user} `;
  return {
    get: (name) => storage.getItem(prefix + name),
    remove: (name) => storage.removeItem(prefix + name),

    /** Keep a text; not if the browser has no room for it. */
    set(name, value) {
      try {
        storage.setItem(prefix + name, value);
      } catch {
        // It is in the page still.
      }
    },

    /** Give the names that begin with something. */
    names: (start) =>
      Array.from({ length: storage.length }, (_, index) => storage.key(index))
        .filter((name) => name.startsWith(prefix + start))
        .map((name) => name.slice(prefix.length)),

    /** Have a function called when another tab of this user's keeps or removes (null) something. */
    onChange(call) {
      window.addEventListener("storage", ({ key, newValue }) => {
        if (key?.startsWith(prefix)) call(key.slice(prefix.length), newValue);
      });
    },
  };
}

export const kept = keptFor(user);
