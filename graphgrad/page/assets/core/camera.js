/* Pan, zoom and fit; the small map of the whole. The camera is a scale and a shift of the picture. */

import { canvas, layers } from "./drawing.js";
import { svg } from "./elements.js";
import { state } from "./state.js";

export const camera = { scale: 1, x: 0, y: 0, moved: false, size: null };
const LEAST_SCALE = 0.02;
const MOST_SCALE = 4;
const BAR = 58;
let minimap = null;
let frameWaiting = false;

export function setCamera(scale, x, y) {
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

export function fitView() {
  fitRectangle(0, 0, state.width, state.height, 1.15);
}

function fitRectangle(x, y, width, height, most) {
  const [wide, high] = canvasSize();
  const margin = Math.min(40, wide * 0.05);
  const room = [wide - 2 * margin, high - BAR - margin];
  const scale = Math.max(
    LEAST_SCALE,
    Math.min(room[0] / Math.max(width, 1), room[1] / Math.max(height, 1), most),
  );
  setCamera(scale, (wide - width * scale) / 2 - x * scale, BAR + (room[1] - height * scale) / 2 - y * scale);
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

export function showFrameInMinimap() {
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
