/* All figures of a run in a table that can be sorted, below a summary of likely problems. */

import { registerPanel } from "../core/contract.js";
import {
  append,
  bidi,
  countText,
  element,
  numberText,
  plural,
  replaceChildren,
  svg,
} from "../core/elements.js";
import { page } from "../core/model.js";

const SHOWN_ROWS = 300;
/** @type {{key: string, title: string, words?: boolean, kind?: string, hint?: string}[]} */
const COLUMNS = [
  { key: "name", title: "node", words: true },
  { key: "op", title: "operation", words: true },
  { key: "size", title: "elements" },
  ...["mean", "std", "norm", "minimum", "maximum", "zeros"].map((name) => ({ key: `z.${name}`, title: heading("z", name), kind: "value" })),
  ...["mean", "std", "norm", "minimum", "maximum", "zeros"].map((name) => ({ key: `d.${name}`, title: heading("δ", name), kind: "delta" })),
  { key: "cosine", title: "lowest cos", hint: "lowest cosine between a contribution and δ" },
  { key: "ratio", title: "‖Δw‖ ÷ ‖w‖", hint: "how far one step moves a parameter" },
];

function heading(symbol, name) {
  return { mean: `mean ${symbol}`, std: `std ${symbol}`, norm: `‖${symbol}‖`, minimum: `min ${symbol}`, maximum: `max ${symbol}`, zeros: `${symbol} = 0` }[name];
}

function collect(section) {
  const at = Object.fromEntries(section.columns.map((name, place) => [name, place]));
  const rows = [];
  for (const node of page.nodes) {
    if (node.part !== "forward" || !Object.hasOwn(section.nodes, node.name)) continue;
    const entry = section.nodes[node.name];
    const cosines = (entry.contributions ?? []).map((item) => item.cosine).filter((cosine) => cosine !== null);
    const row = { node, entry, name: node.name, op: node.op, size: section.rows[entry.value][at.size],
      cosine: cosines.length > 1 ? Math.min(...cosines) : null, ratio: entry.update?.ratio ?? null };
    for (const figure of ["mean", "std", "norm", "minimum", "maximum", "zeros", "non_finite"]) {
      row[`z.${figure}`] = section.rows[entry.value][at[figure]];
      row[`d.${figure}`] = entry.delta === undefined ? null : section.rows[entry.delta][at[figure]];
    }
    rows.push(row);
  }
  return rows;
}

function showRun(host, context) {
  const { section } = context;
  const rows = collect(section);
  const state = { sort: null, falling: true, text: "", all: false };
  const table = element("div", { class: "wide-table", tabindex: "0", role: "region", "aria-label": "figures of all nodes" });
  const status = element("span", { class: "from", role: "status" });
  const search = element("input", { type: "search", placeholder: "filter by name or operation", "aria-label": "filter the table",
    input: () => { state.text = search.value.trim().toLowerCase(); draw(); } });
  const sizes = Object.entries(section.sizes).map(([name, size]) => `${name} ${size}`).join(", ");
  append(host, [
    element("div", { class: "panel-head" }, element("h2", {}, section.example === undefined ? "Figures of one real batch" : "Figures of one example"),
      element("p", { class: "outputs" }, Object.entries(section.outputs).map(([name, value]) => [element("span", {}, bidi(name, 40), " ", element("b", { "data-output": name }, numberText(value))), " "])),
      element("p", { class: "from" }, section.run ? [bidi(section.run, 80), " · "] : "",
        `${section.example === undefined ? "" : `example ${section.example} of the `}batch of step ${section.batch}, parameters after step ${section.step}`, sizes ? ` · ${sizes}` : "")),
    element("div", { class: "cards" }, cards(rows, section, context)),
    element("div", { class: "bar" }, search, status),
    table,
  ]);
  draw();

  function draw() {
    let shown = rows.filter((row) => !state.text || row.name.toLowerCase().includes(state.text) || row.op.toLowerCase().includes(state.text));
    if (state.sort) shown = shown.slice().sort((a, b) => compared(a, b, state));
    const cut = state.all ? shown : shown.slice(0, SHOWN_ROWS);
    status.textContent = `${shown.length} of ${rows.length} nodes with figures`;
    replaceChildren(table, element("table", { class: "all-figures" },
      element("thead", {}, element("tr", {}, COLUMNS.map(headCell))),
      element("tbody", {}, cut.map((row) => bodyRow(row, context)))),
    cut.length < shown.length ? element("button", { class: "more", type: "button", click: () => { state.all = true; draw(); } },
      `show the other ${shown.length - cut.length}`) : null);
  }

  function headCell(column) {
    const sorted = state.sort === column.key;
    const sort = () => {
      state.falling = sorted ? !state.falling : !column.words;
      state.sort = column.key;
      draw();
      table.querySelector(`[data-column="${column.key}"] button`)?.focus();
    };
    return element("th", { scope: "col", "data-column": column.key, class: column.kind ? `of-${column.kind}` : column.words ? "words" : null,
      "aria-sort": sorted ? (state.falling ? "descending" : "ascending") : "none" },
    element("button", { type: "button", click: sort, title: column.hint }, column.title, sorted ? (state.falling ? " ↓" : " ↑") : ""));
  }
}

