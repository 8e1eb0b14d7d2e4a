/* The effect of each pass: a row per pass, and below it the changed nodes, before → after. */

import { registerPanel } from "../core/contract.js";
import { append, bytesText, countText, element, plural, replaceChildren, visible } from "../core/elements.js";

const SIGNS = { added: "+", removed: "−", merged: "⋈", folded: "•", rewritten: "↻", rebuilt: "·" };
const MEANING = {
  added: "nodes that stand for no node of the graph before",
  removed: "nothing needs them any more; most are part of another node now",
  merged: "another node has their value",
  folded: "they became constants",
  rewritten: "another operation computes them",
  rebuilt: "the same operation on heads that changed",
};

/* The first pass that did more than rebuild. */
function firstBusy(steps) {
  const found = steps.findIndex((step) => Object.entries(step.counts).some(([kind, count]) => kind !== "rebuilt" && count));
  return Math.max(found, 0);
}

function showPasses(host, context) {
  const { section } = context;
  let chosen = firstBusy(section.steps);
  const details = element("div", { class: "pass-details" });
  const body = element("tbody");
  const table = element("table", { class: "passes", keydown: keys },
    element("thead", {}, element("tr", {}, ["", "pass", "nodes", ...section.kinds, "steps", "FLOP", "moved"].map((title) =>
      element("th", { scope: "col", title: MEANING[title] }, title)))), body);
  const last = section.steps.at(-1)?.cost ?? section.before;
  append(host, [
    element("div", { class: "panel-head" }, element("h2", {}, "Passes"),
      element("p", { class: "from" }, `from ${countText(section.source_count)} nodes as declared (values, deltas and updates) to ${countText(section.optimised_count)} in ${countText(section.program_count)} lines of program`,
        sizesText(section.sizes), ` · ${countText(section.before.steps)} → ${countText(last.steps)} computations · peak memory ${bytesText(section.peak_bytes)}`)),
    element("div", { class: "wide-table short" }, table), details,
  ]);
  draw();

  function draw() {
    let previous = section.before;
    replaceChildren(body, section.steps.map((step, number) => {
      const row = passRow(step, previous, number);
      previous = step.cost;
      return row;
    }));
    replaceChildren(details, changesOf(section.steps[chosen], context));
  }

  function passRow(step, previous, number) {
    const pick = () => { chosen = number; draw(); body.children[number]?.querySelector("button")?.focus(); };
    const [before, after] = step.nodes;
    return element("tr", { class: number === chosen ? "chosen" : null, click: pick },
      element("td", { class: "number" }, number + 1),
      element("th", { scope: "row" }, element("button", { type: "button", "aria-pressed": String(number === chosen), click: (event) => { event.stopPropagation(); pick(); } }, step.name)),
      element("td", { class: "number" }, before === after ? countText(after) : `${countText(before)} → ${countText(after)}`),
      section.kinds.map((kind) => element("td", { class: "number" }, step.counts[kind]
        ? element("span", { class: `chip ${kind}`, "data-kind": kind }, `${SIGNS[kind]} ${countText(step.counts[kind])}`) : "")),
      ["steps", "flops", "bytes"].map((name) => costCell(name, step.cost[name], previous[name])));
  }

  function keys(event) {
    const step = { ArrowDown: 1, ArrowUp: -1, j: 1, k: -1 }[event.key];
    if (!step) return;
    chosen = Math.max(0, Math.min(section.steps.length - 1, chosen + step));
    draw();
    body.children[chosen].querySelector("button").focus();
    event.preventDefault();
    event.stopPropagation();
  }
}

function sizesText(sizes) {
  const text = Object.entries(sizes).map(([name, size]) => `${visible(name)} ${size}`).join(", ");
  return text ? ` · for ${text}` : "";
}

function costCell(name, value, before) {
  const shown = (number) => (name === "bytes" ? bytesText(number) : countText(number));
  const change = shown(value) === shown(before) ? "" : ` ${value < before ? "▼" : "▲"}`;
  return element("td", { class: !change ? "number" : value < before ? "number less" : "number greater",
    title: change ? `${shown(before)} before` : null }, shown(value), change);
}

/* The lists of one pass, one for each kind that has something. */
function changesOf(step, context) {
  if (!step) return null;
  const purpose = step.purpose ? element("p", { class: "purpose" }, step.purpose) : null;
  const busy = Object.entries(step.lists).filter(([, items]) => items.length);
  const rebuilt = step.counts.rebuilt ? element("p", { class: "from" }, `${plural(step.counts.rebuilt, "node")} rebuilt: ${MEANING.rebuilt}.`) : null;
  if (!busy.length) {
    return [element("h3", {}, step.name), purpose, element("p", { class: "from" }, step.note ?? (step.counts.rebuilt ? "No computation changed." : "This pass found nothing to do.")), rebuilt];
  }
  return [element("h3", {}, step.name), purpose, element("div", { class: "change-lists" }, busy.map(([kind, items]) => changeList(kind, items, step.counts[kind], context))), rebuilt];
}

function changeList(kind, items, count, context) {
  return element("section", { class: `change-list ${kind}`, "data-kind": kind },
    element("h4", {}, element("span", { class: `chip ${kind}` }, `${SIGNS[kind]} ${countText(count)}`), ` ${kind}`, element("span", { class: "from" }, ` – ${MEANING[kind]}`)),
    element("ul", {}, items.map(([name, before, after, absorbed]) => element("li", {}, context.nodeLink(name, name), absorption(absorbed, context),
      before ? element("code", { class: "before" }, visible(before)) : null,
      after ? element("code", { class: "after" }, visible(after)) : null))),
    count > items.length ? element("p", { class: "from" }, `and ${countText(count - items.length)} more`) : null);
}

/* What a removed node has become part of. */
function absorption(absorbed, context) {
  if (!absorbed) return null;
  const [into, since, folded] = absorbed;
  return element("span", { class: "from absorbed" }, folded ? " folded into " : " absorbed into ",
    into.map((name, number) => [number ? ", " : "", context.nodeLink(name, name)]), ` by ${since}`);
}

registerPanel({ name: "passes", title: "Passes", place: "page", section: "passes", show: showPasses });
