/** What was said before: it comes when the reader scrolls up, or asks for it by the button. */

import { get, roomPath } from "./site.js";

const PAGE = 50;
const NEAR_PX = 200; // from the top
const AGAIN_MS = 2_000; // after a page that did not come

/** Have older messages be added to a log. `button` is hidden once there are no more. */
export function showHistory(log, scroll, button, room) {
  let isAsking = false;
  let failedAt = -Infinity;

  async function load() {
    if (isAsking || button.hidden) return;
    isAsking = true;
    try {
      const query = [["before", log.oldestId], ["limit", PAGE]];
      const { messages } = await get(`${roomPath(room)}/messages`, query);
      log.addOlder(messages);
      if (messages.length < PAGE) end();
    } catch (error) {
      failedAt = performance.now();
      if (error.status === 410) end(); // they are kept no more
    } finally {
      isAsking = false;
    }
  }

  function end() {
    const hadFocus = document.activeElement === button;
    button.hidden = true;
    if (hadFocus) scroll.focus({ preventScroll: true }); // else the keyboard would begin at the top of the page
  }

  button.addEventListener("click", load);
  scroll.addEventListener("scroll", () => {
    if (scroll.scrollTop < NEAR_PX && performance.now() - failedAt > AGAIN_MS) load();
  });
}
