/* Draws open scopes, lines above them, and boxes on top. Elements are reused in the next drawing, so
opening a scope makes only the new ones. */

import { arrangeScope } from "./arrange.js";
import { LABEL_LIMIT, boxClasses, boxElements, boxTexts, boxWords } from "./boxes.js";
import { shorten, svg, visible } from "./elements.js";
import { announceEvent } from "./events.js";
import { reflect, savedLabels } from "./mirror.js";
import { page, scopeTitle } from "./model.js";
import { mirrors, state } from "./state.js";

export let canvas = null;
export const layers = {};
const drawn = new Map();

export function makeCanvas() {
  const marker = svg(
    "marker",
    {
      id: "arrow",
      viewBox: "0 0 8 8",
      refX: 7,
      refY: 4,
      markerWidth: 7,
      markerHeight: 7,
      orient: "auto-start-reverse",
      markerUnits: "userSpaceOnUse",
    },
    svg("path", { d: "M0.5 1L7.5 4L0.5 7L2.2 4Z", fill: "context-stroke" }),
  );
  for (const name of ["scopes", "saved", "wires", "boxes", "labels"])
    layers[name] = svg("g", { class: `layer-${name}` });
  layers.world = svg("g", { class: "world" }, Object.values(layers));
  canvas = svg(
    "svg",
    {
      id: "canvas",
      role: "application",
      tabindex: 0,
      "aria-label": "the drawing of the graph",
      "aria-roledescription":
        "graph: arrow keys go along heads and tails, Enter opens, question mark for help",
    },
    svg("defs", {}, marker),
    layers.world,
  );
  return canvas;
}

export function draw() {
  const root = arrangeScope(state.structure, 0);
  state.boxes = new Map();
  state.copies = new Map();
  state.segments = [];
  const frames = [];
  collect(root, 0, 0, frames);
  [state.width, state.height] = [root.width, root.height];
  if (mirrors()) reflect(frames);
  show(frames);
  announceEvent("draw");
}

/* Places of the whole picture from those of its scopes. */
function collect(arranged, x, y, frames) {
  const at = state.across ? (u, v) => [x + v, y + u] : (u, v) => [x + u, y + v];
  for (const box of arranged.items) {
    const [left, top] = at(box.u, box.v);
    const key = box.item.copy ? `${box.item.key}@${arranged.id}` : box.item.key;
    const placed = {
      key,
      item: box.item,
      x: left,
      y: top,
      width: box.width,
      height: box.height,
      open: Boolean(box.inner),
      side: "value",
      scope: arranged.id,
    };
    state.boxes.set(key, placed);
    if (box.item.copy && !state.copies.has(box.item.node)) state.copies.set(box.item.node, key);
    if (box.inner) {
      frames.push(placed);
      collect(box.inner, left, top, frames);
    }
  }
  arranged.paths.forEach((path, number) => {
    const points = path.points.map(([u, v]) => at(u, v));
    state.segments.push({
      ...path,
      key: `${arranged.id}/${number}`,
      points,
      kind: path.up ? "delta" : "value",
    });
  });
}

/* A line through its points that leaves and enters along the flow. */
function pathText(segment) {
  const { points } = segment;
  const sideways = segment.sideways ?? state.across;
  const direct = state.across && points.length === 2;
  const f = (number) => Math.round(number * 10) / 10;
  let text = `M${f(points[0][0])} ${f(points[0][1])}`;
  for (let at = 1; at < points.length; at += 1) {
    const [[x, y], [nextX, nextY]] = [points[at - 1], points[at]];
    const straight = sideways ? y === nextY : x === nextX;
    if (straight || direct) text += `L${f(nextX)} ${f(nextY)}`;
    else if (sideways)
      text += `C${f((x + nextX) / 2)} ${f(y)} ${f((x + nextX) / 2)} ${f(nextY)} ${f(nextX)} ${f(nextY)}`;
    else text += `C${f(x)} ${f((y + nextY) / 2)} ${f(nextX)} ${f((y + nextY) / 2)} ${f(nextX)} ${f(nextY)}`;
  }
  return text;
}

