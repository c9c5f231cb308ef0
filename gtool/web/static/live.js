/**
 * A WebSocket that stays: it comes back by itself, and goes on after the last message that it has given.
 *
 * What a server has to do for that: to send each message as JSON with an `id`, and to take `?since=ID` as "what comes
 * after that one". JSON without an `id` is a note: something about the messages, such as that some are lost. Knows
 * nothing of any page: what to show is up to the callbacks.
 */

const FIRST_DELAY_MS = 500; // doubled with each attempt that fails
const MOST_DELAY_MS = 15_000;
const STABLE_MS = 5_000; // that a connection has to last for the next delay to be the first again

/**
 * Connect, and stay connected until close().
 *
 * @param {string|URL} url ws: or wss:, with the query parameters that every attempt is to have
 * @param {object} [options]
 * @param {string} [options.since] what the first connection is to begin after: an id, or "all"; else with what is new
 * @param {(state: "connected"|"error"|"closed", detail: {reason: string, retryAt: number}) => void} [options.onStatus]
 *   "closed" is the server's goodbye, "error" any other end or a failed attempt; `retryAt` is in terms of Date.now()
 * @param {(message: object) => void} [options.onMessage] each once, in order; one that is not JSON as {data: text}
 * @param {(note: object) => void} [options.onNote]
 * @returns {{close: () => void, reconnect: () => void, send: (text: string) => boolean}} send() is false if there is
 *   no connection just now: nothing is kept for later
 */
export function live(url, { since, onStatus, onMessage, onNote } = {}) {
  let socket = null;
  let lastId = since;
  let failures = 0;
  let timer;

  function connect() {
    clearTimeout(timer);
    forget(socket);
    socket = new WebSocket(resumeUrl(url, lastId));
    let openedAt = Infinity;
    socket.onopen = () => {
      openedAt = performance.now();
      onStatus?.("connected", { reason: "", retryAt: 0 });
    };
    socket.onmessage = (event) => take(event.data);
    // A connection that breaks has a close event in every browser, an error event before it in some only.
    socket.onclose = (event) => {
      if (performance.now() - openedAt > STABLE_MS) failures = 0;
      const delay = backOff(failures++);
      timer = setTimeout(connect, delay);
      onStatus?.(event.wasClean ? "closed" : "error", { reason: event.reason, retryAt: Date.now() + delay });
    };
  }

  function take(text) {
    const message = parse(text);
    if (message.id) lastId = message.id;
    if (message.id || "data" in message) onMessage?.(message);
    else onNote?.(message);
  }

  function reconnect() {
    failures = 0;
    connect();
  }

  function seen() {
    if (document.visibilityState === "visible" && socket.readyState > WebSocket.OPEN) reconnect();
  }

  // A connection from before the network went may be dead without the browser having noticed: have a new one.
  window.addEventListener("online", reconnect);
  document.addEventListener("visibilitychange", seen);
  connect();
  return {
    reconnect,
    send(text) {
      if (socket.readyState !== WebSocket.OPEN) return false;
      socket.send(text);
      return true;
    },
    close() {
      window.removeEventListener("online", reconnect);
      document.removeEventListener("visibilitychange", seen);
      clearTimeout(timer);
      forget(socket);
    },
  };
}

/** Close a socket that may still have messages on their way: they come again, by the next one. */
function forget(socket) {
  if (!socket) return;
  socket.onopen = socket.onmessage = socket.onclose = null;
  socket.close();
}

function resumeUrl(url, id) {
  const address = new URL(url);
  if (id) address.searchParams.set("since", id);
  return address;
}

/** Jittered, so that the clients of a server that restarts don't all come back in the same moment. */
function backOff(failures) {
  const most = Math.min(MOST_DELAY_MS, FIRST_DELAY_MS * 2 ** failures);
  return most * (0.5 + Math.random() / 2);
}

function parse(text) {
  try {
    const message = JSON.parse(text);
    if (message !== null && typeof message === "object") return message;
  } catch {
    // A server without envelopes: what it says is the message.
  }
  return { data: text };
}
