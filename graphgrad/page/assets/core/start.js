/* Starts the page: reads the data, builds the frame, connects the events, prepares printing. */

import { isNewAddress, markAddress, readAddress } from "./address.js";
import { openNamedBundle } from "./bundle.js";
import { applyCamera, drawMinimap } from "./camera.js";
import { applyColouring, setColouring } from "./colouring.js";
import { showDetails } from "./details.js";
import { canvas, layers } from "./drawing.js";
import { shorten, visible } from "./elements.js";
import { listen } from "./events.js";
import { buildFrame } from "./frame.js";
import { markSelection } from "./highlight.js";
import { takeView } from "./kept.js";
import { listenToKeys } from "./keyboard.js";
import { notify } from "./messages.js";
import { loadPage, page } from "./model.js";
import { enterFocus, showFocusBar } from "./neighbourhood.js";
import { updateOutline } from "./outline.js";
import { openTab } from "./panel_host.js";
import { listenToCanvas } from "./pointer.js";
import { goToScope, selectNode } from "./selection.js";
import { state } from "./state.js";
import { closeTab } from "./tabs.js";
import { setView, showView } from "./view.js";
import { resumeWave } from "./wave.js";

export function start() {
  loadPage();
  buildFrame();
  connect();
  state.view = page.hasDeltas ? (page.view ?? "mirror") : "forward";
  if (state.view === "mirror" && isNarrow()) state.view = "forward";
  const asked = readAddress();
  const kept = takeView("again" in asked);
  if (page.views.includes(kept.view)) state.view = kept.view;
  if (page.views.includes(asked.view)) state.view = asked.view;
  showView();
  showDetails();
  if (asked.colour === undefined && page.sections.effects) setColouring("effect");
  followAddress(asked, true);
  kept.complete();
  if (asked.saved !== undefined) openNamedBundle(asked.saved, asked.for); // the scopes are open now
  resumeWave();
  listenToCanvas();
  listenToKeys();
  window.addEventListener("hashchange", () => followAddress(readAddress()));
  window.addEventListener("beforeprint", beforePrint);
  window.addEventListener("afterprint", applyCamera);
  document.documentElement.dataset.ready = String(Math.round(performance.now()));
}

/* Whether there is room for one half of the mirror only. */
function isNarrow() {
  return window.matchMedia("(max-width: 780px)").matches;
}

/* Connects the events of the page to the modules that react to them, in this order. */
function connect() {
  const followers = {
    draw: [markSelection, applyColouring, drawMinimap, updateOutline],
    view: [showFocusBar],
    select: [markSelection, showDetails, updateOutline],
    path: [markSelection, showDetails],
    details: [showDetails],
    theme: [applyColouring],
    sizes: [showDetails],
  };
  for (const [event, acts] of Object.entries(followers)) for (const act of acts) listen(event, () => act());
}

function followAddress(asked, first = false) {
  if (!isNewAddress() && !first) return;
  markAddress();
  if (page.views.includes(asked.view) && asked.view !== state.view) setView(asked.view);
  if (asked.colour) setColouring(asked.colour);
  if (asked.node !== undefined) {
    const node = page.byName.get(asked.node);
    if (!node) notify(`There is no node called ${visible(shorten(asked.node, 80))} in this graph.`);
    else if (Number(asked.radius) >= 1) enterFocus(node.id, Math.min(20, Math.floor(Number(asked.radius))));
    else {
      closeTab();
      selectNode(node);
    }
  } else if (asked.scope !== undefined) {
    const scope = page.scopes.find((item) => item.path === asked.scope);
    if (scope) goToScope(scope.id);
    else notify(`There is no scope called ${visible(shorten(asked.scope, 80))} in this graph.`);
  } else if (asked.saved !== undefined && !first) openNamedBundle(asked.saved, asked.for);
  if (asked.tab) openTab(asked.tab);
}

/* Prints the whole picture, not only the part in the window. */
function beforePrint() {
  const [wide, high] = [1000, 700];
  const scale = Math.min(wide / Math.max(state.width, 1), high / Math.max(state.height, 1), 1);
  canvas.setAttribute("viewBox", `0 0 ${wide} ${high}`);
  layers.world.setAttribute("transform", `translate(${(wide - state.width * scale) / 2} 0) scale(${scale})`);
  window.addEventListener("afterprint", () => canvas.removeAttribute("viewBox"), { once: true });
}
