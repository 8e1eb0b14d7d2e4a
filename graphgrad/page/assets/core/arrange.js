/* Places for everything that is open: each scope is laid out by itself, then set into its parent.

Rows and orders of a scope do not depend on what is open, so they are found once; only the places
along the rows are found again when a box grows, in that scope and the ones around it.

    arranged scope   {width, height, items: [{item, x, y, width, height, inner}], paths: [{points,
                     pairs, up, end, label, weight}], entries, exits: Map(value -> x)}

All is in the direction of the flow, downward; a drawing that flows to the right swaps x and y. */

import { boxSize, titleWidth } from "./boxes.js";
import { GAP, coordinates } from "./coordinates.js";
import { layer } from "./layering.js";
import { page } from "./model.js";
import { mirrors, state } from "./state.js";
import { scopeContent } from "./structure.js";

export const PADDING = 14;
export const TITLE = 26;
const ROW_GAP = 20;

export function arrangeScope(structure, id) {
  const known = state.arranged.get(id);
  if (known) return known;
  const content = structure.scopes.get(id) ?? scopeContent(structure, id);
  const layered = layeredScope(content);
  const inner = layered.items.map((item) =>
    item.scope !== undefined && state.open.has(item.scope) ? arrangeScope(structure, item.scope) : null,
  );
  const sizes = layered.items.map((item, at) => {
    if (item.port) return [0, 0];
    return inner[at] ? [inner[at].width, inner[at].height] : boxSize(item);
  });
  const made = placeScope(layered, sizes, inner, id);
  state.arranged.set(id, made);
  return made;
}

/* Ranks and orders of a scope, found once: items with numbers, and ports for what comes and goes. */
function layeredScope(content) {
  if (content.layered) return content.layered;
  const items = [...content.items.values()];
  const numbers = new Map(items.map((item, number) => [item.key, number]));
  const ends = { first: [], last: [] };
  for (const [values, mark, row] of [
    [content.entries, "i", "first"],
    [content.exits, "o", "last"],
  ]) {
    for (const [value, up] of values) {
      const key = `${mark}${value}`;
      const side = up ? (row === "first" ? "last" : "first") : row;
      numbers.set(key, items.length);
      ends[side].push(items.length);
      items.push({ key, port: true, value, side });
    }
  }
  const wires = content.wires
    .map((wire) => ({
      ...wire,
      from: numbers.get(wire.from),
      to: [...wire.ends.keys()].map((key) => numbers.get(key)),
      ends: [...wire.ends.values()],
    }))
    .filter((wire) => wire.from !== undefined && !wire.to.includes(undefined));
  content.layered = { items, wires, graph: layer(items.length, wires, ends) };
  return content.layered;
}

function placeScope({ items, wires, graph }, sizes, inner, id) {
  const across = state.across ? 1 : 0;
  const side = (number) => sizes[number][across];
  const deep = (number) => sizes[number][1 - across];
  const portOf = (number, wire, start) => portShift(wires[wire], number, start, inner, side);
  const { x, width } = coordinates(graph, side, state.across ? 44 : GAP, portOf);
  const titled = id !== 0 || state.titled;
  const [left, top] = state.across
    ? [titled ? TITLE : 0, titled ? PADDING : 0]
    : [titled ? PADDING : 0, titled ? TITLE : 0];
  const rows = rowPlaces(graph, items, wires, deep, top + (titled ? 4 : 0));
  const made = {
    id,
    items: [],
    paths: [],
    entries: new Map(),
    exits: new Map(),
    rows,
    breadth: width + left + (titled ? PADDING : 0),
    depth: rows.end + (titled ? PADDING : 0),
  };
  const minimum = titled ? titleWidth(page.scopes[id]) : 0;
  const slack = Math.max(0, (state.across ? 0 : minimum) - made.breadth);
  made.breadth += slack;
  const middle = (number) => x[number] + left + slack / 2;
  items.forEach((item, number) => {
    const row = graph.rank[number];
    if (item.port) {
      const where = item.side === "first" ? made.entries : made.exits;
      where.set(item.value, middle(number));
      return;
    }
    const start = rows.start[row] + (rows.size[row] - deep(number)) * leaning(graph, number);
    const box = {
      item,
      u: middle(number) - side(number) / 2,
      v: start,
      breadth: side(number),
      depth: deep(number),
      inner: inner[number],
    };
    box.width = state.across ? box.depth : box.breadth;
    box.height = state.across ? box.breadth : box.depth;
    made.items[number] = box;
  });
  made.paths = wires.flatMap((wire, number) =>
    wirePaths(wire, graph, graph.chains[number], made, items, middle),
  );
  made.items = made.items.filter(Boolean);
  [made.width, made.height] = state.across ? [made.depth, made.breadth] : [made.breadth, made.depth];
  return made;
}