/* Sorts numbers by magnitude (a mean of -3 is larger than one of 1), missing ones last. */
function compared(a, b, { sort, falling }) {
  const [x, y] = [a[sort], b[sort]];
  if (x === null || y === null) return Number(x === null) - Number(y === null);
  const order = typeof x === "string" ? x.localeCompare(y) : (sort === "cosine" ? x - y : Math.abs(x) - Math.abs(y));
  return falling ? -order : order;
}

function bodyRow(row, context) {
  return element("tr", {}, COLUMNS.map((column) => {
    if (column.key === "name") return element("th", { scope: "row" }, context.nodeLink(row.name, row.name));
    if (column.key === "op") return element("td", { class: "words" }, bidi(row.op, 40));
    const value = row[column.key];
    return element("td", { "data-column": column.key, class: column.kind ? `of-${column.kind}` : null }, cellText(column.key, value));
  }));
}

function cellText(key, value) {
  if (value === null || value === undefined) return "";
  if (key === "size") return countText(value);
  if (key.endsWith(".zeros")) return value === 0 ? "0" : `${(100 * value).toFixed(value < 0.1 ? 1 : 0)} %`;
  if (key === "cosine") return value.toFixed(3).replace("-", "−");
  return numberText(value, 3);
}

/* ------------------------------------------------------------ what to look at first */

function cards(rows, section, context) {
  return [finiteCard(section, context), unitCard(rows, context), cosineCard(rows, context), updateCard(rows, section, context)];
}

function card(kind, title, ...content) {
  return element("section", { class: `card ${kind}` }, element("h3", {}, title), content);
}

function finiteCard(section, context) {
  const found = section.non_finite;
  if (!found) {
    return card("good", "All finite", element("p", {}, "No value and no delta that is computed from finite ones is NaN or infinite. Masks hold −∞ on purpose."));
  }
  const depth = Math.max(...found.ancestry.map((item) => item.distance));
  return card("bad", "Not finite", element("p", { class: "first" }, bidi(found.text, 600)),
    element("p", { class: "from" }, "what it was computed from:"),
    element("ol", { class: "ancestry" }, found.ancestry.map((item) => {
      const entry = Object.hasOwn(section.nodes, item.name) ? section.nodes[item.name] : null;
      const row = entry ? section.rows[entry.value] : null;
      const at = (name) => (row ? row[section.columns.indexOf(name)] : null);
      const line = element("li", { class: at("non_finite") ? "lost" : null }, context.nodeLink(item.name, item.name), " ",
        element("span", { class: "from" }, item.operation, row ? ` · ${numberText(at("minimum"), 3)} … ${numberText(at("maximum"), 3)}` : "",
          at("non_finite") ? ` · ${countText(at("non_finite"))} of ${countText(at("size"))} not finite` : ""));
      line.style.marginInlineStart = `${Math.min(item.distance, depth, 8) * 0.9}rem`;
      return line;
    })));
}

