/* Handles keys. In the drawing the arrows follow the graph: up to a head, down to a tail, sideways to
the next box at the same height. */

import { copyLink } from "./address.js";
import { closeBundle, nextBundle } from "./bundle.js";
import { fitView, moveTo, zoomBy } from "./camera.js";
import { showDetails } from "./details.js";
import { canvas } from "./drawing.js";
import { element } from "./elements.js";
import { selectedKey } from "./highlight.js";
import { notify, say } from "./messages.js";
import { page, scopeChain } from "./model.js";
import { enterFocus, leaveFocus } from "./neighbourhood.js";
import { showOutline } from "./outline.js";
import { hideWay, showWay } from "./paths.js";
import { hideFound } from "./search.js";
import { selectNode, selectNothing, selectScope } from "./selection.js";
import { state, visibleKey } from "./state.js";
import { closeTab } from "./tabs.js";
import { nextTheme } from "./theme.js";
import { openEverything, setFolding, setView, toggleScope } from "./view.js";
import { endWave, isWaving, toggleWave, waveKey } from "./wave.js";

/** @type {[string, string, () => void][]} */
const KEYS = [
  ["/", "search", () => document.getElementById("search").focus()],
  ["?", "this help", () => showHelp()],
  ["Escape", "close, go back, select nothing", escape],
  [
    "f",
    "neighbourhood of the selected node",
    () => state.selected?.node && enterFocus(state.selected.node.id),
  ],
  ["p", "shortest way to the loss", () => showWay("shortest")],
  ["a", "all ways to the loss", () => showWay("all")],
  ["d", "from a node to its delta and back", () => toDelta()],
  ["s", "saved values of the selected box, or of all: the next bundle", () => nextBundle()],
  ["v", "next view: mirror, forward, backward, updates", () => nextView()],
  ["0", "fit the picture to the window", () => fitView()],
  ["+", "closer", () => zoomBy(1.25)],
  ["-", "further", () => zoomBy(0.8)],
  ["e", "open all scopes", () => openEverything()],
  ["r", "close all scopes", () => openEverything(0)],
  ["u", "fold or unfold equal scopes", () => page.runs.length && setFolding(!page.folds)],
  ["w", "wave: a step, values forward, then deltas; space stops, arrows step", () => toggleWave()],
  ["o", "outline", () => showOutline()],
  ["c", "copy a link to the selection", () => copyLink()],
  ["t", "light, dark or as the system", () => nextTheme()],
];

export function listenToKeys() {
  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const field = event.target instanceof Element && event.target.closest("input, select, textarea");
    if (field && event.key !== "Escape") return;
    if (document.querySelector("dialog[open]")) return;
    const drawing = event.target === canvas || event.target === document.body;
    if (waveKey(event) || (drawing && arrowKey(event))) return event.preventDefault();
    const known = KEYS.find(([key]) => key === event.key || (key === "+" && event.key === "="));
    if (known) {
      event.preventDefault();
      known[2]();
    }
    return undefined;
  });
}

function escape() {
  if (!document.getElementById("found").hidden) return hideFound();
  if (state.tab) return closeTab();
  if (isWaving()) return endWave();
  if (state.path) return hideWay();
  if (document.getElementById("details").contains(document.activeElement)) return canvas.focus();
  if (state.focus) return leaveFocus();
  if (state.selected?.bundle) return closeBundle();
  return selectNothing();
}

function arrowKey(event) {
  const { key } = event;
  if (key === "Enter" || key === " ") {
    const scope = state.selected?.scope;
    if (scope) {
      toggleScope(scope.id);
      showDetails();
    } else if (state.selected) enterDetails();
    return true;
  }
  const across = state.across;
  const along = { [across ? "ArrowLeft" : "ArrowUp"]: -1, [across ? "ArrowRight" : "ArrowDown"]: 1 }[key];
  const aside = { [across ? "ArrowUp" : "ArrowLeft"]: -1, [across ? "ArrowDown" : "ArrowRight"]: 1 }[key];
  if (along === undefined && aside === undefined) return false;
  const here = selectedKey();
  if (!here) selectBox(firstBox());
  else selectBox(along === undefined ? boxAside(here, aside) : boxAlong(here, along));
  return true;
}

