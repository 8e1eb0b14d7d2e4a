/* The address: #node=…&view=…&radius=…&colour=…&tab=…, written as one goes and followed when opened. */

let written = "";

function readAddress() {
  const asked = {};
  for (const part of location.hash.slice(1).split("&")) {
    const split = part.indexOf("=");
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
  add("view", state.view !== page.views[0] ? state.view : "");
  if (state.focus) add("radius", String(state.focus.radius));
  add("colour", state.colouring?.name ?? "");
  add("tab", state.tab ?? "");
  return parts.length ? `#${parts.join("&")}` : "#";
}

function writeAddress() {
  const text = addressText();
  if (text === written) return;
  written = text;
  try {
    history.replaceState(null, "", text);
  } catch {
    /* an address that may not be written stays as it is */
  }
}

function followAddress(asked, first = false) {
  if (location.hash === written && !first) return;
  written = location.hash;
  if (page.views.includes(asked.view) && asked.view !== state.view) setView(asked.view);
  if (asked.colour) setColouring(asked.colour);
  if (asked.node !== undefined) {
    const node = page.byName.get(asked.node);
    if (!node) notify(`There is no node called ${visible(shorten(asked.node, 80))} in this graph.`);
    else if (Number(asked.radius) >= 1) enterFocus(node.id, Math.min(20, Math.floor(Number(asked.radius))));
    else {
      closeTab();
      selectNode(node);
    }
  } else if (asked.scope !== undefined) {
    const scope = page.scopes.find((item) => item.path === asked.scope);
    if (scope) goToScope(scope.id);
    else notify(`There is no scope called ${visible(shorten(asked.scope, 80))} in this graph.`);
  }
  if (asked.tab) openTab(asked.tab);
}

async function copyLink() {
  writeAddress();
  try {
    await navigator.clipboard.writeText(location.href);
    notify("The link to this place is copied.");
  } catch {
    notify("The browser allows no copying here; the address bar has the link.");
  }
}
