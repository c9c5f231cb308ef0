/** A name that is given back leaves nothing of its own in the browser. */

import { keptFor } from "./kept.js";

for (const form of document.querySelectorAll("form[data-leave]")) {
  form.addEventListener("submit", () => {
    const kept = keptFor(form.dataset.leave);
    for (const name of kept.names("")) kept.remove(name);
  });
}