/* A small item of a tall row stands near what it is connected with: at its top, bottom or middle. */
function leaning({ up, down }, number) {
  if (up[number].length && !down[number].length) return 0;
  return down[number].length && !up[number].length ? 1 : 0.5;
}

/* Where each row begins; rows with many lines between them stand further apart. */
function rowPlaces(graph, items, wires, deep, top) {
  const count = graph.rows.length;
  const size = new Array(count).fill(0);
  for (const number of items.keys())
    size[graph.rank[number]] = Math.max(size[graph.rank[number]], deep(number));
  const busy = new Array(count + 1).fill(0);
  for (const [one, other] of graph.links) busy[Math.max(graph.slots[one].rank, graph.slots[other].rank)] += 1;
  const labelled = new Set();
  for (const wire of wires) {
    if (wire.ends.some(bearsText)) for (const to of wire.to) labelled.add(graph.rank[to]);
  }
  const onlyPorts = (row) => graph.rows[row].length > 0 && graph.rows[row].every((id) => items[id]?.port);
  const start = [];
  let at = top;
  for (let row = 0; row < count; row += 1) {
    const free = row === 0 || onlyPorts(row) || (row === 1 && onlyPorts(0));
    if (!free)
      at += labelled.has(row)
        ? 150
        : state.across
          ? 40
          : ROW_GAP + Math.min(30, 1.2 * Math.max(0, busy[row] - 3));
    start.push(at);
    at += size[row];
  }
  if (count && onlyPorts(0)) start[0] = 0;
  return { start, size, end: at };
}

/* Whether a weight stands at the line, or at its mirror a factor that needs the room between rows. */
function bearsText({ label, pairs }) {
  return label || (state.across && mirrors() && pairs.some((pair) => page.factors.has(pair.join(" "))));
}

/* One path for each end of a wire: a list of points [u, v], straight through the rows it passes. */
function wirePaths(wire, graph, chain, made, items, middle) {
  const { rank } = graph;
  const from = items[wire.from];
  return wire.to.flatMap((to, number) => {
    const end = wire.ends[number];
    const groups = new Map();
    for (const pair of end.pairs) {
      const start = portPlace(made, wire.from, pair[0], "exits", middle, wire.up);
      const stop = portPlace(made, to, pair[0], "entries", middle, wire.up);
      const key = `${start} ${stop}`;
      if (!groups.has(key)) groups.set(key, { start, stop, pairs: [] });
      groups.get(key).pairs.push(pair);
    }
    return [...groups.values()].map(({ start, stop, pairs }) => {
      const downward = rank[to] >= rank[wire.from];
      const points = [[start, edgeOf(made, items, wire.from, downward)]];
      const step = downward ? 1 : -1;
      for (
        let row = rank[wire.from] + step;
        row !== rank[to] && row >= 0 && row < graph.rows.length;
        row += step
      ) {
        const bend = chain.get(row);
        if (bend === undefined) continue;
        const [low, high] = [made.rows.start[row], made.rows.start[row] + made.rows.size[row]];
        points.push([middle(bend), downward ? low : high], [middle(bend), downward ? high : low]);
      }
      points.push([stop, edgeOf(made, items, to, !downward)]);
      const arrow = !items[to].port && !made.items[to]?.inner;
      return {
        points,
        pairs,
        up: wire.up,
        arrow,
        label: end.label,
        weight: end.weight,
        passes: Boolean(from.port || made.items[wire.from]?.inner),
      };
    });
  });
}

/* How far from the middle of an open item a wire begins or ends. */
function portShift(wire, number, start, inner, side) {
  if (!inner[number]) return 0;
  const end = start ? wire.ends[0] : wire.ends[wire.to.indexOf(number)];
  const ports = start === !wire.up ? inner[number].exits : inner[number].entries;
  const port = end && ports.get(end.pairs[0][0]);
  return port === undefined ? 0 : port - side(number) / 2;
}

/* Where along the row a value leaves or enters an item: at its port, where the item is open. */
function portPlace(made, number, value, which, middle, up) {
  const box = made.items[number];
  if (!box?.inner) return middle(number);
  const ports = up ? (which === "exits" ? "entries" : "exits") : which;
  const port = box.inner[ports].get(value);
  return port === undefined ? middle(number) : box.u + port;
}

function edgeOf(made, items, number, lower) {
  const item = items[number];
  if (item.port) return item.side === "first" ? 0 : made.depth;
  const box = made.items[number];
  return lower ? box.v + box.depth : box.v;
}
