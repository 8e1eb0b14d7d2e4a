/* What a view draws before it has places: the items of each scope and the wires between them.

    view       "forward" (also the mirror's left half), "backward" (deltas, drawn upward) or
               "updates" (the next values of parameters and states)
    item       {key, node} for a node, {key, node, copy: true} for the copy of a shared node in the
               scope that uses it, {key, scope} for an inner scope
    wire       {value, from, to: [{item, target}], up}: one value on its way to other items of the
               scope; `from` or an item may be a port: the value enters or leaves the scope there

An edge between two nodes belongs to the innermost scope that holds both, and passes a port of every
scope on its way. Of a folded run only the shown member is drawn: what leads to or comes from another
member is drawn at the node of the shown one that stands in the same place. */

import { page, scopeChain } from "./model.js";

export const FORWARD = 1;
const BACKWARD = 2;
const UPDATE = 4;

export function flagOf(view) {
  return { backward: BACKWARD, updates: UPDATE }[view] ?? FORWARD;
}

export function buildStructure(view) {
  const flag = flagOf(view);
  const structure = { view, scopes: new Map(), place: placesInRuns(flag) };
  structure.boxOf = (id) => boxOf(structure, id);
  for (const node of page.nodes) {
    if (!(node.drawn & flag) || !isBox(node, flag) || (node.shared && flag === FORWARD && !node.heads.length))
      continue;
    if (structure.place(node.id) === node.id)
      addItem(structure, scopeIn(node, structure), `n${node.id}`, { node: node.id });
  }
  for (const edge of edgesOf(flag)) addEdge(structure, edge);
  for (const scope of structure.scopes.values()) joinWires(scope);
  return structure;
}

/* The scope that a node is drawn in: a network of neurons stands in one plane, as on the blackboard. */
function scopeIn(node, structure) {
  return page.style === "neurons" && structure.view === "forward" ? 0 : node.scope;
}

/* Whether a node has a box of its own in this view. */
function isBox(node, flag) {
  if (flag !== FORWARD) return true;
  return node.inside === undefined && node.into === undefined;
}

/* The node whose box holds this one. */
function holder(id) {
  let node = page.nodes[id];
  while (node.inside !== undefined || node.into !== undefined) node = page.nodes[node.inside ?? node.into];
  return node.id;
}

export function scopeContent(structure, id) {
  if (!structure.scopes.has(id)) {
    structure.scopes.set(id, {
      id,
      items: new Map(),
      wires: [],
      entries: new Map(),
      exits: new Map(),
      loops: 0,
    });
    if (id > 0) addItem(structure, page.scopes[id].parent, `s${id}`, { scope: id });
  }
  return structure.scopes.get(id);
}

function addItem(structure, scope, key, item) {
  const { items } = scopeContent(structure, scope);
  if (!items.has(key)) items.set(key, { key, ...item });
  return items.get(key);
}

/* A function from a node to the one drawn in its place: itself, or that of the shown member. */
function placesInRuns(flag) {
  const folded = page.runs.map((members) => page.scopes[members[0]].run).filter((run) => run.folded);
  if (!folded.length) return (id) => id;
  const within = new Map();
  for (const run of folded) for (const member of run.members) within.set(member, []);
  for (const node of page.nodes) {
    if (!(node.drawn & flag)) continue;
    for (let id = node.scope; id > 0; id = page.scopes[id].parent) within.get(id)?.push(node.id);
  }
  const counterpart = (id, member, run) => {
    const [from, to] = [within.get(member), within.get(run.shown)];
    if (from.length === to.length) return to[from.indexOf(id)];
    const [here, there] = [page.scopes[member].path, page.scopes[run.shown].path];
    return page.byName.get(page.nodes[id].name.replaceAll(`${here}.`, `${there}.`))?.id;
  };
  const known = new Map();
  const place = (id) => {
    if (known.has(id)) return known.get(id);
    let found = id;
    for (const scope of scopeChain(page.nodes[id].scope)) {
      const { run } = page.scopes[scope];
      if (run?.folded && run.shown !== scope) {
        const next = counterpart(id, scope, run);
        found = next === undefined ? undefined : place(next);
        break;
      }
    }
    known.set(id, found);
    return found;
  };
  return place;
}

/* {value, target, up, label}: from the box of a head to the box of its tail, copies included. */
function* edgesOf(flag) {
  for (const tail of page.nodes) {
    if (!(tail.drawn & flag)) continue;
    for (const id of new Set(tail.heads)) {
      const head = page.nodes[id];
      if (!(head.drawn & flag)) continue;
      if (flag !== FORWARD) yield { value: id, target: tail.id, up: flag === BACKWARD };
      else if (tail.weight !== id) {
        const value = holder(id);
        const target = holder(tail.id);
        if (value !== target && head.inside === undefined) {
          yield { value, target, up: false, label: tail.weightLabel, weight: tail.weight };
        }
      }
    }
  }
}

