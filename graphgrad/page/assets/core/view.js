/* Changes views and the scopes that are open in them; no other module does. */

import { READABLE, anchorOf, fitView, fittingScale, keepAnchor, showReadable } from "./camera.js";
import { draw } from "./drawing.js";
import { countText, plural, shorten, visible } from "./elements.js";
import { announceEvent } from "./events.js";
import { notify } from "./messages.js";
import { page, scopeChain } from "./model.js";
import { state } from "./state.js";
import { FORWARD, buildStructure, flagOf } from "./structure.js";

const MOST_BOXES = 1500;
const OPENINGS = [44, 30, 20, 12, 6];
const NEURONS = 400;

export function setView(view) {
  state.view = view;
  state.focus = null;
  showView();
}

/* Draws the view; its structure is built when it is first shown. */
export function showView(keepCamera = false) {
  const name = state.view === "mirror" ? "forward" : state.view;
  const before = state.structure;
  state.structure = state.focus ? state.focus.structure : structureOf(name);
  state.across = page.style === "neurons" && !state.focus && name === "forward";
  if (before !== state.structure || !keepCamera) state.arranged.clear();
  if (!before) openAtFirst();
  draw();
  if (!keepCamera) showReadable();
  announceEvent("view", state.view);
}

/* Returns from the neighbourhood of a node to the view before it. */
export function closeNeighbourhood() {
  if (!state.focus) return;
  state.focus = null;
  showView(true);
}

/* The structure of a view, built when it is first needed. If more items are outside all scopes than
can be drawn, it is empty, and a message is shown. */
function structureOf(name) {
  if (!state.structures.has(name)) {
    const made = buildStructure(name);
    const size = made.scopes.get(0)?.items.size ?? 0;
    if (size > MOST_BOXES) {
      made.scopes.get(0).items.clear();
      made.scopes.get(0).wires = [];
      made.tooLarge = size;
    }
    state.structures.set(name, made);
  }
  const made = state.structures.get(name);
  if (made.tooLarge) {
    notify(
      `${plural(made.tooLarge, "box")} stand outside all scopes: the page draws ${countText(MOST_BOXES)} at once. ` +
        `Search (/) finds every node, f draws the neighbourhood of the one you choose, and the outline (o) lists them.`,
    );
  }
  return made;
}

/* Opens as many scopes as the canvas has room for with text that can be read. */
function openAtFirst() {
  if (page.depth !== undefined) return openEverything(page.depth);
  const limits = page.style === "neurons" ? [NEURONS] : OPENINGS;
  for (const limit of limits) {
    openUpTo(limit);
    draw();
    if (fittingScale() >= READABLE) return undefined;
  }
  if (page.style !== "neurons") state.open.clear();
  state.arranged.clear();
  return undefined;
}

/* Opens scopes, outer ones first, up to a number of boxes. */
function openUpTo(limit) {
  const visible = (id) => state.structure.scopes.get(id)?.items.size ?? 0;
  state.open.clear();
  state.arranged.clear();
  let count = visible(0);
  let level = [0];
  while (level.length) {
    const inner = level.flatMap((id) => page.scopes[id].scopes).filter((id) => visible(id) && isShown(id));
    inner.sort((a, b) => visible(a) - visible(b));
    for (const id of inner) {
      const only = visible(id) === 1;
      if (!only && count + visible(id) - 1 > limit) continue;
      count += visible(id) - 1;
      state.open.add(id);
    }
    level = inner.filter((id) => state.open.has(id));
  }
}

/* Whether a scope is drawn: of a folded run only the shown member is. */
function isShown(id) {
  const { run } = page.scopes[id];
  return !run?.folded || run.shown === id;
}

function countIfOpen(id) {
  return state.boxes.size + (state.structure.scopes.get(id)?.items.size ?? 0);
}

/* Opens or closes a scope; shows a message if that cannot be drawn. */
export function toggleScope(id, open = !state.open.has(id)) {
  if (open === state.open.has(id)) return true;
  if (open && countIfOpen(id) > MOST_BOXES) {
    const { path, count } = page.scopes[id];
    notify(
      `${visible(shorten(path, 60))} holds ${plural(count, "node")}: with it the picture would have more than ` +
        `${countText(MOST_BOXES)} boxes at once. Search (/) finds every node, and f draws the ` +
        `neighbourhood of the one you choose.`,
    );
    return false;
  }
  const before = anchorOf(`s${id}`);
  if (open) state.open.add(id);
  else state.open.delete(id);
  forget(id);
  draw();
  keepAnchor(`s${id}`, before);
  return true;
}