/* Puts the collected places into elements, reusing those of the drawing before. */
function show(frames) {
  const kept = new Set();
  const place = (key, layer, make, update) => {
    let made = drawn.get(key);
    if (!made) {
      made = make();
      drawn.set(key, made);
    }
    if (made.parentNode !== layer) layer.append(made);
    update(made);
    kept.add(key);
    return made;
  };
  for (const frame of frames) {
    frame.element = place(
      `frame ${frame.key} ${frameMark(frame)}`,
      layers.scopes,
      () => frameElement(frame),
      (made) => {
        change(made, "transform", `translate(${Math.round(frame.x)} ${Math.round(frame.y)})`);
        for (const child of made.querySelectorAll(".frame, .outline")) {
          change(child, "width", frame.width);
          change(child, "height", frame.height);
        }
      },
    );
  }
  for (const box of state.boxes.values()) {
    if (box.open) continue;
    box.element = place(
      `box ${box.key} ${boxMark(box)}`,
      layers.boxes,
      () => boxElement(box),
      (made) => change(made, "transform", `translate(${Math.round(box.x)} ${Math.round(box.y)})`),
    );
  }
  for (const segment of state.segments) {
    const layer = segment.kind === "saved" ? layers.saved : layers.wires;
    segment.element = place(
      `wire ${segment.key} ${segment.kind}`,
      layer,
      () => svg("path", { class: `wire wire-${segment.kind}` }),
      (made) => {
        change(made, "d", pathText(segment));
        made.classList.toggle("arrow", Boolean(segment.arrow));
      },
    );
  }
  drawLabels(place);
  for (const [key, made] of drawn) {
    if (!kept.has(key)) {
      made.remove();
      drawn.delete(key);
    }
  }
  inOrder(
    layers.scopes,
    frames.map((frame) => frame.element),
  );
}

/* Sets an attribute that has changed: to set one again would have it laid out again. */
function change(made, name, value) {
  if (made.getAttribute(name) !== String(value)) made.setAttribute(name, value);
}

/* Moves only the children that are out of order: outer scopes lie below inner ones. */
function inOrder(parent, children) {
  let next = parent.firstChild;
  for (const child of children) {
    if (child === next) next = next.nextSibling;
    else parent.insertBefore(child, next);
  }
}

/* What makes an element of a box another one: its size and the state of its run. */
function boxMark({ item, width, height }) {
  return `${state.view} ${width} ${height} ${boxTexts(item).label} ${boxTexts(item).badge}`;
}

function frameMark(frame) {
  const { run } = page.scopes[frame.item.scope];
  return run ? `${run.folded} ${run.shown}` : "";
}

function boxElement(box) {
  return svg(
    "g",
    {
      class: boxClasses(box.item, box.side),
      "data-key": box.key,
      "data-name": nameOfBox(box),
      "data-side": box.side,
      role: "img",
      id: `box-${box.key}`,
      "aria-label": boxWords(box.item, box.side),
    },
    svg("title", {}, boxWords(box.item, box.side)),
    boxElements(box, box.side),
  );
}

function nameOfBox({ item }) {
  return item.scope === undefined ? page.nodes[item.node].name : page.scopes[item.scope].path;
}

/* An open scope: a frame with its title, which closes it, and the members of its run. */
function frameElement(frame) {
  const scope = page.scopes[frame.item.scope];
  const { run } = scope;
  const shade = Math.min(scope.depth, 4);
  const made = svg("g", {
    class: `open-scope shade-${shade}${frame.side === "delta" ? " side-delta" : ""}`,
    "data-key": frame.key,
    "data-name": nameOfBox(frame),
    "data-side": frame.side,
  });
  if (run?.folded) made.append(svg("rect", { class: "outline", x: 4, y: 4, rx: 11 }));
  made.append(svg("rect", { class: "frame", rx: 11 }));
  const title = visible(shorten(scopeTitle(scope), LABEL_LIMIT));
  const text = svg(
    "text",
    { class: "scope-title", x: 12, y: 18 },
    svg("tspan", { class: "chevron" }, "▾ "),
    frame.side === "delta" ? "δ " : "",
    title,
  );
  if (run?.folded) text.append(svg("tspan", { class: "badge" }, `  ×${run.members.length}`));
  made.append(svg("title", {}, boxWords(frame.item, frame.side)), text);
  return made;
}

/* Weights and factors on lines; the bytes of saved values. */
function drawLabels(place) {
  for (const segment of state.segments) {
    if (!segment.label) continue;
    const label = lineLabel(segment);
    const [[x, y], [endX, endY]] = [segment.points[0], segment.points.at(-1)];
    const share = segment.weight !== undefined ? 0.74 : 0.5; // where lines fan out
    const spot = [x + share * (endX - x), y + share * (endY - y)];
    placeLabel(segment, label, [spot[0], spot[1] - 3]);
  }
  for (const [segment, label, spot] of savedLabels()) placeLabel(segment, label, spot);

  function placeLabel(segment, label, [x, y]) {
    place(
      `label ${segment.key} ${label.textContent}`,
      layers.labels,
      () => label,
      (made) => {
        change(made, "x", Math.round(x));
        change(made, "y", Math.round(y));
      },
    );
  }
}

/* A weight, or what δ is multiplied by on its way back. */
function lineLabel(segment) {
  const [text, index] = segment.label;
  const made = segment.mirrored
    ? svg("text", { class: "line-label factor" }, visible(shorten(text.replaceAll("\n", " "), 100)))
    : svg(
        "text",
        { class: "line-label weight", "data-node": segment.weight },
        visible(shorten(text, 16)),
      );
  if (index) made.append(svg("tspan", { class: "index", dy: 3 }, visible(shorten(index, 16))));
  return made;
}
