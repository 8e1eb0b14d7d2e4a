/* What is open, selected and shown now.

`boxes` and `segments` are the drawing as it is now, in the coordinates of the picture. */

import { page, scopeChain } from "./model.js";

export const state = {
  view: "forward",
  across: false,
  titled: false,
  open: new Set(),
  arranged: new Map(),
  structures: new Map(),
  structure: null,
  focus: null,
  selected: null,
  path: null,
  colouring: null,
  boxes: new Map(),
  copies: new Map(),
  segments: [],
  width: 0,
  height: 0,
};

/* Whether the deltas are drawn as the values' mirrored half. */
export function mirrors() {
  return state.view === "mirror" && page.hasDeltas && !state.focus;
}

/* The node's key among the boxes, or that of the closed scope around it; null where none shows it. */
export function visibleKey(id) {
  const place = state.structure.boxOf(id);
  if (place === null || place === undefined) return null;
  if (state.boxes.has(`n${place}`)) return `n${place}`;
  for (const scope of scopeChain(page.nodes[place].scope)) {
    if (!state.open.has(scope) && state.boxes.has(`s${scope}`)) return `s${scope}`;
  }
  return state.copies.get(place) ?? null;
}