/* Marks the scope and those around it for a new layout. */
function forget(id) {
  for (; id >= 0; id = page.scopes[id].parent) state.arranged.delete(id);
}

/* Opens exactly the scopes of these paths, as long as the page can draw them. */
export function openScopes(paths) {
  state.open.clear();
  let count = state.structure.scopes.get(0)?.items.size ?? 0;
  page.scopes.forEach((scope, id) => {
    const size = state.structure.scopes.get(id)?.items.size ?? 0;
    if (id === 0 || !paths.has(scope.path) || count + size > MOST_BOXES) return;
    count += size;
    state.open.add(id);
  });
  state.arranged.clear();
  draw();
}

/* Folds runs as in another page of the graph: [path of the first member, folded, path of the shown one]. */
export function setRuns(folds, runs) {
  const places = new Map(page.scopes.map((scope, id) => [scope.path, id]));
  let changed = false;
  for (const [first, folded, shown] of runs) {
    const run = page.scopes[places.get(first)]?.run;
    const member = places.get(shown);
    if (!run || !run.members.includes(member) || (run.folded === folded && run.shown === member)) continue;
    Object.assign(run, { folded: folded === true, shown: member });
    changed = true;
  }
  page.folds = folds;
  if (changed) rebuild();
}

export function openEverything(depth = Infinity) {
  state.open.clear();
  let count = state.structure.scopes.get(0)?.items.size ?? 0;
  let refused = 0;
  const visit = (id) => {
    const size = state.structure.scopes.get(id)?.items.size ?? 0;
    if (!size || page.scopes[id].depth > depth || !isShown(id)) return;
    if (id > 0) {
      if (count + size > MOST_BOXES) {
        refused += 1;
        return;
      }
      count += size;
      state.open.add(id);
    }
    page.scopes[id].scopes.forEach(visit);
  };
  visit(0);
  state.arranged.clear();
  draw();
  fitView();
  if (refused)
    notify(
      `${plural(refused, "scope")} stayed closed: the page draws ${countText(MOST_BOXES)} boxes at once.`,
    );
}

/* Folds a run, so that one member is drawn for all, or unfolds it. */
export function setRun(run, { folded = run.folded, shown = run.shown } = {}) {
  if (!folded && run.folded) {
    const size = run.members.length;
    if (state.boxes.size + size > MOST_BOXES)
      return notify(`${size} scopes are more than the page can draw at once.`);
  }
  const wasOpen = state.open.has(run.shown);
  Object.assign(run, { folded, shown });
  for (const member of run.members) {
    if (wasOpen && (member === shown || run.members.length <= 8)) state.open.add(member);
    else if (!wasOpen || member !== shown) state.open.delete(member);
  }
  rebuild();
  return undefined;
}

function rebuild() {
  const opened = new Set(state.open);
  state.structures.clear();
  state.structure = null;
  showView(true);
  state.open = opened;
  state.arranged.clear();
  draw();
}

export function setFolding(folded) {
  page.folds = folded;
  for (const members of page.runs) page.scopes[members[0]].run.folded = folded;
  if (!folded) state.open.clear();
  rebuild();
  if (!folded) openUpTo(OPENINGS[0]);
  state.arranged.clear();
  draw();
  showReadable();
}

/* Opens all scopes around the node, and shows the member of a folded run that it is in. */
export function reveal(id) {
  if (state.focus) return;
  let node = page.nodes[id];
  if (state.structure.boxOf(id) === null) return;
  if (node.part !== "forward" && flagOf(state.view) === FORWARD && node.owner !== null)
    node = page.nodes[node.owner];
  let changed = false;
  for (const scope of scopeChain(node.scope)) {
    const { run } = page.scopes[scope];
    if (run?.folded && run.shown !== scope) {
      if (state.open.has(run.shown)) state.open.add(scope);
      run.shown = scope;
      changed = true;
    }
  }
  if (changed) {
    state.structures.clear();
    state.structure = structureOf(state.view === "mirror" ? "forward" : state.view);
    state.arranged.clear();
  }
  const place = state.structure.boxOf(id);
  if (place === null) return;
  let opened = changed;
  for (const scope of scopeChain(page.nodes[place].scope)) {
    if (state.open.has(scope)) continue;
    if (countIfOpen(scope) > MOST_BOXES) {
      toggleScope(scope, true);
      break;
    }
    state.open.add(scope);
    forget(scope);
    opened = true;
  }
  if (opened) draw();
}
