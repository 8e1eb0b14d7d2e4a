/* The selected node in the compiler: its changes by each pass, its line of the program, its kernel. */

import { registerColouring, registerPanel } from "../core/contract.js";
import { append, bidi, element, plural, visible } from "../core/elements.js";
import { openTab } from "../core/panel_host.js";

const AROUND = 2;

function showOwnProgram(host, context) {
  const { node, section } = context;
  const source = sourceLine(section, node.name);
  if (source < 0) return;
  const place = section.forward[source];
  const passed = passedThrough(section, node.name);
  append(host, [
    passed.length ? element("ol", { class: "became" }, passed) : null,
    place < 0 ? element("p", { class: "note" }, "Not in the program: nothing that it returns or updates needs this value.")
      : [optimisedLine(section, place, node), programLines(section, place), kernelText(section, place)],
    element("p", {}, element("button", { type: "button", class: "more", "data-open": "program", click: () => openTab("program") }, "show in the whole program")),
  ]);
}

/* The line after which the program computes; lines before it run once. */
function firstLine(section) {
  if (first === null) first = section.program.findIndex((line) => line.startsWith("def run(")) + 1;
  return first;
}

let first = null;
const places = new Map();

/* The source graph may name a node's line by another of its names. */
function sourceLine(section, name) {
  if (!places.size) section.source_names.forEach((item, line) => places.set(item, line));
  return places.get(name) ?? -1;
}

function passedThrough(section, name) {
  const found = [];
  for (const step of section.steps) {
    for (const [kind, items] of Object.entries(step.lists)) {
      const item = items.find((one) => one[0] === name);
      if (!item) continue;
      found.push(element("li", {}, element("b", {}, step.name), ` ${kind} `, absorbedText(item[3]), element("span", { class: "steps-of" },
        item[1] ? element("code", { class: "before" }, visible(item[1])) : null,
        item[2] ? element("code", { class: "after" }, visible(item[2])) : null)));
    }
  }
  return found;
}

function absorbedText(absorbed) {
  if (!absorbed) return "";
  const [into, since, folded] = absorbed;
  return [folded ? "– folded into " : "– absorbed into ", into.map((name, number) => [number ? ", " : "", bidi(name, 60)]), ` by ${since} `];
}

function optimisedLine(section, place, node) {
  const text = section.optimised[place];
  const others = section.forward.flatMap((other, line) => (other === place && section.source_names[line] !== node.name ? [section.source_names[line]] : []));
  const where = section.places[place];
  return element("dl", { class: "compiled" },
    element("dt", {}, "optimised"), element("dd", {}, element("code", {}, visible(text.split("    # ")[0]))),
    where ? [element("dt", {}, "memory"), element("dd", {}, visible(where))] : null,
    others.length ? [element("dt", {}, "same value"), element("dd", {}, others.slice(0, 6).map((name) => [bidi(name, 60), element("br")]),
      others.length > 6 ? `and ${others.length - 6} more` : null)] : null);
}

function programLines(section, place) {
  const line = section.lines[place];
  if (!line) return element("p", { class: "note" }, section.kernel_of[place] ? null : "It has no line of its own in the program.");
  const first = Math.max(1, line - AROUND);
  const rows = [];
  for (let number = first; number <= Math.min(section.program.length, line + AROUND); number += 1) {
    rows.push(element("div", { class: number === line ? "line here" : "line", "data-line": number },
      element("span", { class: "gutter" }, number), element("span", { class: "code" }, visible(section.program[number - 1].replace(/ {2,}# .*$/, "").trim()))));
  }
  return element("div", { class: "excerpt", tabindex: "0", role: "region", "aria-label": `line ${line} of the program` }, rows);
}

function kernelText(section, place) {
  const name = section.kernel_of[place];
  if (!name || !section.kernels[name]) return null;
  const together = section.lines.filter((line) => line === section.lines[place]).length;
  return element("details", { class: "kernel" }, element("summary", {}, `${name} computes it with ${plural(together - 1, "other node")} in one loop`),
    element("pre", {}, section.kernels[name].split("\n").map(visible).join("\n")));
}

registerPanel({ name: "program-node", title: "Program", place: "node", section: "passes", show: showOwnProgram });

registerColouring({
  name: "program-line", label: "order in the program", section: "passes", scale: "linear",
  value: (node, section) => {
    const place = section.forward[sourceLine(section, node.name)] ?? -1;
    const line = place < 0 ? 0 : section.lines[place] - firstLine(section);
    return line > 0 ? line : null;
  },
});