function unitCard(rows, context) {
  const found = rows.filter((row) => row.entry.unit).map((row) => ({ row, unit: row.entry.unit,
    share: row.entry.unit.kind === "relu" ? row.entry.unit.stuck / row.entry.unit.units : row.entry.unit.share ?? 0 }));
  if (!found.length) return card("quiet", "Dead and saturated units", element("p", {}, "There is no ReLU, sigmoid or tanh."));
  const stuck = found.reduce((sum, item) => sum + item.unit.stuck, 0);
  const total = found.reduce((sum, item) => sum + item.unit.units, 0);
  const kind = found.some((item) => item.share > 0.5) ? "bad" : stuck ? "warn" : "good";
  const listed = found.slice().sort((a, b) => b.share - a.share).slice(0, 8);
  return card(kind, "Dead and saturated units",
    element("p", {}, element("b", {}, `${countText(stuck)} of ${countText(total)}`), " units stand still for the whole batch: a ReLU at 0, a sigmoid or tanh at its bound."),
    element("ul", { class: "bars" }, listed.map(({ row, unit, share }) => element("li", {}, context.nodeLink(row.name, row.name),
      meter(share), element("span", { class: "number" }, unit.kind === "relu" ? `${unit.stuck} / ${unit.units}` : `${(100 * share).toFixed(1)} %`)))));
}

function meter(share) {
  return svg("svg", { class: "meter", viewBox: "0 0 100 8", preserveAspectRatio: "none", "aria-hidden": "true" },
    svg("rect", { class: "whole", width: 100, height: 8, rx: 2 }), svg("rect", { class: "part", width: Math.max(share > 0 ? 1 : 0, 100 * share), height: 8, rx: 2 }));
}

function cosineCard(rows, context) {
  const known = rows.filter((row) => row.cosine !== null).sort((a, b) => a.cosine - b.cosine);
  if (!known.length) return null;
  const found = known.filter((row) => row.cosine < 0.95).slice(0, 6);
  const opposed = rows.filter((row) => row.cosine !== null && row.cosine < -0.05).length;
  return card(opposed ? "warn" : "good", "Branches that disagree",
    element("p", {}, element("b", {}, plural(opposed, "node")), opposed === 1 ? " has" : " have", " a contribution that points against δ."),
    element("ul", { class: "bars" }, found.map((row) => element("li", {}, context.nodeLink(row.name, row.name),
      element("span", { class: "number" }, `cos ${cellText("cosine", row.cosine)}`)))));
}

function updateCard(rows, section, context) {
  const found = rows.filter((row) => row.ratio !== null).sort((a, b) => b.ratio - a.ratio);
  if (!found.length) return null;
  const listed = found.length > 6 ? [...found.slice(0, 3), null, ...found.slice(-3)] : found;
  const middle = found[Math.floor(found.length / 2)].ratio;
  const rate = section.outputs.learning_rate;
  const said = middle === 0 && rate === 0 ? "The learning rate of this step is 0: it moves nothing."
    : [`One step${rate ? ` at learning rate ${numberText(rate, 2)}` : ""} moves half of the parameters by more than `, element("b", {}, numberText(middle, 2)), " of their norm."];
  return card("quiet", "Update ÷ weight", element("p", {}, said),
    element("ul", { class: "bars" }, listed.map((row) => (row === null ? element("li", { class: "gap", "aria-hidden": "true" }, "⋮")
      : element("li", {}, context.nodeLink(row.name, row.name), element("span", { class: "number" }, numberText(row.ratio, 2)))))));
}

registerPanel({ name: "figures", title: "Figures", place: "page", section: "run", show: showRun });
