/* The neighbourhood of a node: a picture of the nodes around it, and the bar above that picture. */

import { fitView, moveTo } from "./camera.js";
import { append, bidi, element, plural, replaceChildren, shorten, visible } from "./elements.js";
import { describeNode, page } from "./model.js";
import { afterSelection } from "./selection.js";
import { state, visibleKey } from "./state.js";
import { joinWires } from "./structure.js";
import { closeNeighbourhood, reveal, showView } from "./view.js";

const MOST_IN_FOCUS = 120;
const HUB = 10;

/* The nodes within a radius of a node over heads and tails, the nearest first; numbers are left out,
and what many nodes use (a mask, a constant) is shown but not gone through. */
function neighbourhood(id, radius, deltas) {
  const wanted = (node) => node.value === undefined && (deltas || node.part === page.nodes[id].part);
  const distance = new Map([[id, 0]]);
  const queue = [id];
  for (let at = 0; at < queue.length && queue.length < MOST_IN_FOCUS; at += 1) {
    const here = page.nodes[queue[at]];
    if (distance.get(here.id) === radius) continue;
    const through = here.id === id || here.tails.length <= HUB;
    for (const next of [...here.heads, ...(through ? here.tails : [])]) {
      if (wanted(page.nodes[next]) && !distance.has(next) && queue.length < MOST_IN_FOCUS) {
        distance.set(next, distance.get(here.id) + 1);
        queue.push(next);
      }
    }
  }
  return queue;
}

export function enterFocus(
  id,
  radius = state.focus?.radius ?? 2,
  deltas = state.focus?.deltas ?? page.nodes[id].part !== "forward",
) {
  const ids = neighbourhood(id, radius, deltas);
  const inside = new Set(ids);
  const content = { id: 0, items: new Map(), wires: [], entries: new Map(), exits: new Map() };
  for (const node of [...inside].sort((a, b) => a - b))
    content.items.set(`n${node}`, { key: `n${node}`, node, flat: true });
  for (const tail of inside) {
    for (const head of new Set(page.nodes[tail].heads)) {
      if (inside.has(head))
        content.wires.push({ value: head, from: `n${head}`, to: `n${tail}`, target: tail, up: false });
    }
  }
  joinWires(content);
  const structure = {
    view: "focus",
    scopes: new Map([[0, content]]),
    boxOf: (other) => (inside.has(other) ? other : null),
  };
  state.focus = { node: id, radius, deltas, structure, full: ids.length >= MOST_IN_FOCUS };
  state.selected = { node: page.nodes[id] };
  state.path = null;
  showView();
  afterSelection(
    `neighbourhood of ${visible(shorten(page.nodes[id].name, 80))}: ${plural(ids.length, "node")}`,
    true,
  );
}

export function leaveFocus() {
  if (!state.focus) return;
  const { node } = state.focus;
  closeNeighbourhood();
  reveal(node);
  fitView();
  moveTo(visibleKey(node));
  afterSelection(describeNode(page.nodes[node]), true);
}

export function showFocusBar() {
  const bar = document.getElementById("focus-bar");
  replaceChildren(bar);
  bar.hidden = !state.focus;
  for (const part of bar.parentElement.querySelectorAll(".views, .colour, #key"))
    /** @type {HTMLElement} */ (part).hidden = Boolean(state.focus);
  if (!state.focus) return;
  const { node, radius, full, deltas } = state.focus;
  append(bar, [
    element("span", {}, "neighbourhood of ", element("strong", {}, bidi(page.nodes[node].name, 44))),
    element(
      "button",
      {
        type: "button",
        "aria-label": "smaller radius",
        disabled: radius <= 1,
        click: () => enterFocus(node, radius - 1),
      },
      "−",
    ),
    element("output", { "aria-label": "radius" }, `radius ${radius}`),
    element(
      "button",
      {
        type: "button",
        "aria-label": "larger radius",
        disabled: full,
        click: () => enterFocus(node, radius + 1),
      },
      "+",
    ),
    page.hasDeltas
      ? element(
          "button",
          { type: "button", "aria-pressed": String(deltas), click: () => enterFocus(node, radius, !deltas) },
          "deltas",
        )
      : null,
    full ? element("span", { class: "muted" }, `the nearest ${MOST_IN_FOCUS} nodes`) : null,
    element("button", { type: "button", class: "primary", click: () => leaveFocus() }, "back to the graph"),
  ]);
}
