/* Keeps a page of runs up to date: asks the server again and again, loads a newer page behind the shown
one, and shows it when it is ready and the reader does nothing with the old one.

The address of this page (#node=…&tab=…) is that of the page in the frame. The page in the frame keeps
its view by itself (core/kept.js); `again` in its address says that it goes on with that. */

import { countText, element, replaceChildren, visible } from "../core/elements.js";

const QUIET = 1.5; // times the pace, for which the reader must have done nothing
const PATIENCE = 4; // questions without an answer

const lamp = element("span", { class: "lamp", "aria-hidden": "true" });
const said = element("span", { id: "watch-said", role: "status" });
const hold = element("button", { type: "button", "aria-pressed": "false", title: "keep the page as it is", click: () => setHeld(!held) }, "hold");
const save = element("a", { title: "save the newest page as a file, which needs no server", hidden: true }, "save");
const bar = element("header", { id: "watch-bar" }, lamp, said, hold, save);
const frames = element("div", { id: "watch-frames" });
const empty = element("div", { id: "watch-empty" });

let shown = null;
let loading = null;
let held = false;
let touched = 0;
let missed = 0;
let known = { version: 0, step: 0, built: 0, problem: "", building: true, pace: 1 };

save.setAttribute("href", "page.html");
save.setAttribute("download", `${document.title.replace(/ – watched$/, "").replace(/[^\w.-]+/g, "-")}.html`);
document.body.append(bar, frames);
frames.append(empty);
follow();
window.addEventListener("hashchange", () => {
  if (shown && shown.view().location.hash !== location.hash) shown.view().location.hash = location.hash;
});
window.addEventListener("storage", followTheme);

/* Asks again and again, each time after the answer to the time before. */
async function follow() {
  if (!document.hidden) await ask();
  copyAddress();
  setTimeout(follow, 1000 * known.pace);
}

async function ask() {
  try {
    const answer = await fetch("state", { cache: "no-store" });
    if (!answer.ok) throw new Error(String(answer.status));
    known = await answer.json();
    missed = 0;
  } catch {
    missed += 1;
  }
  if (!held && known.version && known.version !== shown?.version) load();
  describe();
}

function describe() {
  const gone = missed >= PATIENCE ? "graphgrad watch has ended: the page stays as it is" : "";
  const problem = gone || known.problem;
  bar.classList.toggle("problem", Boolean(problem));
  bar.classList.toggle("held", held && !problem);
  const newer = shown && known.version !== shown.version;
  const state = held && newer ? "held; a newer page waits" : held ? "held" : newer ? "a newer page is loaded" : known.building ? "a newer page is computed" : "";
  const page = shown ? `step ${countText(shown.step)}, computed ${agoText(known.now - shown.built)}` : "the page is computed …";
  write(said, [page, state, visible(problem)].filter(Boolean).join(" · "));
  if (!shown) write(empty, problem ? visible(problem) : "The page is computed: every value and delta of one batch.");
  save.hidden = !shown;
}

function agoText(seconds) {
  if (!(seconds >= 5)) return "just now";
  return seconds < 90 ? `${10 * Math.max(1, Math.round(seconds / 10))} s ago` : `${Math.round(seconds / 60)} min ago`;
}

/* Sets a text that has changed: a screen reader says it again otherwise. */
function write(host, text) {
  if (host.textContent !== text) replaceChildren(host, host === empty ? element("p", {}, text) : text);
}

/* Loads the newest page behind the shown one; its view is that of the shown one at this moment. */
function load() {
  if (isBusy()) return;
  if (loading) {
    if (loading.version === known.version) return;
    loading.frame.remove();
  }
  const { version, step, built } = known;
  const begun = touched;
  const frame = document.createElement("iframe"); // `element` makes none: only this page has one
  frame.className = "waiting";
  frame.title = "page of the run";
  const made = { version, step, built, frame, view: () => frame.contentWindow };
  loading = made;
  keepView();
  const hash = shown ? shown.view().location.hash.slice(1) : location.hash.slice(1);
  frame.addEventListener("load", () => {
    if (loading !== made) return;
    loading = null;
    if (begun === touched || !shown) show(made);
    else frame.remove();
  });
  frame.setAttribute("src", `page.html#${[hash, shown ? "again" : ""].filter(Boolean).join("&")}`);
  frames.append(frame);
}

function show(made) {
  const old = shown;
  const focused = document.activeElement === old?.frame;
  shown = made;
  empty.remove();
  made.frame.classList.remove("waiting");
  old?.frame.remove();
  for (const kind of ["pointerdown", "pointermove", "keydown", "wheel", "input"])
    made.view().addEventListener(kind, touch, { capture: true, passive: true });
  if (focused || !old) made.view().focus();
  followTheme();
  copyAddress();
  describe();
}

function touch(event) {
  if (event.type !== "pointermove" || event.buttons) touched = performance.now();
}

/* Whether the reader is about to do something with the page: a change of it would disturb. */
function isBusy() {
  if (!shown) return false;
  if (touched && performance.now() - touched < 1000 * QUIET * known.pace) return true;
  const page = shown.view().document;
  const typing = page.activeElement?.matches("input[type=search], #search") && page.activeElement.value;
  return Boolean(typing || page.querySelector("dialog[open]") || page.documentElement.dataset.playing || String(shown.view().getSelection()));
}

function keepView() {
  shown?.view().dispatchEvent(new Event("keepview"));
}

function setHeld(now) {
  held = now;
  hold.setAttribute("aria-pressed", String(held));
  if (!held) ask();
  describe();
}

function copyAddress() {
  const hash = shown?.view().location.hash;
  if (hash !== undefined && hash !== location.hash && hash !== "#again") history.replaceState(null, "", hash || "#");
}

/* The choice of colours of the page in the frame is that of the bar. */
function followTheme() {
  const theme = shown?.view().document.documentElement.dataset.theme;
  if (theme) document.documentElement.dataset.theme = theme;
  else delete document.documentElement.dataset.theme;
}
