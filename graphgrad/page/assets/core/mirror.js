/* Draws the mirrored half: each delta at the height of its value, and lines for values it needs. */

import { PADDING, TITLE } from "./arrange.js";
import { titleWidth } from "./boxes.js";
import { bytesText, plural, svg } from "./elements.js";
import { page } from "./model.js";
import { state, visibleKey } from "./state.js";
import { FORWARD } from "./structure.js";

const MIRROR_GAP = 124; // between the values and their mirrored half
const LABEL_ROOM = 118; // for the text of a bundle

/* The deltas at the right, mirrored, at the height of their values; below, where values flow right. They
begin beside the last value, however far inside the first value with a delta is. */
export function reflect(frames) {
  const values = [...state.boxes.values()].filter((box) => hasDelta(box.item));
  const shift = state.height + MIRROR_GAP - Math.min(...values.map((box) => box.y));
  const twice = state.width + MIRROR_GAP + Math.max(...values.map((box) => box.x + box.width));
  const turn = (box) => (state.across ? { ...box, y: box.y + shift } : { ...box, x: twice - box.x - box.width });
  for (const box of values) {
    const other = { ...turn(box), key: `${box.key}δ`, side: "delta" };
    state.boxes.set(other.key, other);
    if (box.open) frames.push(other);
  }
  tighten(frames.filter((frame) => frame.side === "delta"));
  for (const segment of [...state.segments]) {
    const pairs = segment.pairs.filter(([value, target]) => sendsBack(value, target));
    if (!pairs.length) continue;
    const points = segment.points.map(([x, y]) => (state.across ? [x, y + shift] : [twice - x, y]));
    state.segments.push({
      ...segment,
      key: `${segment.key}δ`,
      pairs,
      points: points.reverse(),
      kind: "delta",
      mirrored: true,
      label: factorOf(pairs, segment),
      arrow: !segment.passes,
    });
  }
  for (const segment of state.segments)
    for (const [x, y] of segment.points) grow(x, y);
  for (const box of state.boxes.values()) grow(box.x + box.width, box.y + box.height);
  state.segments.push(...savedLines());
}

function grow(x, y) {
  state.width = Math.max(state.width, x);
  state.height = Math.max(state.height, y);
}

/* The label of a line of deltas: the factor of its only delta. */
function factorOf(pairs, segment) {
  return pairs.length === 1 && !segment.passes ? page.factors.get(pairs[0].join(" ")) : undefined;
}

/* Shrinks the frames of deltas to their content: many values have no delta. */
function tighten(frames) {
  const [start, size] = state.across ? ["y", "height"] : ["x", "width"];
  const margin = state.across ? TITLE : PADDING;
  for (const frame of frames.reverse()) {
    let least = Infinity;
    let most = -Infinity;
    for (const box of state.boxes.values()) {
      if (box.side !== "delta" || box.scope !== frame.item.scope) continue;
      least = Math.min(least, box[start]);
      most = Math.max(most, box[start] + box[size]);
    }
    if (least === Infinity) continue;
    const title = state.across
      ? 0
      : Math.max(0, titleWidth(page.scopes[frame.item.scope]) - (most - least) - 2 * margin);
    frame[start] = least - margin;
    frame[size] = most - least + 2 * margin + title;
  }
}

function hasDelta(item) {
  if (item.scope === undefined) {
    const node = page.nodes[item.node];
    return node.delta !== null && node.kind !== "input";
  }
  const scope = page.scopes[item.scope];
  if (scope.hasDelta === undefined) {
    scope.hasDelta =
      scope.nodes.some((id) => page.nodes[id].delta !== null && page.nodes[id].kind !== "input") ||
      scope.scopes.some((id) => hasDelta({ scope: id }));
  }
  return scope.hasDelta;
}

function sendsBack(value, target) {
  const [from, to] = [page.nodes[value], page.nodes[target]];
  return from.delta !== null && to.delta !== null && from.kind !== "input";
}

