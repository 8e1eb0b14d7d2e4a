/* The wave: a training step played through the drawing, values forward, then deltas backward.

`w` begins and ends it, the space bar plays and stops, arrows step, Home and End go to the ends. Where the
system asks for reduced motion nothing moves by itself: it is gone through step by step. What is computed
at the moment is lit and said with its formula, what is to come is pale. */

import { camera, setCamera } from "./camera.js";
import { canvas } from "./drawing.js";
import { append, bidi, countText, element, numberText, plural, replaceChildren, shorten, visible } from "./elements.js";
import { listen } from "./events.js";
import { deltaFormula, valueFormula } from "./formula.js";
import { remember } from "./kept.js";
import { say } from "./messages.js";
import { page, scopeTitle } from "./model.js";
import { state, visibleKey } from "./state.js";
import { closeTab } from "./tabs.js";
import { waveFronts } from "./wave_order.js";

const WHOLE = 20000; // milliseconds of a wave, if its steps are neither too short nor too long for that
const SHORTEST = 90;
const LONGEST = 700;
const SAID = 1200; // between two texts of a wave that plays
const MARKS = ["wave-now", "wave-done", "wave-back"];

let wave = null;
const keptWave = { on: false, phase: "", order: -1 };
remember("wave", keptWave);

export function isWaving() {
  return wave !== null;
}

/* Begins the wave, and plays it where things may move; or ends it. */
export function toggleWave() {
  if (wave) return endWave();
  closeTab();
  begin(0);
  if (wave && mayMove()) play();
  return canvas.focus({ preventScroll: true });
}

/* Goes on where the wave of the page before this one was (kept.js). */
export function resumeWave() {
  if (!keptWave.on) return;
  const { phase, order } = keptWave;
  begin(0);
  if (wave) showFront(placeNear(phase, order), false);
}

export function endWave() {
  if (!wave) return;
  stop();
  wave.stopListening();
  wave = null;
  keptWave.on = false;
  document.getElementById("wave-bar").hidden = true;
  document.getElementById("wave-button").setAttribute("aria-pressed", "false");
  canvas.classList.remove("waving");
  for (const box of state.boxes.values()) box.element?.classList.remove(...MARKS);
  for (const segment of state.segments) segment.element?.classList.remove("wave-in");
  say("the wave has ended");
}

/* A key of the wave; whether it was one. */
export function waveKey(event) {
  if (!wave) return false;
  const bar = document.getElementById("wave-bar").contains(event.target);
  if (!bar && event.target !== canvas && event.target !== document.body) return false;
  const step = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 }[event.key];
  if (event.key === " " && !bar) togglePlay();
  else if (step) stepBy(step);
  else if (event.key === "Home") stepTo(0);
  else if (event.key === "End") stepTo(wave.fronts.length - 1);
  else return false;
  return true;
}

/* The bar of the wave, above the drawing. */
export function makeWaveBar() {
  const button = (id, words, sign, click) => element("button", { type: "button", class: "tool", id, title: words, "aria-label": words, click }, sign);
  return element("div", { id: "wave-bar", role: "group", "aria-label": "the wave: values forward, deltas backward", hidden: true },
    button("wave-back", "one step back", "‹", () => stepBy(-1)),
    button("wave-play", "play", "▶", () => togglePlay()),
    button("wave-next", "one step on", "›", () => stepBy(1)),
    element("input", { type: "range", id: "wave-place", min: 0, value: 0, "aria-label": "place of the wave", input: (event) => stepTo(Number(event.target.value)) }),
    element("span", { id: "wave-phase" }),
    element("span", { id: "wave-what" }),
    button("wave-end", "end the wave", "×", () => endWave()));
}

function mayMove() {
  return !window.matchMedia("(prefers-reduced-motion: reduce)").matches;
}

function begin(place) {
  const fronts = waveFronts();
  if (!fronts.length) return say("nothing of a step is drawn here");
  wave = { fronts, place, timer: null, said: 0, stopListening: listen("draw", redrawn) };
  document.getElementById("wave-bar").hidden = false;
  document.getElementById("wave-button").setAttribute("aria-pressed", "true");
  const play = /** @type {HTMLButtonElement} */ (document.getElementById("wave-play"));
  play.disabled = !mayMove();
  play.title = mayMove() ? "play" : "your system asks for reduced motion: step by step only";
  canvas.classList.add("waving");
  lines();
  return showFront(place);
}

/* Another drawing: the wave is where it was, at the box that shows that now. */
function redrawn() {
  const { phase, order } = wave.fronts[wave.place];
  wave.fronts = waveFronts();
  if (!wave.fronts.length) return endWave();
  lines();
  return showFront(placeNear(phase, order), false);
}

function placeNear(phase, order) {
  const found = wave.fronts.findIndex((front) => front.phase === phase && front.order >= order);
  return found < 0 ? Math.max(0, wave.fronts.findLastIndex((front) => front.phase === phase)) : found;
}

/* Which lines lead into each front. */
function lines() {
  wave.into = new Map();
  const add = (key, segment) => {
    if (!wave.into.has(key)) wave.into.set(key, new Set());
    wave.into.get(key).add(segment);
  };
  const forward = state.structure.view === "forward";
  for (const segment of state.segments) {
    if (segment.kind === "saved") continue;
    for (const [value, target] of segment.pairs) {
      if (segment.mirrored) add(`deltas ${visibleKey(value)}δ`, segment);
      else {
        for (const phase of forward ? ["values"] : ["deltas", "updates", "values"]) add(`${phase} ${visibleKey(target)}`, segment);
        if (forward) add(`deltas ${visibleKey(value)}`, segment);
      }
    }
  }
}

