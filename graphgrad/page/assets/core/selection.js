/* Selecting a node, a scope or nothing; whoever shows the selection hears of it by its event. */

import { writeAddress } from "./address.js";
import { moveTo } from "./camera.js";
import { plural, shorten, visible } from "./elements.js";
import { announceEvent } from "./events.js";
import { say } from "./messages.js";
import { describeNode, page, scopeChain, scopeTitle } from "./model.js";
import { state, visibleKey } from "./state.js";
import { closeTab } from "./tabs.js";
import { closeNeighbourhood, reveal, setView, toggleScope } from "./view.js";

export function selectByName(name) {
  const node = page.byName.get(name);
  if (!node) return false;
  closeTab();
  selectNode(node);
  return true;
}

export function selectNode(node, { move = true, history: keep = true } = {}) {
  state.selected = { node };
  state.path = null;
  if (state.focus && visibleKey(node.id) === null) closeNeighbourhood();
  reveal(node.id);
  if (move) moveTo(visibleKey(node.id));
  afterSelection(describeNode(node), keep);
}

export function selectScope(id, keep = true) {
  const scope = page.scopes[id];
  state.selected = { scope };
  state.path = null;
  afterSelection(`${visible(shorten(scopeTitle(scope), 100))}: scope, ${plural(scope.count, "node")}`, keep);
}

export function goToScope(id) {
  closeNeighbourhood();
  const { forward, delta, update } = page.scopes[id].counts; // updates have no box among values
  const view = forward ? state.view : delta ? "backward" : update ? "updates" : state.view;
  if (view !== state.view && page.views.includes(view)) setView(view);
  for (const scope of scopeChain(page.scopes[id].parent))
    if (!state.open.has(scope)) toggleScope(scope, true);
  selectScope(id);
  moveTo(state.boxes.has(`s${id}`) ? `s${id}` : null);
}

export function selectNothing() {
  state.selected = null;
  state.path = null;
  afterSelection("", true);
}

export function afterSelection(words, keep) {
  announceEvent("select", state.selected);
  if (words) say(words);
  if (keep) writeAddress();
}