/* The values that deltas need: lines across, with the bytes that have to be stored. */
function savedLines() {
  const found = new Map();
  for (const { value, owner } of savedValues()) {
    const from = visibleKey(value);
    const to = visibleKey(owner);
    if (from === null || to === null || !state.boxes.has(`${to}δ`)) continue;
    const key = `${from} ${to}`;
    if (!found.has(key)) found.set(key, { from, to, values: new Set(), pairs: [] });
    found.get(key).values.add(value);
    found.get(key).pairs.push([value, owner]);
  }
  return [...found.values()].map(({ from, to, values, pairs }) => {
    const [left, right] = [state.boxes.get(from), state.boxes.get(`${to}δ`)];
    const bytes = [...values].reduce((sum, id) => sum + page.nodes[id].bytes(), 0);
    const points = state.across
      ? [
          [left.x + left.width / 2, left.y + left.height],
          [right.x + right.width / 2, right.y],
        ]
      : [
          [left.x + left.width, left.y + left.height / 2],
          [right.x, right.y + right.height / 2],
        ];
    const level = from === to;
    return {
      key: `saved ${from} ${to}`,
      kind: "saved",
      from,
      to,
      points,
      pairs,
      sideways: !state.across,
      level,
      bytes,
      count: values.size,
    };
  });
}

/* The text of a bundle of saved values, which opens it (bundle.js), where there is room for it: those that
lead to the other half at one height first. Returns [segment, text, place]. */
export function savedLabels() {
  const taken = [];
  const found = [];
  const saved = state.segments.filter(({ kind }) => kind === "saved");
  const boxes = [...state.boxes.values()].filter((box) => !box.open);
  for (const segment of [...saved.filter(({ level }) => level), ...saved.filter(({ level }) => !level)]) {
    const [[x, y], [endX, endY]] = [segment.points[0], segment.points.at(-1)];
    const height = (y + endY) / 2;
    const over = (box, at) => at + LABEL_ROOM / 2 > box.x && at - LABEL_ROOM / 2 < box.x + box.width && height + 4 > box.y && height - 16 < box.y + box.height;
    let middle = (x + endX) / 2;
    const blocking = boxes.filter((box) => over(box, middle));
    if (segment.level && blocking.length) // beside the boxes that the line passes behind
      middle = Math.min(endX - LABEL_ROOM / 2, Math.max(...blocking.map((box) => box.x + box.width)) + LABEL_ROOM / 2 + 4);
    const crowded =
      taken.some(([a, b]) => Math.abs(a - middle) < LABEL_ROOM && Math.abs(b - height) < 15) ||
      boxes.some((box) => over(box, middle));
    if (crowded || state.across) continue;
    taken.push([middle, height]);
    found.push([segment, savedLabel(segment), [middle, height - 4]]);
  }
  return found;
}

function savedLabel({ key, from, to, count, bytes }) {
  const text = count > 1 ? `${plural(count, "value")}, ${bytesText(bytes)}` : bytesText(bytes);
  return svg(
    "text",
    {
      class: "line-label saved-label",
      id: `bundle-${from}-${to}`,
      role: "button",
      "aria-expanded": "false",
      "aria-label": `${plural(count, "saved value")}, ${bytesText(bytes)}`,
      "data-bundle": key,
    },
    svg("tspan", { class: "chevron" }, "▸ "),
    text,
  );
}

/* {value, owner}: the values that the delta of a node, a contribution to it or a step of its rule needs. */
export function savedValues() {
  if (!page.saved) {
    const seen = new Set();
    page.saved = [];
    for (const node of page.nodes) {
      if (node.part !== "delta" || node.owner === null) continue;
      for (const value of node.heads) {
        const head = page.nodes[value];
        const kept =
          head.part === "forward" &&
          head.drawn & FORWARD &&
          !["parameter", "input", "known", "state"].includes(head.kind);
        if (kept && !seen.has(`${value} ${node.owner}`)) {
          seen.add(`${value} ${node.owner}`);
          page.saved.push({ value, owner: node.owner });
        }
      }
    }
  }
  return page.saved;
}
