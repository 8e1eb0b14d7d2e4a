/* Source graph ↔ optimised graph ↔ generated program, line by line.

Only the lines that can be seen are in the document, so texts of 10,000 lines scroll like short ones.
The line under the pointer lights up in all three; a click or Enter moves the other two to it. */

import { registerPanel } from "../core/contract.js";
import { append, countText, element, plural, replaceChildren, visible } from "../core/elements.js";
import { page } from "../core/model.js";

const LINE = 19;
const SPARE = 12;
const PANES = ["source", "optimised", "program"];
const TITLES = { source: "source graph", optimised: "optimised graph", program: "program" };

/* For each line of each text, its counterparts in the others. */
function linksOf(section) {
  const optimisedOf = section.forward;
  const sourcesOf = section.optimised.map(() => []);
  optimisedOf.forEach((place, number) => { if (place >= 0) sourcesOf[place].push(number); });
  const nodesOf = section.program.map(() => []);
  section.lines.forEach((line, number) => { if (line > 0 && line <= nodesOf.length) nodesOf[line - 1].push(number); });
  const optimisedFrom = { source: (line) => (optimisedOf[line] >= 0 ? [optimisedOf[line]] : []), optimised: (line) => [line], program: (line) => nodesOf[line] };
  return (pane, line) => {
    const optimised = optimisedFrom[pane](line);
    const source = pane === "source" ? [line] : optimised.flatMap((place) => sourcesOf[place]);
    const program = pane === "program" ? [line] : [...new Set(optimised.map((place) => section.lines[place] - 1).filter((place) => place >= 0))];
    return { source, optimised, program };
  };
}

