/* Saved values as bundles: a line of the mirror view stands for all values of one box that the deltas of
another need. A click on the line or its text, or the key s, opens it: the side panel lists the values
with their shapes and bytes, the line is lit. The same again, or Escape, closes it. */

import { camera } from "./camera.js";
import { facts, linkTo, section } from "./detail_parts.js";
import { canvas } from "./drawing.js";
import { bytesText, countText, element, plural, shorten, visible } from "./elements.js";
import { notify } from "./messages.js";
import { savedValues } from "./mirror.js";
import { page, scopeChain, shapeText, shortName } from "./model.js";
import { afterSelection, selectNode, selectNothing, selectScope } from "./selection.js";
import { mirrors, state } from "./state.js";

const NEAR = 8; // pixels from a line within which a click is on it
const MOST_SAVED = 300;
const SAMPLES = 32;

/* The bundles of the drawing, from the top to the bottom; of one box, that to its own deltas first. */
function bundles() {
  const found = state.segments.filter((segment) => segment.kind === "saved");
  const rank = (segment) => [segment.points[0][1], segment.level ? 0 : 1, segment.points.at(-1)[1]];
  return found.sort((one, other) => {
    const [a, b] = [rank(one), rank(other)];
    return a[0] - b[0] || a[1] - b[1] || a[2] - b[2];
  });
}

function openBundle({ key, from, to, pairs }) {
  openValues(key, [boxName(from), boxName(to)], pairs);
}

function openValues(key, names, pairs) {
  const before = state.selected?.bundle ? state.selected.bundle.before : state.selected;
  const values = [...new Set(pairs.map(([value]) => value))];
  state.selected = { bundle: { key, names, values, pairs, before } };
  state.path = null;
  const bytes = values.reduce((sum, id) => sum + page.nodes[id].bytes(), 0);
  afterSelection(`${plural(values.length, "saved value")}, ${bytesText(bytes)}, open`, true);
}

/* Selects what was selected before the bundle was opened. */
export function closeBundle() {
  const { before } = state.selected.bundle;
  if (before?.node) selectNode(before.node, { move: false });
  else if (before?.scope) selectScope(before.scope.id);
  else selectNothing();
}

export function toggleBundle(key) {
  if (state.selected?.bundle?.key === key) return closeBundle();
  const segment = bundles().find((item) => item.key === key);
  if (segment) openBundle(segment);
  return undefined;
}

/* The key s: the bundles of the selected box one after the other, else all, and then none. */
export function nextBundle() {
  if (!mirrors()) return notify("The mirror view draws the values that deltas need: press v.");
  const { selected } = state;
  const opened = selected?.bundle;
  const box = opened ? opened.before : selected;
  const known = bundles().filter((segment) => !box || segment.pairs.some((ends) => ends.some((id) => isIn(id, box))));
  if (!known.length) return notify(box ? "No delta needs a value of this box, and its delta needs none." : "No value is saved.");
  const next = known[known.findIndex((segment) => segment.key === opened?.key) + 1];
  return next ? openBundle(next) : closeBundle();
}

/* Whether a node is in the selected scope, or in the box of the selected node. */
function isIn(id, { scope, node }) {
  if (scope) return scopeChain(page.nodes[id].scope).includes(scope.id);
  return state.structure.boxOf(id) === state.structure.boxOf(node.id);
}

/* The bundle whose line is near a place on the screen, or null. */
export function bundleAt(event) {
  if (!mirrors()) return null;
  const bounds = canvas.getBoundingClientRect();
  const x = (event.clientX - bounds.left - camera.x) / camera.scale;
  const y = (event.clientY - bounds.top - camera.y) / camera.scale;
  let [best, least] = [null, NEAR / camera.scale];
  for (const segment of bundles()) {
    const far = distance(segment, x, y);
    if (far < least) [best, least] = [segment, far];
  }
  return best;
}

/* How far a point is from a saved line, which is drawn as a curve that begins and ends along the flow. */
function distance({ points, sideways }, x, y) {
  const [[fromX, fromY], [toX, toY]] = [points[0], points.at(-1)];
  let least = Infinity;
  for (let step = 0; step <= SAMPLES; step += 1) {
    const t = step / SAMPLES;
    const flow = t * t * t + 3 * t * t * (1 - t); // where both inner points are at the ends
    const even = 1.5 * t * (1 - t) + t * t * t; // where both are in the middle
    const [across, along] = sideways ? [even, flow] : [t, t];
    least = Math.min(least, Math.hypot(fromX + across * (toX - fromX) - x, fromY + along * (toY - fromY) - y));
  }
  return least;
}

