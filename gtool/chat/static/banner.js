/** Whether there is a connection, and if not: why, and when the next attempt is. */

import { TRANSPORTS } from "./site.js";

const STATUS = { connected: "Connected", error: "Offline", closed: "Offline" };
const TICK_MS = 500;

/** `parts` is {status, banner, reason, countdown, retry, again}; gives what live() tells of its status. */
export function showConnection({ status, banner, reason, countdown, retry, again }, reconnect) {
  let retryAt = 0;

  function count() {
    if (banner.hidden) return;
    const seconds = Math.max(0, Math.ceil((retryAt - Date.now()) / 1000));
    setText(countdown, seconds ? `Next attempt in ${seconds} s.` : "Trying now…");
  }

  retry.addEventListener("click", () => {
    retryAt = 0;
    count();
    reconnect();
  });
  setInterval(count, TICK_MS);

  return (state, detail) => {
    retryAt = detail.retryAt;
    document.body.dataset.transport = state === "connected" ? TRANSPORTS[detail.transport] : "";
    status.dataset.state = state;
    setText(status, STATUS[state]);
    banner.hidden = state === "connected";
    again.hidden = !detail.reason; // of no use while nobody answers
    if (state !== "connected") setText(reason, reasonFor(detail.reason));
    count();
  };
}

function reasonFor(said) {
  if (!navigator.onLine) return "This device is offline.";
  if (said) return `Not connected: ${said.replace(/\.?$/, ".")}`;
  return "Not connected: the server can’t be reached.";
}

function setText(element, text) {
  if (element.textContent !== text) element.textContent = text; // else it would be said again
}
