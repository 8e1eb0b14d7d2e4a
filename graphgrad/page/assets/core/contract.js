/* The contract between the page and its panels.

A panel is a module of panels/ that main.js imports, in the order in which panels are shown. It
exports nothing and only calls registerPanel or registerColouring when it is loaded; it imports from
core/. For the page, modules.py joins all modules into one script.

Rules. Text is never markup: nothing uses innerHTML, `element` and `svg` set text by textContent and
reject attributes that load or run something (href, src, style, on…). A listener is an attribute
whose value is a function: element("button", {click: open}, "open"). Users' texts are hostile; wrap
a name in `bidi(text)`, which isolates marks of direction.
Numbers are formatted by `numberText(x)` (4 digits), `bytesText(x)`, `countText(x)`. The colours of
the theme are CSS variables: --ink --muted --faint --line --surface --raised --sunken --accent
--value --delta --good --warn --bad; series --s1 … --s8; scales: rampColour(t) for t in 0 … 1,
divergingColour(t) for t in -1 … 1, both as CSS texts that follow light and dark. A panel learns of a
change of theme, sizes or selection by listen("theme" | "sizes" | "select", function).
*/

/**
 * @typedef {import("./model.js").Page} Page
 * @typedef {import("./model.js").GraphNode} GraphNode
 *
 * @typedef {object} Panel
 * @property {string} name  a short word, unique; the deep link of a page panel is #tab=name
 * @property {string} title  the text of the tab, or of the heading in the side panel
 * @property {"node" | "page"} place  below the details of the selected node in the side panel, or a
 *   tab in the header, shown over the whole width
 * @property {string} section  the panel is shown only if page.sections has this section
 * @property {(host: HTMLElement, context: Context) => (() => void) | void} show  fills the empty
 *   element `host`, for each selected node or whenever its tab is opened. If it returns a function,
 *   that is called before the host is emptied (to stop timers and remove listeners). A panel
 *   without content for a node leaves the host empty, and its title is not shown.
 *
 * @typedef {object} Context
 * @property {Page} page
 * @property {GraphNode | null} node  the selected node
 * @property {any} section  the panel's section of the page's data
 * @property {(name: string) => boolean} select  selects a node by name: opens the scopes around it,
 *   moves there and shows its details; a page panel is closed. Returns false for an unknown name.
 * @property {(tag: string, attributes?: object, ...children: any) => HTMLElement} element  a new
 *   HTML element
 * @property {(tag: string, attributes?: object, ...children: any) => SVGElement} svg
 * @property {(name: string, text?: string) => HTMLElement} nodeLink  a button that selects a node
 *   (plain text for an unknown name)
 *
 * @typedef {object} Colouring  an entry of the menu "colour by"
 * @property {string} name
 * @property {string} label
 * @property {string} [section]  the colouring is shown only if page.sections has this section
 * @property {(node: GraphNode, section: any) => number | null} value  null for no colour; a box of
 *   a scope has the colour of its greatest number, by size
 * @property {"linear" | "log" | "diverging"} scale  "log": numbers of 0 and below have no colour;
 *   "diverging": 0 is neutral
 * @property {(number: number) => string} [format]  makes the texts of the legend
 */

import { page } from "./model.js";

/** @type {Panel[]} */
const panels = [];
/** @type {Colouring[]} */
const colourings = [];

/** @param {Panel} panel */
export function registerPanel(panel) {
  for (const key of ["name", "title", "section"]) {
    if (typeof panel[key] !== "string") throw new TypeError(`a panel needs a ${key}`);
  }
  if (panel.place !== "node" && panel.place !== "page") {
    throw new TypeError(`the place of a panel is "node" or "page"`);
  }
  if (panels.some((other) => other.name === panel.name)) {
    throw new TypeError(`there are two panels called ${panel.name}`);
  }
  panels.push(panel);
}

/** @param {Colouring} colouring */
export function registerColouring(colouring) {
  if (!["linear", "log", "diverging"].includes(colouring.scale)) {
    throw new TypeError(`the scale of a colouring is "linear", "log" or "diverging"`);
  }
  if (colourings.some((other) => other.name === colouring.name)) {
    throw new TypeError(`there are two colourings called ${colouring.name}`);
  }
  colourings.push(colouring);
}

/* Panels and colourings for which the page has data. */
export function panelsAt(place) {
  return panels.filter((panel) => panel.place === place && panel.section in page.sections);
}

export function availableColourings() {
  return colourings.filter((item) => item.section === undefined || item.section in page.sections);
}
