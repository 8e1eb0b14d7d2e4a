/* Builds the frame of the page: header, drawing, side panel, messages. */

import { writeAddress } from "./address.js";
import { fitView, makeMinimap, zoomBy } from "./camera.js";
import { setColouring } from "./colouring.js";
import { availableColourings, panelsAt } from "./contract.js";
import { makeCanvas } from "./drawing.js";
import { bidi, element, svg } from "./elements.js";
import { listen } from "./events.js";
import { showHelp } from "./keyboard.js";
import { page } from "./model.js";
import { makeOutline, showOutline } from "./outline.js";
import { openTab } from "./panel_host.js";
import { makeSearch } from "./search.js";
import { state } from "./state.js";
import { closeTab } from "./tabs.js";
import { applyTheme, nextTheme, stored } from "./theme.js";
import { setFolding, setView } from "./view.js";
import { makeWaveBar, toggleWave } from "./wave.js";

export function buildFrame() {
  const views = { mirror: "Mirror", forward: "Forward", backward: "Backward", updates: "Updates" };
  const hints = {
    mirror: "values on the left, deltas on the right at the same height",
    forward: "values only",
    backward: "every node that the deltas are computed with",
    updates: "what computes the next values of parameters and states",
  };
  const viewButtons = page.views.map((view) =>
    element(
      "button",
      {
        type: "button",
        class: "view",
        "data-view": view,
        title: hints[view],
        "aria-pressed": "false",
        click: () => {
          closeTab();
          setView(view);
        },
      },
      views[view],
    ),
  );
  const tabs = panelsAt("page").map((panel) =>
    element(
      "button",
      {
        type: "button",
        class: "tab",
        role: "tab",
        "data-tab": panel.name,
        "aria-selected": "false",
        click: () => openTab(panel.name),
      },
      panel.title,
    ),
  );
  const graphTab = element(
    "button",
    {
      type: "button",
      class: "tab",
      role: "tab",
      "data-tab": "",
      "aria-selected": "true",
      click: () => closeTab(),
    },
    "Graph",
  );
  const colours = availableColourings();
  document.body.prepend(
    element(
      "a",
      {
        class: "skip",
        role: "button",
        tabindex: 0,
        click: skip,
        keydown: (event) => event.key === "Enter" && skip(),
      },
      "to the outline of the graph",
    ),
    element(
      "header",
      { id: "bar" },
      element("h1", {}, mark(), bidi(page.title || "graph", 40)),
      tabs.length
        ? element("div", { class: "tabs", role: "tablist", "aria-label": "what is shown" }, graphTab, tabs)
        : null,
      makeSearch(),
      element(
        "div",
        { class: "tools" },
        tool("outline-button", "outline", "☰", () => showOutline()),
        page.runs.length
          ? tool("fold-button", "fold or unfold equal scopes", "≡", () => setFolding(!page.folds))
          : null,
        tool("wave-button", "wave: play a step through the graph", "∿", () => toggleWave()),
        tool("theme-button", "light, dark or as the system", "◐", () => nextTheme()),
        tool("help-button", "keys and help", "?", () => showHelp()),
      ),
    ),
    element(
      "div",
      { id: "main" },
      makeOutline(),
      element(
        "main",
        { id: "stage", "aria-label": "drawing" },
        element(
          "div",
          { id: "graph-bar" },
          element("div", { id: "focus-bar", hidden: true, role: "group", "aria-label": "neighbourhood" }),
          element("div", { class: "views", role: "group", "aria-label": "view" }, viewButtons),
          element(
            "label",
            { class: "colour" },
            element("span", {}, "colour by"),
            element(
              "select",
              { id: "colour-by", change: (event) => setColouring(event.target.value) },
              element("option", { value: "" }, "kind"),
              colours.map((item) => element("option", { value: item.name }, item.label)),
            ),
          ),
          element("div", { id: "key", role: "group", "aria-label": "what the colours mean" }, colourKey()),
          element("div", { id: "legend", hidden: true }),
          element(
            "div",
            { id: "zoom", role: "group", "aria-label": "zoom" },
            tool("", "closer", "+", () => zoomBy(1.3)),
            tool("", "further", "−", () => zoomBy(1 / 1.3)),
            tool("fit-button", "fit to the window", "⤢", () => fitView()),
          ),
          makeWaveBar(),
        ),
        makeCanvas(),
      ),
      element("aside", { id: "details", "aria-label": "details", tabindex: -1 }),
      makeMinimap(),
    ),
    element("div", { id: "tab-view", hidden: true, role: "tabpanel", tabindex: -1 }),
    element("div", { id: "notice", role: "alert", hidden: true }),
    element("div", { id: "live", role: "status", "aria-live": "polite" }),
  );
  applyTheme(stored("theme"));
  listen("view", (view) => {
    for (const button of document.querySelectorAll("[data-view]"))
      button.setAttribute("aria-pressed", String(!state.focus && button.getAttribute("data-view") === view));
    document.getElementById("canvas").classList.toggle("backward", view === "backward");
    const fold = document.getElementById("fold-button");
    fold?.setAttribute("aria-pressed", String(page.folds));
    writeAddress();
  });
}

function mark() {
  return svg(
    "svg",
    { class: "mark", viewBox: "0 0 24 24", width: 20, height: 20, "aria-hidden": "true" },
    svg("path", { d: "M7 6C7 12 17 12 17 18", class: "mark-value" }),
    svg("path", { d: "M17 6C17 12 7 12 7 18", class: "mark-delta" }),
    svg("circle", { cx: 7, cy: 5, r: 2.6, class: "mark-value" }),
    svg("circle", { cx: 17, cy: 19, r: 2.6, class: "mark-value" }),
    svg("circle", { cx: 17, cy: 5, r: 2.6, class: "mark-delta" }),
    svg("circle", { cx: 7, cy: 19, r: 2.6, class: "mark-delta" }),
  );
}

function colourKey() {
  const kinds = [
    ["input", "input"],
    ["parameter", "parameter"],
    ["operation", "value"],
    ["output", "output"],
    ...(page.hasDeltas ? [["delta", "delta"]] : []),
  ];
  return kinds.map(([kind, text]) =>
    element("span", { class: `kind-${kind}` }, element("i", { class: "dot", "aria-hidden": "true" }), text),
  );
}

function tool(id, words, sign, act) {
  return element(
    "button",
    { type: "button", class: "tool", id: id || null, title: words, "aria-label": words, click: act },
    sign,
  );
}

function skip() {
  showOutline(true);
  /** @type {HTMLElement} */ (document.querySelector("#outline-tree [role=treeitem]"))?.focus();
}
