/* Highlights the selected node, its heads, its tails or a path in the drawing. */

import { canvas, layers } from "./drawing.js";
import { state, visibleKey } from "./state.js";

/* Sets the classes that highlight the selection and its neighbours, and removes the others. */
export function markSelection() {
  const { selected, path } = state;
  const lit = new Map();
  const mark = (key, name) =>
    key !== null && key !== undefined && lit.set(key, [...(lit.get(key) ?? []), name]);
  const wireClass = path ? pathLighter(path, mark) : selected ? selectionLighter(selected, mark) : () => "";
  for (const box of state.boxes.values()) {
    const made = box.element;
    if (!made) continue;
    const names = lit.get(box.key) ?? [];
    for (const name of ["selected", "is-head", "is-tail", "on-way"])
      made.classList.toggle(name, names.includes(name));
  }
  for (const segment of state.segments) {
    if (!segment.element) continue;
    const name = wireClass(segment);
    for (const other of ["lit-head", "lit-tail", "lit-way", "lit-delta"])
      segment.element.classList.toggle(other, other === name);
    if (name) segment.element.parentNode.append(segment.element);
  }
  canvas.classList.toggle("has-selection", Boolean(selected || path));
  canvas.classList.toggle("has-way", Boolean(path));
  const key = selectedKey();
  const opened = markBundles(selected?.bundle);
  if (key) canvas.setAttribute("aria-activedescendant", `box-${key}`);
  else if (opened) canvas.setAttribute("aria-activedescendant", opened);
  else canvas.removeAttribute("aria-activedescendant");
}

export function selectedKey() {
  const { selected } = state;
  if (!selected) return null;
  if (selected.bundle) return null;
  if (selected.scope) return state.boxes.has(`s${selected.scope.id}`) ? `s${selected.scope.id}` : null;
  return visibleKey(selected.node.id);
}

function selectionLighter(selected, mark) {
  if (selected.bundle) return bundleLighter(selected.bundle, mark);
  const key = selectedKey();
  mark(key, "selected");
  if (key) mark(`${key}δ`, "selected");
  if (selected.scope) return () => "";
  const own = state.structure.boxOf(selected.node.id);
  if (own === null || own === undefined) return () => "";
  for (const box of state.boxes.values())
    if (box.item.node === own && box.side === "value") mark(box.key, "selected");
  const heads = new Set();
  const tails = new Set();
  for (const segment of state.segments) {
    if (segment.mirrored || segment.kind === "saved") continue;
    for (const [value, target] of segment.pairs) {
      if (target === own) heads.add(value);
      if (value === own) tails.add(target);
    }
  }
  for (const id of heads) mark(visibleKey(id), "is-head");
  for (const id of tails) mark(visibleKey(id), "is-tail");
  return (segment) => {
    if (segment.kind === "saved")
      return segment.pairs.some(([value, owner]) => value === own || owner === own) ? "lit-delta" : "";
    if (segment.pairs.some(([, target]) => target === own))
      return segment.mirrored ? "lit-delta" : "lit-head";
    if (segment.pairs.some(([value]) => value === own)) return segment.mirrored ? "lit-delta" : "lit-tail";
    return "";
  };
}

/* An open bundle: its line, the box of its values and that of the deltas that need them. */
function bundleLighter(bundle, mark) {
  const segment = state.segments.find(({ key }) => key === bundle.key);
  if (segment) {
    mark(segment.from, "is-head");
    mark(`${segment.to}δ`, "is-tail");
  }
  return ({ key }) => (key === bundle.key ? "lit-delta" : "");
}

/* Shows at the text of each bundle whether it is open. Returns the id of the open one. */
function markBundles(bundle) {
  let opened = null;
  for (const label of layers.labels.querySelectorAll("[data-bundle]")) {
    const open = label.dataset.bundle === bundle?.key;
    label.classList.toggle("open", open);
    label.setAttribute("aria-expanded", String(open));
    label.firstChild.textContent = open ? "▾ " : "▸ ";
    if (open) opened = label.id;
  }
  return opened;
}

/* A way is a set of nodes: a line is on it where both its ends are. */
function pathLighter(path, mark) {
  const places = new Set([...path.nodes].map((id) => state.structure.boxOf(id)));
  for (const id of path.nodes) mark(visibleKey(id), "on-way");
  mark(visibleKey(path.start), "selected");
  return (segment) =>
    segment.kind !== "saved" &&
    segment.pairs.some(([value, target]) => places.has(value) && places.has(target))
      ? "lit-way"
      : "";
}
