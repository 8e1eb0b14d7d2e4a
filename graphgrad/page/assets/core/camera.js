/* Pans, zooms and fits the drawing, and draws the minimap. The camera is a scale and a shift. */

import { canvas, layers } from "./drawing.js";
import { svg } from "./elements.js";
import { mirrors, state } from "./state.js";

/* `fitted` is the function that placed the camera last, as long as the user has not moved it: it is
called again when the size of the canvas changes. */
export const camera = { scale: 1, x: 0, y: 0, moved: false, size: null, fitted: null };
/* The smallest text of the drawing has 11 px at this scale. */
export const READABLE = 1;
const LEAST_SCALE = 0.02;
const MOST_SCALE = 4;
const MARGIN = 16;
let minimap = null;
let frameWaiting = false;

export function setCamera(scale, x, y) {
  camera.fitted = null;
  camera.scale = Math.min(MOST_SCALE, Math.max(LEAST_SCALE, scale));
  camera.x = x;
  camera.y = y;
  if (frameWaiting) return;
  frameWaiting = true;
  requestAnimationFrame(applyCamera);
}

export function applyCamera() {
  frameWaiting = false;
  layers.world.setAttribute("transform", `translate(${camera.x} ${camera.y}) scale(${camera.scale})`);
  canvas.classList.toggle("far", camera.scale < 0.32);
  showFrameInMinimap();
}

/* Read once and then kept up by an observer, because to read it lays out the whole page. */
function canvasSize() {
  camera.size = camera.size ?? [canvas.clientWidth || 800, canvas.clientHeight || 600];
  return camera.size;
}

/* The scale at which the whole drawing is seen. */
export function fittingScale() {
  const [wide, high] = canvasSize();
  const room = [wide - 2 * MARGIN, high - 2 * MARGIN];
  return Math.min(room[0] / Math.max(state.width, 1), room[1] / Math.max(state.height, 1), 1.25);
}

/* Shows the whole drawing, however small its text is then. */
export function fitView() {
  place(Math.max(LEAST_SCALE, fittingScale()));
  camera.fitted = fitView;
}

/* Shows the whole drawing if its text can then be read, else its beginning. */
export function showReadable() {
  place(Math.max(READABLE, fittingScale()));
  camera.fitted = showReadable;
}

/* Puts the drawing into the middle. What is larger than the canvas begins where values begin: at the top,
or at the left where they flow to the right, with the first box in the middle of the other side. */
function place(scale) {
  const first = [...state.boxes.values()].reduce(
    (best, box) => (best && (state.across ? best.x <= box.x : best.y <= box.y) ? best : box),
    null,
  );
  const at = (room, size, middle) => {
    const least = room - size * scale - MARGIN;
    if (least >= MARGIN) return (room - size * scale) / 2;
    return Math.min(MARGIN, Math.max(least, room / 2 - middle * scale));
  };
  const [wide, high] = canvasSize();
  const x = first && (state.across || mirrors()) ? 0 : (first?.x ?? 0) + (first?.width ?? 0) / 2;
  const y = first && state.across ? first.y + first.height / 2 : 0;
  setCamera(scale, at(wide, state.width, x), at(high, state.height, y));
}

/* After a change of the canvas: places the camera again if the user has not moved it. */
export function refit() {
  camera.size = null;
  if (camera.fitted) camera.fitted();
  else showFrameInMinimap();
}

export function zoomBy(factor, at = null) {
  const [wide, high] = canvasSize();
  const [x, y] = at ?? [wide / 2, high / 2];
  const scale = Math.min(MOST_SCALE, Math.max(LEAST_SCALE, camera.scale * factor));
  const part = scale / camera.scale;
  setCamera(scale, x - (x - camera.x) * part, y - (y - camera.y) * part);
}

/* Moves a box into the middle where it cannot be seen or is too small to be read. */
export function moveTo(key) {
  const box = key && state.boxes.get(key);
  if (!box) return;
  const [wide, high] = canvasSize();
  const scale = camera.scale < 0.5 ? 0.9 : camera.scale;
  const [x, y] = [box.x + box.width / 2, box.y + box.height / 2];
  const [onX, onY] = [x * camera.scale + camera.x, y * camera.scale + camera.y];
  const seen = onX > 60 && onX < wide - 60 && onY > 40 && onY < high - 40;
  if (seen && scale === camera.scale) return;
  setCamera(scale, wide / 2 - x * scale, high / 2 - y * scale);
}

/* The place of a box on the screen, so that a scope opens where it stood. */
export function anchorOf(key) {
  const box = state.boxes.get(key);
  return box && [box.x * camera.scale + camera.x, box.y * camera.scale + camera.y];
}

export function keepAnchor(key, before) {
  const after = anchorOf(key);
  if (before && after)
    setCamera(camera.scale, camera.x + before[0] - after[0], camera.y + before[1] - after[1]);
}

export function makeMinimap() {
  minimap = svg(
    "svg",
    { id: "minimap", "aria-hidden": "true" },
    svg("path", { class: "map-boxes" }),
    svg("path", { class: "map-deltas" }),
    svg("rect", { class: "map-frame" }),
  );
  const go = (event) => {
    const bounds = minimap.getBoundingClientRect();
    const view = minimap.viewBox.baseVal;
    const scale = Math.max(view.width / bounds.width, view.height / bounds.height);
    const x = view.x + view.width / 2 + (event.clientX - bounds.left - bounds.width / 2) * scale;
    const y = view.y + view.height / 2 + (event.clientY - bounds.top - bounds.height / 2) * scale;
    const [wide, high] = canvasSize();
    setCamera(camera.scale, wide / 2 - x * camera.scale, high / 2 - y * camera.scale);
  };
  minimap.addEventListener("pointerdown", go);
  minimap.addEventListener("pointermove", (event) => event.buttons && go(event));
  return minimap;
}

export function drawMinimap() {
  const texts = { value: "", delta: "" };
  for (const box of state.boxes.values()) {
    if (box.open) continue;
    texts[box.side] +=
      `M${Math.round(box.x)} ${Math.round(box.y)}h${Math.round(box.width)}v${Math.round(box.height)}h${-Math.round(box.width)}z`;
  }
  minimap.setAttribute("viewBox", `-20 -20 ${state.width + 40} ${state.height + 40}`);
  minimap.querySelector(".map-boxes").setAttribute("d", texts.value);
  minimap.querySelector(".map-deltas").setAttribute("d", texts.delta);
  showFrameInMinimap();
}

function showFrameInMinimap() {
  if (!minimap) return;
  const [wide, high] = canvasSize();
  const frame = minimap.querySelector(".map-frame");
  const places = {
    x: -camera.x / camera.scale,
    y: -camera.y / camera.scale,
    width: wide / camera.scale,
    height: high / camera.scale,
  };
  for (const [name, value] of Object.entries(places)) frame.setAttribute(name, Math.round(value));
  const all =
    places.x <= 0 &&
    places.y <= 0 &&
    places.x + places.width >= state.width &&
    places.y + places.height >= state.height;
  minimap.classList.toggle("idle", all);
}