function showFront(place, spoken = true) {
  const { fronts } = wave;
  wave.place = Math.max(0, Math.min(fronts.length - 1, place));
  const now = fronts[wave.place];
  Object.assign(keptWave, { on: true, phase: now.phase, order: now.order });
  const marks = new Map();
  fronts.slice(0, wave.place).forEach((front) => marks.set(front.key, front.phase === "values" ? "wave-done" : "wave-back"));
  marks.set(now.key, "wave-now");
  for (const box of state.boxes.values()) {
    for (const name of MARKS) box.element?.classList.toggle(name, marks.get(box.key) === name);
    box.element?.classList.toggle("wave-delta", box.key === now.key && now.phase === "deltas");
  }
  const lit = wave.into.get(`${now.phase} ${now.key}`);
  for (const segment of state.segments) segment.element?.classList.toggle("wave-in", lit?.has(segment) === true);
  follow(state.boxes.get(now.key));
  describeFront(now, spoken);
}

/* Moves the drawing if the box is outside; its size stays. */
function follow(box) {
  const [wide, high] = camera.size ?? [800, 600];
  const [x, y] = [box.x + box.width / 2, box.y + box.height / 2];
  const [onX, onY] = [x * camera.scale + camera.x, y * camera.scale + camera.y];
  if (onX > 50 && onX < wide - 50 && onY > 30 && onY < high - 30) return;
  setCamera(camera.scale, wide / 2 - x * camera.scale, high / 2 - y * camera.scale);
}

function describeFront(now, spoken) {
  const range = /** @type {HTMLInputElement} */ (document.getElementById("wave-place"));
  range.max = String(wave.fronts.length - 1);
  range.value = String(wave.place);
  const same = wave.fronts.filter((front) => front.phase === now.phase);
  const count = `${countText(same.indexOf(now) + 1)} of ${countText(same.length)}`;
  range.setAttribute("aria-valuetext", `${now.phase}, ${count}`);
  const phase = document.getElementById("wave-phase");
  phase.className = `wave-${now.phase}`;
  replaceChildren(phase, `${now.phase} ${count}`);
  const [name, formulas, figure] = now.scope === undefined ? wordsOfNode(now) : wordsOfScope(now);
  const host = document.getElementById("wave-what");
  replaceChildren(host, element("b", {}, bidi(name, 60)), figure ? element("span", { class: "muted" }, figure) : null);
  append(host, formulas.slice(0, 1));
  if (formulas.length > 1) append(host, [element("span", { class: "muted" }, `+ ${formulas.length - 1} more`)]);
  if (!spoken || (wave.timer !== null && performance.now() - wave.said < SAID)) return;
  wave.said = performance.now();
  const text = formulas.map((formula) => formula.getAttribute("alttext")).join(" + ");
  say([`${now.phase} ${count}: ${visible(shorten(name, 100))}`, text, figure].filter(Boolean).join("; "));
}

/* Name, formulas and figure of a node in a phase. */
function wordsOfNode({ node: id, phase }) {
  const node = page.nodes[id];
  const back = phase === "deltas" && node.part === "forward";
  const formulas = back ? deltaFormula(node) : valueFormula(node);
  const name = back ? `δ ${node.name}` : node.name;
  const seed = back && !formulas ? page.nodes[node.delta].value : undefined; // δ of the loss is 1
  const figure = seed === undefined ? figureOf(node, back) : `= ${seed}`;
  return [name, (Array.isArray(formulas) ? formulas : [formulas]).filter(Boolean), figure];
}

function wordsOfScope({ scope: id, phase }) {
  const scope = page.scopes[id];
  const back = phase === "deltas" && state.structure.view === "forward";
  return [`${back ? "δ " : ""}${scopeTitle(scope)}`, [], `scope, ${plural(scope.count, "node")}`];
}

/* The norm of the value or the delta in the run that the page is of. */
function figureOf(node, back) {
  const run = page.sections.run;
  const entry = run?.nodes?.[node.name];
  const row = run?.rows?.[back ? entry?.delta : entry?.value];
  const norm = row?.[run.columns.indexOf("norm")];
  return typeof norm === "number" ? `norm ${numberText(norm, 3)}` : "";
}

function stepBy(by) {
  stepTo(wave.place + by);
}

function stepTo(place) {
  stop();
  showFront(place);
}

function togglePlay() {
  if (!mayMove()) return say("your system asks for reduced motion: arrow keys go step by step");
  return wave.timer === null ? play() : stop();
}

function play() {
  if (wave.place === wave.fronts.length - 1) showFront(0);
  wave.timer = setInterval(next, Math.max(SHORTEST, Math.min(LONGEST, WHOLE / wave.fronts.length)));
  document.documentElement.dataset.playing = "wave";
  markPlay("❚❚", "pause");
}

function next() {
  showFront(wave.place + 1);
  if (wave.place === wave.fronts.length - 1) stop();
}

function stop() {
  if (wave.timer === null) return;
  clearInterval(wave.timer);
  wave.timer = null;
  delete document.documentElement.dataset.playing;
  markPlay("▶", "play");
}

function markPlay(sign, words) {
  const play = document.getElementById("wave-play");
  replaceChildren(play, sign);
  play.title = words;
  play.setAttribute("aria-label", words);
}
