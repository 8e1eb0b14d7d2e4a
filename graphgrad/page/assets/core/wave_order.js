/* The order in which a step computes what the boxes of the drawing show.

    front    {key, phase, order, node | scope}: one box of one phase; `phase` is values, deltas or updates
    order    the position in the graph of the last node that the box shows, in that phase

A box of a closed scope (of all members of a folded run) is one front: it is done when all of it is. The
graph is in the order of computing, so a box comes after all boxes that it needs in full. Where deltas are
not drawn for themselves (view of values), the same boxes are gone through backward. */

import { page } from "./model.js";
import { mirrors, state } from "./state.js";

/* The part of the nodes that a phase goes through. */
const PARTS = { forward: "values", delta: "deltas", update: "updates" };
const latest = new Map();

/* All fronts of the drawing as it is now. */
export function waveFronts() {
  const fronts = [];
  for (const box of state.boxes.values()) {
    if (box.open) continue;
    for (const phase of phasesOf(box)) {
      const order = orderOf(box.item, phase, isOfValues());
      if (order >= 0) fronts.push({ key: box.key, phase, order, node: box.item.node, scope: box.item.scope });
    }
  }
  const rank = Object.values(PARTS);
  return fronts.sort(
    (a, b) => rank.indexOf(a.phase) - rank.indexOf(b.phase) || a.order - b.order || (a.phase === "deltas" ? valueOrder(b) - valueOrder(a) : valueOrder(a) - valueOrder(b)),
  );
}

/* Whether the drawing has the boxes of values: views of values, with a mirrored half or without. */
function isOfValues() {
  return state.structure.view === "forward";
}

function phasesOf(box) {
  if (!isOfValues()) return [box.item.scope === undefined ? PARTS[page.nodes[box.item.node].part] : PARTS[state.structure.view === "backward" ? "delta" : "update"]];
  if (mirrors()) return [box.side === "delta" ? "deltas" : "values"];
  return page.hasDeltas ? ["values", "deltas"] : ["values"];
}

/* Two deltas may be one node: then that of the later value is first. */
function valueOrder(front) {
  return orderOf(front, "values", true);
}

function orderOf(item, phase, ofValues) {
  if (item.scope === undefined) return orderOfNode(page.nodes[item.node], phase, ofValues);
  const scopes = page.scopes[item.scope].run?.folded ? page.scopes[item.scope].run.members : [item.scope];
  return Math.max(...scopes.map((scope) => latestOf(phase, ofValues)[scope]));
}

function orderOfNode(node, phase, ofValues) {
  if (!ofValues) return PARTS[node.part] === phase ? node.id : -1;
  if (node.part !== "forward") return -1;
  return phase === "values" ? node.id : (node.delta ?? -1);
}

/* For each scope the largest order of a node in it, inner scopes included. */
function latestOf(phase, ofValues) {
  const name = `${phase} ${ofValues}`;
  if (!latest.has(name)) {
    const orders = new Array(page.scopes.length).fill(-1);
    for (const node of page.nodes) {
      const order = orderOfNode(node, phase, ofValues);
      for (let id = node.scope; id >= 0 && orders[id] < order; id = page.scopes[id].parent) orders[id] = order;
    }
    latest.set(name, orders);
  }
  return latest.get(name);
}