function enterDetails() {
  const first = document.querySelector("#details .node-link, #details button");
  /** @type {HTMLElement} */ (first)?.focus();
}

function firstBox() {
  const boxes = [...state.boxes.values()].filter((box) => box.side === "value" && !box.open);
  return boxes.sort((a, b) => a.y - b.y || a.x - b.x)[0];
}

/* The box at the other end of a line: of those that lead that way, the nearest. */
function boxAlong(key, direction) {
  const here = state.boxes.get(key);
  const members = (box) =>
    box.item.scope === undefined
      ? (id) => state.structure.boxOf(id) === box.item.node
      : (id) => scopeChain(page.nodes[id].scope).includes(box.item.scope);
  const own = members(here);
  const ends = new Set();
  for (const segment of state.segments) {
    if (segment.mirrored || segment.kind === "saved") continue;
    const upward = segment.up ? -direction : direction;
    for (const [value, target] of segment.pairs) {
      const [from, to] = upward > 0 ? [value, target] : [target, value];
      if (own(from) && !own(to)) ends.add(visibleKey(to));
    }
  }
  ends.delete(key);
  const nearest = [...ends].map((end) => state.boxes.get(end)).filter(Boolean);
  const middle = (box) => [box.x + box.width / 2, box.y + box.height / 2];
  const [x, y] = middle(here);
  const far = (box) => Math.hypot(middle(box)[0] - x, middle(box)[1] - y);
  return nearest.sort((a, b) => far(a) - far(b))[0];
}

function boxAside(key, direction) {
  const here = state.boxes.get(key);
  const [side, height] = state.across ? ["y", "x"] : ["x", "y"];
  const [, deep] = state.across ? ["height", "width"] : ["width", "height"];
  const middle = (box) => box[height] + box[deep] / 2;
  const others = [...state.boxes.values()].filter(
    (box) =>
      !box.open &&
      box.side === "value" &&
      box !== here &&
      (box[side] - here[side]) * direction > 0 &&
      Math.abs(middle(box) - middle(here)) < 60,
  );
  return others.sort((a, b) => Math.abs(a[side] - here[side]) - Math.abs(b[side] - here[side]))[0];
}

function selectBox(box) {
  if (!box) return say("there is nothing in this direction");
  if (box.item.scope !== undefined) {
    selectScope(box.item.scope);
    moveTo(box.key);
  } else selectNode(page.nodes[box.item.node]);
  return undefined;
}

function toDelta() {
  const node = state.selected?.node;
  if (!node) return notify("Select a node first.");
  const other = node.delta !== null ? node.delta : node.owner;
  if (other === null) return notify("This node has no delta: the loss does not depend on it.");
  return selectNode(page.nodes[other]);
}

function nextView() {
  setView(page.views[(page.views.indexOf(state.view) + 1) % page.views.length]);
}

export function showHelp() {
  const rows = [
    ["↑ ↓", "to a head, to a tail"],
    ["← →", "to the next box on the same height"],
    ["Enter", "open or close a scope; into the details of a node"],
    ...KEYS.map(([key, text]) => [key === "Escape" ? "Esc" : key, text]),
    ["drag", "move the picture"],
    ["wheel", "zoom; with Shift sideways"],
    ["double click", "neighbourhood of a node"],
  ];
  const dialog = element(
    "dialog",
    { id: "help", "aria-labelledby": "help-title" },
    element("h2", { id: "help-title" }, "keys"),
    element(
      "dl",
      {},
      rows.map(([key, text]) =>
        element("div", {}, element("dt", {}, element("kbd", {}, key)), element("dd", {}, text)),
      ),
    ),
    element("button", { type: "button", class: "primary", click: () => dialog.close() }, "close"),
  );
  dialog.addEventListener("close", () => {
    dialog.remove();
    canvas.focus({ preventScroll: true });
  });
  dialog.addEventListener("click", (event) => event.target === dialog && dialog.close());
  document.body.append(dialog);
  dialog.showModal();
}
