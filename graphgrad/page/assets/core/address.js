/* The address: #node=…, #scope=… or #saved=…&for=…, then &view=…&radius=…&colour=…&tab=…, written while the reader navigates, read when the
page opens; `again` in it says that the page goes on with the view of another one (kept.js). */

import { notify } from "./messages.js";
import { page } from "./model.js";
import { state } from "./state.js";

let written = "";

export function readAddress() {
  const asked = {};
  for (const part of location.hash.slice(1).split("&")) {
    const split = part.indexOf("=");
    if (part === "again") asked.again = "";
    if (split < 0) continue;
    try {
      asked[part.slice(0, split)] = decodeURIComponent(part.slice(split + 1).replace(/\+/g, " "));
    } catch {
      /* a broken escape: as if it were not there */
    }
  }
  return asked;
}

function addressText() {
  const parts = [];
  const add = (name, value) =>
    value &&
    parts.push(
      `${name}=${encodeURIComponent(value.isWellFormed?.() === false ? value.toWellFormed() : value)}`,
    );
  if (state.selected?.node) add("node", state.selected.node.name);
  if (state.selected?.scope) add("scope", state.selected.scope.path);
  if (state.selected?.bundle) {
    add("saved", state.selected.bundle.names[0]);
    add("for", state.selected.bundle.names[1]);
  }
  add("view", state.view !== page.views[0] ? state.view : "");
  if (state.focus) add("radius", String(state.focus.radius));
  add("colour", state.colouring?.name ?? "");
  add("tab", state.tab ?? "");
  return parts.length ? `#${parts.join("&")}` : "#";
}

export function writeAddress() {
  const text = addressText();
  if (text === written) return;
  written = text;
  try {
    history.replaceState(null, "", text);
  } catch {
    /* an address that may not be written stays as it is */
  }
}

/* Whether the address is another than the one that was followed or written last. */
export function isNewAddress() {
  return location.hash !== written;
}

export function markAddress() {
  written = location.hash;
}

export async function copyLink() {
  writeAddress();
  try {
    await navigator.clipboard.writeText(location.href);
    notify("The link to this place is copied.");
  } catch {
    notify("The browser allows no copying here; the address bar has the link.");
  }
}
