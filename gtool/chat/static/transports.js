/** What gets messages to the page where no WebSocket gets through: an event stream, and a long poll for the rest. */

import { resumeUrl } from "./live.js";

const POLL_MS = 30_000; // for an answer that the server gives in 10 s
const FIRST_MS = 1_000; // after which a poll that has not failed is taken to wait
const EMPTY_MS = 1_000; // that an answer without a message takes at least: a server that stops answers at once

/**
 * The transport by server-sent events.
 *
 * @param {URL} url
 * @param {string[]} notes the kinds of notes that the server sends; messages are of none
 * @param {boolean} isGreeted whether the server begins with a note: until it is here, a proxy may hold all of it back
 */
export function eventStream(url, notes, isGreeted) {
  return (since, { opened, heard, ended }) => {
    const source = new EventSource(resumeUrl(url, since));
    let isOpen = false;
    const open = () => {
      if (!isOpen) opened();
      isOpen = true;
    };
    const take = ({ data }) => {
      open();
      heard(data);
    };
    source.onopen = () => isGreeted || open();
    for (const kind of ["message", ...notes]) source.addEventListener(kind, take);
    // The browser would come back by itself, in its own time: all transports come back in the same way.
    source.onerror = () => {
      source.close();
      ended({ isClean: false, reason: "" });
    };
    return { close: () => source.close() };
  };
}

/**
 * The transport by requests that wait for their answer.
 *
 * @param {URL} url
 * @param {[string, string][]} fields of each request
 * @param {() => Promise<object>} greet gives a note that the other transports bring: who is here
 */
export function longPoll(url, fields, greet) {
  return (since, events) => {
    const stop = new AbortController();
    const timer = setTimeout(events.opened, FIRST_MS);
    poll(url, fields, greet, since, { ...events, stop: stop.signal })
      .catch((error) => events.ended({ isClean: false, reason: error.sentence ?? "" }))
      .finally(() => clearTimeout(timer));
    return { close: () => stop.abort() };
  };
}

async function poll(url, fields, greet, since, { took, reached, stop }) {
  let cursor = since;
  while (!stop.aborted) {
    greet().then(took, () => {}); // the poll itself tells of what is wrong
    const pause = new Promise((resolve) => setTimeout(resolve, EMPTY_MS));
    const answer = await ask(url, [...fields, ["cursor", cursor]], stop);
    if (!answer.recovered) took({ recovered: false, oldest: answer.oldest });
    answer.messages.forEach(took);
    cursor = answer.cursor;
    reached(cursor);
    if (!answer.messages.length) await pause;
  }
}

async function ask(url, fields, stop) {
  const body = new URLSearchParams(fields);
  const signal = AbortSignal.any([stop, AbortSignal.timeout(POLL_MS)]);
  const answer = await fetch(url, { method: "POST", body, signal });
  if (answer.ok) return answer.json();
  throw Object.assign(new Error("refused"), { sentence: await answer.text() });
}
