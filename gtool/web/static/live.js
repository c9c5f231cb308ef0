/**
 * A connection that stays: it comes back by itself, and goes on after the last message that it has given.
 *
 * What a server has to do for that: to send each message as JSON with an `id`, and to take `?since=ID` as "what comes
 * after that one". JSON without an `id` is a note: something about the messages, such as that some are lost. Knows
 * nothing of any page: what to show is up to the callbacks.
 *
 * It goes by a WebSocket, or by the first of several transports that gets through. A transport is a function of the id
 * to go on after and of what to tell; it opens a connection, and gives {close()}. It tells `opened()`,
 * `heard(text)`, `took(message)` for one that is parsed already, `reached(id)` where that is further than the last
 * message, and `ended({isClean, reason})`.
 */

const FIRST_DELAY_MS = 500; // doubled with each attempt that fails
const MOST_DELAY_MS = 15_000;
const STABLE_MS = 5_000; // that a connection has to last for the next delay to be the first again
const OPENING_MS = 10_000; // after which an attempt that nobody answers has failed
const MOST_REFUSED = 2; // attempts in a row by one transport, while the server can be reached

/**
 * Connect, and stay connected until close().
 *
 * @param {string|URL|Function[]} target ws: or wss:, with the query parameters that every attempt is to have; or
 *   transports, the best first
 * @param {object} [options]
 * @param {string} [options.since] what the first connection is to begin after: an id, or "all"; else with what is new
 * @param {(state: "connected"|"error"|"closed", detail: {reason: string, retryAt: number, transport: number}) => void}
 *   [options.onStatus] "closed" is the server's goodbye, "error" any other end or a failed attempt; `retryAt` is in
 *   terms of Date.now(), `transport` the place in the list
 * @param {(message: object) => void} [options.onMessage] each once, in order; one that is not JSON as {data: text}
 * @param {(note: object) => void} [options.onNote]
 * @param {() => Promise<string|null>} [options.check] asked why an attempt has failed: what the server says, "" if
 *   nothing is wrong with it, null if it does not answer. Without it there is no other transport than the first
 * @returns {{close: () => void, reconnect: () => void}}
 */
export function live(target, { since, onStatus, onMessage, onNote, check } = {}) {
  const transports = Array.isArray(target) ? target : [webSocket(target)];
  let chosen = 0;
  let connection = null;
  let openedAt = null; // null while there is no connection, or it is not open yet
  let lastId = since;
  let failures = 0;
  let refused = 0;
  let timer;

  function connect() {
    drop();
    const attempt = (connection = {});
    const told = (tell) => (value) => connection === attempt && tell(value);
    timer = setTimeout(() => ended({ isClean: false, reason: "no answer" }), OPENING_MS);
    const opening = transports[chosen](lastId, {
      opened: told(opened),
      heard: told((text) => take(parse(text))),
      took: told(take),
      reached: told((id) => (lastId = id)),
      ended: told(ended),
    });
    Object.assign(attempt, opening);
  }

  /** Let go of a connection that may still have messages on their way: they come again, by the next one. */
  function drop() {
    clearTimeout(timer);
    timer = undefined; // an explanation that is still to come is of another attempt
    const dropped = connection;
    connection = openedAt = null; // first: what it tells at its end is of no interest
    dropped?.close?.();
  }

  function opened() {
    clearTimeout(timer);
    openedAt = performance.now();
    refused = 0;
    onStatus?.("connected", { reason: "", retryAt: 0, transport: chosen });
  }

  function ended({ isClean, reason }) {
    const wasOpen = openedAt !== null;
    if (wasOpen && performance.now() - openedAt > STABLE_MS) failures = 0;
    drop();
    const delay = backOff(failures++);
    const detail = { reason, retryAt: Date.now() + delay, transport: chosen };
    const waiting = (timer = setTimeout(connect, delay));
    onStatus?.(isClean ? "closed" : "error", detail);
    if (check && !wasOpen) explain(detail, () => timer === waiting && connection === null);
  }

  /** See whether it is the server that is away, or the transport that does not get through. */
  async function explain(detail, isStill) {
    const said = await check().catch(() => null);
    if (!isStill()) return;
    refused = said === "" ? refused + 1 : 0;
    if (said) onStatus?.("error", { ...detail, reason: said });
    if (refused < MOST_REFUSED || chosen + 1 === transports.length) return;
    chosen += 1;
    refused = failures = 0;
    connect();
  }

  function take(message) {
    // A note of a loss tells where to go on, if nothing follows: else the next connection would be told of it again.
    lastId = message.id ?? message.cursor ?? (message.recovered === false ? message.oldest : null) ?? lastId;
    if (message.id || "data" in message) onMessage?.(message);
    else onNote?.(message);
  }

  function reconnect() {
    failures = refused = 0;
    connect();
  }

  // A connection from before the network went may be dead without the browser having noticed: have a new one. Another
  // network may let through what the one before did not.
  function online() {
    chosen = 0;
    reconnect();
  }

  function seen() {
    if (document.visibilityState === "visible" && connection === null) reconnect();
  }

  window.addEventListener("online", online);
  document.addEventListener("visibilitychange", seen);
  connect();
  return {
    reconnect,
    close() {
      window.removeEventListener("online", online);
      document.removeEventListener("visibilitychange", seen);
      drop();
    },
  };
}

/** The transport to a ws: or wss: URL. */
export function webSocket(url) {
  return (since, { opened, heard, ended }) => {
    const socket = new WebSocket(resumeUrl(url, since));
    socket.onopen = opened;
    socket.onmessage = (event) => heard(event.data);
    // A connection that breaks has a close event in every browser, an error event before it in some only.
    socket.onclose = (event) => ended({ isClean: event.wasClean, reason: event.reason });
    return { close: () => socket.close() };
  };
}

export function resumeUrl(url, id) {
  const address = new URL(url);
  if (id) address.searchParams.set("since", id);
  return address;
}

/** Jittered, so that the clients of a server that restarts don't all come back in the same moment. */
export function backOff(failures) {
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