/* Opens the bundle that an address names; its boxes may be other ones now, since their scopes are open. */
export function openNamedBundle(from, to) {
  const segment = bundles().find((item) => boxName(item.from) === from && boxName(item.to) === to);
  if (segment) return openBundle(segment);
  const pairs = savedValues().filter(({ value, owner }) => isOf(value, from) && isOf(owner, to)).map(({ value, owner }) => [value, owner]);
  if (pairs.length) return openValues(null, [from, to], pairs);
  return notify(`No value of ${visible(shorten(from, 60))} is saved for ${visible(shorten(String(to), 60))}.`);
}

/* Whether a node is in the scope, or in the box of the node, of this name. */
function isOf(id, name) {
  const box = state.structure.boxOf(id) ?? id;
  return page.nodes[box].name === name || scopeChain(page.nodes[id].scope).some((scope) => page.scopes[scope].path === name);
}

function boxName(key) {
  const { item } = state.boxes.get(key);
  return item.scope === undefined ? page.nodes[item.node].name : page.scopes[item.scope].path;
}

/* The side panel of a bundle: every value with its shape and bytes, and the deltas that need it. */
export function bundleDetails({ names, values, pairs }) {
  const nodes = values.map((id) => page.nodes[id]).sort((one, other) => other.bytes() - one.bytes());
  const bytes = nodes.reduce((sum, node) => sum + node.bytes(), 0);
  const scope = commonScope(nodes);
  const users = new Map(values.map((id) => [id, []]));
  for (const [value, owner] of pairs) users.get(value).push(owner);
  const [from, to] = names.map((name) => visible(shorten(name, 60)));
  const rows = nodes.slice(0, MOST_SAVED).map((node) =>
    element("tr", {}, element("th", { scope: "row" }, linkTo(node.id, scope), " ", element("code", {}, shapeText(node)),
        node.dtype === "float32" ? null : element("span", { class: "from" }, ` ${node.dtype}`), usersOf(users.get(node.id), scope)),
      element("td", { class: "number" }, bytesText(node.bytes()))),
  );
  const more = nodes.length - rows.length;
  return [
    element("header", { class: "node-head" }, element("p", { class: "kicker" }, "saved values"),
      element("h2", {}, `${plural(nodes.length, "value")}, ${bytesText(bytes)}`)),
    element("div", { class: "actions" },
      element("button", { type: "button", click: closeBundle }, "close", element("kbd", { "aria-hidden": "true" }, "Esc")),
      element("button", { type: "button", click: nextBundle }, "next", element("kbd", { "aria-hidden": "true" }, "s"))),
    element("p", { class: "from" }, "They stay in memory from the forward pass until the deltas that need them are computed."),
    facts([["values of", element("bdi", {}, from)], ["for deltas of", element("bdi", {}, to)]]),
    section("values", element("table", { class: "saved-values" },
      element("thead", {}, element("tr", {}, ["value and shape", "bytes"].map((text) => element("th", { scope: "col" }, text)))),
      element("tbody", {}, rows)), "part-saved"),
    more ? element("p", { class: "from" }, `and ${countText(more)} smaller ones`) : null,
  ];
}

function usersOf(owners, scope) {
  const texts = [...new Set(owners)].map((id) => `δ ${shortName(page.nodes[id], scope)}`);
  const shown = texts.slice(0, 3).map((text) => visible(shorten(text, 40))).join(", ");
  return element("small", { title: visible(shorten(texts.join(", "), 400)) }, `for ${shown}${texts.length > 3 ? ` and ${texts.length - 3} more` : ""}`);
}

/* The innermost scope around all nodes. */
function commonScope(nodes) {
  const chains = nodes.map((node) => scopeChain(node.scope));
  let depth = 0;
  while (chains.every((chain) => depth < chain.length && chain[depth] === chains[0][depth])) depth += 1;
  return depth ? chains[0][depth - 1] : 0;
}
