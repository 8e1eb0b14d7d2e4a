/* What the page tells its reader: a notice that can be closed, and words for a screen reader. */

import { element, replaceChildren } from "./elements.js";

let noticeTimer = 0;

export function notify(text) {
  const host = document.getElementById("notice");
  replaceChildren(
    host,
    element("p", {}, text),
    element(
      "button",
      { type: "button", "aria-label": "close the message", click: () => (host.hidden = true) },
      "×",
    ),
  );
  host.hidden = false;
  clearTimeout(noticeTimer);
  noticeTimer = setTimeout(() => (host.hidden = true), 12000);
}

export function say(text) {
  document.getElementById("live").textContent = text;
}
