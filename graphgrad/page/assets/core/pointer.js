/* Handles mouse, touch and wheel on the drawing: moving, zooming, selecting. */

import { bundleAt, toggleBundle } from "./bundle.js";
import { camera, refit, setCamera, zoomBy } from "./camera.js";
import { canvas } from "./drawing.js";
import { page } from "./model.js";
import { enterFocus } from "./neighbourhood.js";
import { selectNode, selectNothing, selectScope } from "./selection.js";
import { state } from "./state.js";
import { toggleScope } from "./view.js";

export function listenToCanvas() {
  canvas.addEventListener(
    "wheel",
    (event) => {
      event.preventDefault();
      const bounds = canvas.getBoundingClientRect();
      const at = [event.clientX - bounds.left, event.clientY - bounds.top];
      if (
        event.shiftKey ||
        (event.deltaX && !event.ctrlKey && Math.abs(event.deltaX) > Math.abs(event.deltaY))
      ) {
        setCamera(camera.scale, camera.x - event.deltaX - (event.shiftKey ? event.deltaY : 0), camera.y);
      } else {
        const lines = event.deltaMode === 1 ? 16 : 1;
        zoomBy(Math.exp(-event.deltaY * lines * (event.ctrlKey ? 0.01 : 0.0016)), at);
      }
    },
    { passive: false },
  );
  const pointers = new Map();
  let start = null;
  canvas.addEventListener("pointerdown", (event) => {
    if (event.button > 1) return;
    pointers.set(event.pointerId, [event.clientX, event.clientY]);
    start = [event.clientX, event.clientY];
    camera.moved = false;
  });
  canvas.addEventListener("pointermove", (event) => {
    if (!pointers.has(event.pointerId)) return;
    const [x, y] = pointers.get(event.pointerId);
    if (!camera.moved && Math.hypot(event.clientX - start[0], event.clientY - start[1]) < 4) return;
    if (!camera.moved) canvas.setPointerCapture(event.pointerId);
    camera.moved = true;
    canvas.classList.add("dragging");
    if (pointers.size === 2) pinch(pointers, event);
    else setCamera(camera.scale, camera.x + event.clientX - x, camera.y + event.clientY - y);
    pointers.set(event.pointerId, [event.clientX, event.clientY]);
  });
  for (const name of ["pointerup", "pointercancel"]) {
    canvas.addEventListener(name, (event) => {
      pointers.delete(event.pointerId);
      canvas.classList.remove("dragging");
    });
  }
  canvas.addEventListener("click", (event) => {
    if (!camera.moved) clickAt(event.target, event);
    camera.moved = false;
  });
  canvas.addEventListener("dblclick", (event) => doubleClickAt(event.target));
  new ResizeObserver(refit).observe(canvas);
}

function pinch(pointers, event) {
  const [other] = [...pointers].filter(([id]) => id !== event.pointerId).map(([, place]) => place);
  const before = pointers.get(event.pointerId);
  const gap = (place) => Math.hypot(place[0] - other[0], place[1] - other[1]) || 1;
  const bounds = canvas.getBoundingClientRect();
  zoomBy(gap([event.clientX, event.clientY]) / gap(before), [other[0] - bounds.left, other[1] - bounds.top]);
}

function clickAt(target, event) {
  canvas.focus({ preventScroll: true });
  const inner = target.closest?.("[data-node]");
  if (inner) return selectNode(page.nodes[Number(inner.getAttribute("data-node"))], { move: false });
  const label = target.closest?.("[data-bundle]");
  if (label) return toggleBundle(label.getAttribute("data-bundle"));
  const saved = target.closest?.(".box, .scope-title") ? null : bundleAt(event);
  if (saved) return toggleBundle(saved.key);
  const group = target.closest?.("[data-key]");
  if (!group) return selectNothing();
  const box = state.boxes.get(group.getAttribute("data-key"));
  if (!box) return undefined;
  if (box.item.scope === undefined) {
    const node = page.nodes[box.item.node];
    const delta = box.side === "delta" && node.delta !== null;
    return selectNode(delta && event?.altKey ? page.nodes[node.delta] : node, { move: false });
  }
  if (target.closest(".scope-title, .badge, .chevron") || !box.open) {
    toggleScope(box.item.scope);
    return selectScope(box.item.scope);
  }
  return selectScope(box.item.scope);
}

function doubleClickAt(target) {
  const group = target.closest?.("[data-key]");
  const box = group && state.boxes.get(group.getAttribute("data-key"));
  if (box && box.item.scope === undefined) enterFocus(page.nodes[box.item.node].id);
}