function addEdge(structure, edge) {
  const [head, tail] = [page.nodes[edge.value], page.nodes[edge.target]];
  const value = structure.place(edge.value);
  const target = structure.place(edge.target);
  if (value === undefined || target === undefined || crossesRun(head, tail)) return;
  const [from, to] = [page.nodes[value], page.nodes[target]];
  const forward = structure.view === "forward";
  if (forward && from.shared && (from.scope !== to.scope || !from.heads.length)) {
    const copy = addItem(structure, to.scope, `c${value}`, { node: value, copy: true });
    addWire(structure, to.scope, edge, value, copy.key, `n${target}`, target);
    return;
  }
  const [above, below] = [from, to].map((node) => scopeChain(scopeIn(node, structure)));
  let common = 0;
  while (common < above.length && above[common] === below[common]) common += 1;
  const scope = common ? above[common - 1] : 0;
  const itemFrom = above.length > common ? `s${above[common]}` : `n${value}`;
  const itemTo = below.length > common ? `s${below[common]}` : `n${target}`;
  addWire(structure, scope, edge, value, itemFrom, itemTo, target);
  for (let at = common; at < above.length; at += 1) {
    const item = at + 1 < above.length ? `s${above[at + 1]}` : `n${value}`;
    const content = scopeContent(structure, above[at]);
    content.exits.set(value, edge.up);
    addWire(structure, above[at], edge, value, item, `o${value}`, target);
  }
  for (let at = common; at < below.length; at += 1) {
    const item = at + 1 < below.length ? `s${below[at + 1]}` : `n${target}`;
    const content = scopeContent(structure, below[at]);
    content.entries.set(value, edge.up);
    addWire(structure, below[at], edge, value, `i${value}`, item, target);
  }
}

/* Whether the edge leads from one member of a folded run to another. */
function crossesRun(head, tail) {
  for (const id of scopeChain(head.scope)) {
    const { run, depth } = page.scopes[id];
    if (!run?.folded) continue;
    const other = scopeChain(tail.scope)[depth - 1];
    if (other !== undefined && other !== id && page.scopes[other].run === run) return true;
  }
  return false;
}

function addWire(structure, scope, edge, value, from, to, target) {
  const content = scopeContent(structure, scope);
  content.wires.push({
    value,
    from,
    to,
    target,
    up: Boolean(edge.up),
    label: edge.label,
    weight: edge.weight,
  });
}

/* Wires of one beginning and one value as one; so are several values of a scope with equal ends. */
export function joinWires(content) {
  const byValue = new Map();
  for (const wire of content.wires) {
    const key = `${wire.from} ${wire.value} ${wire.up}`;
    if (!byValue.has(key))
      byValue.set(key, { from: wire.from, up: wire.up, values: [wire.value], ends: new Map() });
    const ends = byValue.get(key).ends;
    if (!ends.has(wire.to)) ends.set(wire.to, { pairs: [], label: wire.label, weight: wire.weight });
    ends.get(wire.to).pairs.push([wire.value, wire.target]);
  }
  const joined = new Map();
  for (const [key, wire] of byValue) {
    const same =
      wire.from[0] === "s" ? `${wire.from} ${wire.up} ${[...wire.ends.keys()].sort().join(" ")}` : key;
    const known = joined.get(same);
    if (!known) joined.set(same, wire);
    else {
      known.values.push(...wire.values);
      for (const [to, end] of wire.ends) known.ends.get(to).pairs.push(...end.pairs);
    }
  }
  content.wires = [...joined.values()];
}

/* The node whose box shows this one, were all scopes open, or null: its own, its holder's; among
values that of its owner, among deltas that of its delta, among updates that of its next value. */
function boxOf(structure, id) {
  const node = page.nodes[id];
  const flag = flagOf(structure.view);
  let shown = id;
  if (flag === FORWARD && node.part !== "forward") shown = node.owner;
  else if (flag === BACKWARD && node.part === "forward") shown = node.delta;
  else if (flag === UPDATE && node.part !== "update") shown = page.nextValue.get(node.owner ?? id) ?? null;
  if (shown === null) return null;
  const box = flag === FORWARD ? holder(shown) : shown;
  return page.nodes[box].drawn & flag ? (structure.place(box) ?? null) : null;
}
