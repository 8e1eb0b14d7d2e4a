/* The tabs of the page panels, which are shown instead of the drawing. */

import { writeAddress } from "./address.js";
import { canvas } from "./drawing.js";
import { element, replaceChildren } from "./elements.js";
import { state } from "./state.js";

let leaveTab = null;

/* Opens a tab; `fill` writes its content into an element and returns a function that is called before
the element is emptied, or null. */
export function enterTab(name, fill) {
  closeTab(false);
  state.tab = name;
  const host = document.getElementById("tab-view");
  document.body.classList.add("in-tab");
  document.getElementById("main").inert = true;
  host.hidden = false;
  const inner = element("div", { class: `tab-body panel-${name}` });
  replaceChildren(host, inner);
  leaveTab = fill(inner);
  markTabs();
  host.focus();
  writeAddress();
}

export function closeTab(write = true) {
  if (!state.tab) return;
  leaveTab?.();
  leaveTab = null;
  state.tab = null;
  document.body.classList.remove("in-tab");
  document.getElementById("main").inert = false;
  const host = document.getElementById("tab-view");
  host.hidden = true;
  replaceChildren(host);
  markTabs();
  if (write) {
    writeAddress();
    canvas.focus({ preventScroll: true });
  }
}

function markTabs() {
  for (const tab of document.querySelectorAll("[data-tab]")) {
    const selected = tab.getAttribute("data-tab") === (state.tab ?? "");
    tab.setAttribute("aria-selected", String(selected));
    if (selected) tab.scrollIntoView({ block: "nearest", inline: "nearest" });
  }
}
