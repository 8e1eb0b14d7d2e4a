/* Keeps the view of a page while it is loaded again: open scopes, camera, places in texts, choices in
panels. The address keeps the selection, the tab and the colours.

The view is stored in the session of the browser's tab when the page is left (or at the event
`keepview`, which watch/watch.js sends), and taken from there where the page is reloaded or its
address says `again`. A page that is opened anew begins anew, and so does one of another graph. */

import { camera, fitView, setCamera, showReadable } from "./camera.js";
import { announceEvent } from "./events.js";
import { page } from "./model.js";
import { state } from "./state.js";
import { openScopes, setRuns } from "./view.js";

const remembered = new Map();

/* An object whose numbers, texts, truth values and lists of texts are kept under this name. */
export function remember(name, choices) {
  remembered.set(name, choices);
}

/* Takes back what was kept, if this page goes on with another one; returns what completes that when the
page is drawn. */
export function takeView(again) {
  const reloaded = performance.getEntriesByType("navigation")[0]?.["type"] === "reload";
  window.addEventListener("pagehide", keepView);
  window.addEventListener("keepview", keepView);
  const kept = reloaded || again ? read() : null;
  if (!kept) return { view: undefined, complete: () => {} };
  for (const [name, choices] of Object.entries(kept.choices ?? {})) restoreChoices(remembered.get(name), choices);
  return { view: kept.view, complete: () => complete(kept) };
}

function keepView() {
  const kept = {
    view: state.view,
    folds: page.folds,
    runs: page.runs.map(([first]) => page.scopes[first].run).map((run) => [path(run.members[0]), run.folded, path(run.shown)]),
    open: [...state.open].map(path),
    camera: { x: camera.x, y: camera.y, scale: camera.scale, fitted: { showReadable, fitView }[camera.fitted?.name] ? camera.fitted.name : "" },
    scrolled: ["details", "tab-view", "outline"].map((id) => [id, document.getElementById(id).scrollTop]),
    focused: placeOf(document.activeElement),
    choices: Object.fromEntries(remembered),
  };
  try {
    sessionStorage.setItem(key(), JSON.stringify(kept));
  } catch {
    /* a browser that stores nothing: the next page begins anew */
  }
}

function complete(kept) {
  if (state.structure && !state.focus && Array.isArray(kept.open)) {
    setRuns(kept.folds === true, kept.runs ?? []);
    openScopes(new Set(kept.open.map(String)));
    announceEvent("details");
  }
  const { fitted, x, y, scale } = kept.camera ?? {};
  if (fitted === "fitView") fitView();
  else if (fitted === "showReadable") showReadable();
  else if ([x, y, scale].every(Number.isFinite)) setCamera(scale, x, y);
  focusOn(kept.focused);
  requestAnimationFrame(() => {
    for (const [id, top] of kept.scrolled ?? []) {
      const host = document.getElementById(id);
      if (host && Number.isFinite(top)) host.scrollTop = top;
    }
  });
}

function path(id) {
  return page.scopes[id].path;
}

function key() {
  return `graphgrad-view ${location.pathname} ${page.nodes.length} ${page.scopes.length} ${page.nodes.at(-1)?.name}`;
}

function read() {
  try {
    const found = JSON.parse(sessionStorage.getItem(key()));
    return found && typeof found === "object" ? found : null;
  } catch {
    return null;
  }
}

/* Only choices that the panel has, of the kind that it has. */
function restoreChoices(choices, kept) {
  if (!choices || !kept) return;
  for (const name of Object.keys(choices)) {
    const [mine, other] = [choices[name], kept[name]];
    if (Array.isArray(mine)) {
      if (Array.isArray(other)) choices[name] = other.filter((item) => typeof item === "string");
    } else if (typeof other === typeof mine && other !== null) choices[name] = other;
  }
}

/* The place of an element as the id of one around it and the numbers of children from there. */
function placeOf(found) {
  const steps = [];
  for (let at = found; at && at !== document.body; at = at.parentElement) {
    if (at.id) return [at.id, ...steps];
    steps.unshift([...at.parentElement.children].indexOf(at));
  }
  return null;
}

function focusOn(place) {
  if (!Array.isArray(place)) return;
  const [id, ...steps] = place;
  let found = document.getElementById(id);
  for (const step of steps) found = /** @type {HTMLElement} */ (found?.children[step]);
  found?.focus({ preventScroll: true });
}