/* A line in three parts: its number, the name that its comment gives, and the code. */
function parts(pane, text, line) {
  const place = pane === "program" ? text.search(/ {2,}# /) : text.indexOf("    # ");
  const comment = place < 0 ? "" : text.slice(place).replace(/^ +# /, "");
  let code = place < 0 ? text : text.slice(0, place);
  if (pane === "program") {
    const type = comment.match(/ : ([^:]*)$/)?.[1];
    const name = comment.replace(/ : [^:]*$/, "").replace(/^\d+ nodes? for (.*) from .*$/, "$1");
    return { gutter: line + 1, label: name, code: code.trimEnd(), type: type ?? "" };
  }
  const found = code.match(/^%\d+ = /);
  if (found) code = code.slice(found[0].length);
  code = code.replace(", transpose_a=False", "").replace(", transpose_b=False", "");
  return { gutter: `%${line}`, label: comment, code, type: "" };
}

/* The end of a name: names of one scope differ there. */
function lastOf(text, limit) {
  const letters = Array.from(text.slice(-2 * limit));
  return text.length <= limit ? text : `…${letters.slice(1 - limit).join("")}`;
}

/* Numbers of nodes and names of functions apart from the rest. */
function coloured({ code, type }) {
  const pieces = code.split(/(%\d+|\b(?:np|op)\.\w+)/).map((piece, number) => (number % 2 ? element("b", {}, piece) : visible(piece)));
  return type ? [pieces, element("i", {}, `  : ${visible(type)}`)] : pieces;
}

class LineList {
  constructor(pane, texts, on) {
    this.pane = pane;
    this.texts = texts;
    this.lit = new Set();
    this.chosen = new Set();
    this.found = new Set();
    this.on = on;
    this.rows = element("div", { class: "rows" });
    this.rows.style.height = `${texts.length * LINE}px`;
    this.box = element("div", { class: "lines", tabindex: "0", role: "listbox", "aria-label": TITLES[pane], scroll: () => this.draw(),
      pointermove: (event) => this.over(event), pointerleave: () => on.hover(null), click: (event) => this.press(event) }, this.rows);
    this.drawn = "";
  }

  lineAt(event) {
    const box = this.rows.getBoundingClientRect();
    const line = Math.floor((event.clientY - box.top) / LINE);
    return line >= 0 && line < this.texts.length ? line : null;
  }

  over(event) {
    this.on.hover(this.pane, this.lineAt(event));
  }

  /* A line is drawn anew when it is chosen, so a double click is two clicks and no event of its own. */
  press(event) {
    if (event.detail === 2) this.on.open(this.pane, this.lineAt(event));
    else this.on.choose(this.pane, this.lineAt(event));
  }

  show(line) {
    const top = line * LINE;
    const { scrollTop, clientHeight } = this.box;
    if (top < scrollTop + 2 * LINE || top > scrollTop + clientHeight - 3 * LINE) this.box.scrollTop = Math.max(0, top - clientHeight / 3);
  }

  draw(force = false) {
    const first = Math.max(0, Math.floor(this.box.scrollTop / LINE) - SPARE);
    const last = Math.min(this.texts.length, Math.ceil((this.box.scrollTop + (this.box.clientHeight || 600)) / LINE) + SPARE);
    const key = `${first} ${last}`;
    if (!force && key === this.drawn) return;
    this.drawn = key;
    const rows = [];
    for (let line = first; line < last; line += 1) {
      const piece = parts(this.pane, this.texts[line], line);
      const state = [this.chosen.has(line) ? "chosen" : "", this.lit.has(line) ? "lit" : "", this.found.has(line) ? "found" : ""].join(" ").trim();
      const row = element("div", { id: `${this.pane}-line-${line}`, class: state ? `line ${state}` : "line", role: "option", "data-line": line, "aria-selected": String(this.chosen.has(line)),
        "aria-setsize": this.texts.length, "aria-posinset": line + 1 },
      element("span", { class: "gutter", "aria-hidden": "true" }, piece.gutter),
      element("span", { class: "label", title: visible(piece.label) }, element("bdi", {}, visible(lastOf(piece.label, 22)))),
      element("span", { class: "code" }, coloured(piece)));
      row.style.top = `${line * LINE}px`;
      rows.push(row);
    }
    replaceChildren(this.rows, rows);
  }
}

function showProgram(host, context) {
  const { section } = context;
  const counterparts = linksOf(section);
  const lists = {};
  const state = { pane: "source", line: null };
  const status = element("span", { class: "from", role: "status" });
  const search = element("input", { type: "search", placeholder: "find in all three", "aria-label": "find a line", input: find,
    keydown: (event) => { if (event.key === "Enter") { findNext(event.shiftKey ? -1 : 1); event.preventDefault(); } } });
  for (const pane of PANES) {
    lists[pane] = new LineList(pane, section[pane], { hover, choose, open });
    lists[pane].box.addEventListener("keydown", (event) => keys(event, pane));
  }
  const kernel = element("div", { class: "kernel-text", hidden: true });
  append(host, [
    element("div", { class: "panel-head" }, element("h2", {}, "Source, optimised, program"),
      element("p", { class: "from" }, "point at a line to see what became of it and where it came from; click to move the others there; double click opens the node")),
    element("div", { class: "bar" }, search, status),
    element("div", { class: "three" }, PANES.map((pane) => element("section", { class: `pane ${pane}`, "data-pane": pane },
      element("h3", {}, TITLES[pane], element("span", { class: "from" }, countOf(section, pane))), lists[pane].box))),
    kernel,
  ]);
  const at = context.node ? section.source_names.indexOf(context.node.name) : -1;
  redraw();
  if (at >= 0) choose("source", at);
  const resized = () => redraw();
  window.addEventListener("resize", resized);
  return () => window.removeEventListener("resize", resized);

  function redraw() {
    for (const pane of PANES) lists[pane].draw(true);
  }

  function hover(pane, line) {
    const found = pane === null || line === null ? null : counterparts(pane, line);
    for (const other of PANES) {
      const lit = new Set(found ? found[other] : []);
      if (lit.size === lists[other].lit.size && [...lit].every((place) => lists[other].lit.has(place))) continue;
      lists[other].lit = lit;
      lists[other].draw(true);
    }
  }

  function choose(pane, line) {
    if (line === null) return;
    [state.pane, state.line] = [pane, line];
    const found = counterparts(pane, line);
    for (const other of PANES) {
      lists[other].chosen = new Set(found[other]);
      if (found[other].length) lists[other].show(other === pane ? line : found[other][0]);
      lists[other].draw(true);
    }
    lists[pane].box.setAttribute("aria-activedescendant", `${pane}-line-${line}`);
    status.textContent = said(pane, found);
    showKernel(found);
  }

  function said(pane, found) {
    if (pane === "source" && !found.optimised.length) return "removed: nothing that the program returns or updates needs it";
    const parts = PANES.filter((other) => other !== pane).map((other) => `${plural(found[other].length, "line")} in the ${TITLES[other]}`);
    const place = found.optimised.length === 1 ? section.places[found.optimised[0]] : "";
    return `${parts.join(", ")}${place ? ` · ${visible(place)}` : ""}`;
  }

  /* The text of the kernel that a chosen line calls. */
  function showKernel(found) {
    const name = found.optimised.map((place) => section.kernel_of[place]).find(Boolean);
    const text = name === undefined ? undefined : section.kernels[name];
    kernel.hidden = !text;
    if (!text) return;
    replaceChildren(kernel, element("h3", {}, name, element("span", { class: "from" }, ` computes ${plural(togetherWith(section, found.program), "node")} in one loop here`)), element("pre", {}, visibleLines(text)));
  }

  function open(pane, line) {
    if (line === null) return;
    const name = counterparts(pane, line).source.map((place) => section.source_names[place]).find((item) => page.byName.has(item));
    if (name !== undefined) context.select(name);
  }

  function keys(event, pane) {
    const list = lists[pane];
    const line = state.pane === pane && state.line !== null ? state.line : Math.floor(list.box.scrollTop / LINE);
    const many = Math.max(1, Math.floor(list.box.clientHeight / LINE) - 2);
    const moves = { ArrowDown: line + 1, ArrowUp: line - 1, PageDown: line + many, PageUp: line - many, Home: 0, End: list.texts.length - 1 };
    if (event.key in moves) choose(pane, Math.max(0, Math.min(list.texts.length - 1, moves[event.key])));
    else if (event.key === "Enter" && state.line !== null) open(pane, state.line);
    else if (event.key === "ArrowLeft" || event.key === "ArrowRight") beside(pane, event.key === "ArrowLeft" ? -1 : 1);
    else return;
    event.preventDefault();
    event.stopPropagation();
  }

  /* The same line in the text to the left or right. */
  function beside(pane, step) {
    const other = PANES[PANES.indexOf(pane) + step];
    if (other === undefined) return;
    const found = state.line === null ? [] : counterparts(pane, state.line)[other];
    lists[other].box.focus();
    if (found.length) choose(other, found[0]);
  }

  function find() {
    const text = search.value.toLowerCase();
    let count = 0;
    for (const pane of PANES) {
      const places = text.length < 2 ? [] : lists[pane].texts.flatMap((line, place) => (line.toLowerCase().includes(text) ? [place] : []));
      lists[pane].found = new Set(places);
      count += places.length;
      if (places.length) lists[pane].show(places[0]);
      lists[pane].draw(true);
    }
    status.textContent = text.length < 2 ? "" : `${plural(count, "line")} found; Enter goes from one to the next`;
  }

  function findNext(step) {
    const pane = PANES.find((item) => item === state.pane && lists[item].found.size) ?? PANES.find((item) => lists[item].found.size);
    if (!pane) return;
    const places = [...lists[pane].found];
    const from = state.pane === pane && state.line !== null ? state.line : -1;
    const next = step > 0 ? places.find((place) => place > from) ?? places[0] : places.findLast((place) => place < from) ?? places.at(-1);
    choose(pane, next);
  }
}

function countOf(section, pane) {
  const whole = section[`${pane}_count`];
  const shown = section[pane].length;
  return shown < whole ? ` first ${countText(shown)} of ${countText(whole)} lines` : ` ${countText(whole)} lines`;
}

/* How many nodes the chosen lines of the program compute. */
function togetherWith(section, lines) {
  return section.lines.filter((line) => lines.includes(line - 1)).length;
}

function visibleLines(text) {
  return text.split("\n").map(visible).join("\n");
}

registerPanel({ name: "program", title: "Program", place: "page", section: "passes", show: showProgram });
