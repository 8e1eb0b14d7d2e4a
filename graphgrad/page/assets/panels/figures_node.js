/* Figures of the selected node's value and delta, and what each tail sends back to it. */

import { divergingColour } from "../core/colouring.js";
import { registerColouring, registerPanel } from "../core/contract.js";
import {
  append,
  bidi,
  countText,
  element,
  numberText,
  plural,
  shorten,
  svg,
  visible,
} from "../core/elements.js";
import { decades, powerOfTen } from "../core/packed.js";

const FIGURES = [
  ["mean", "mean"], ["std", "std"], ["norm", "‖·‖"], ["minimum", "min"], ["maximum", "max"],
  ["zeros", "zeros"], ["non_finite", "not finite"],
];
/** @type {[number, string][]} */
const HALF_LIMITS = [[-24, "smallest float16"], [16, "largest float16"]];

function figure(section, place, name) {
  return place === undefined ? null : section.rows[place][section.columns.indexOf(name)];
}

function entryOf(node, section) {
  return Object.hasOwn(section.nodes, node.name) ? section.nodes[node.name] : null;
}

function shownFigure(name, value) {
  if (name === "zeros" && value !== null) return shareText(value);
  if (name === "non_finite") return value === null ? "–" : countText(value);
  return numberText(value);
}

function shareText(share) {
  if (share === null) return "–";
  const percent = 100 * share;
  const digits = percent !== 0 && Math.abs(percent) < 10 ? 1 : 0;
  if (percent !== 0 && Math.abs(percent) < 0.1) return percent < 0 ? "−<0.1 %" : "<0.1 %";
  return `${percent.toFixed(digits).replace("-", "−")} %`;
}

function figureTable(section, columns) {
  const head = element("tr", {}, element("th", { scope: "col" }, element("span", { class: "unseen" }, "figure")),
    columns.map(([symbol, , kind]) => element("th", { scope: "col", class: `of-${kind}` }, symbol)));
  const rows = FIGURES.map(([name, shown]) => {
    const cells = columns.map(([, place, kind]) => {
      const value = figure(section, place, name);
      const bad = name === "non_finite" && value > 0;
      return element("td", { class: bad ? "bad" : null, "data-figure": `${kind}.${name}`, title: value === null ? null : String(value) },
        shownFigure(name, value));
    });
    return element("tr", {}, element("th", { scope: "row" }, shown), cells);
  });
  return element("table", { class: "figures" }, element("thead", {}, head), element("tbody", {}, rows));
}

/* ------------------------------------------------------------ histogram of binades */

function histogram(section, columns) {
  const found = columns.map(([symbol, place, kind]) => {
    const [first, positive, negative] = ["lowest", "positive", "negative"].map((name) => figure(section, place, name));
    return { symbol, kind, first, positive, negative };
  }).filter((item) => item.positive.length);
  if (!found.length) return null;
  const low = Math.min(...found.map((item) => item.first));
  const high = Math.max(...found.map((item) => item.first + item.positive.length));
  const span = Math.max(high - low, 6);
  const width = 300;
  const each = 64;
  const height = found.length * each + 16;
  const x = (exponent) => 18 + ((exponent - low) / span) * (width - 22);
  const picture = svg("svg", { viewBox: `0 0 ${width} ${height}`, class: "histogram", role: "img",
    "aria-label": found.map((item) => `${item.symbol}: ${described(item)}`).join("; ") });
  const tens = decades(low * Math.LOG10E * Math.LN2, (low + span) * Math.LOG10E * Math.LN2, 7);
  for (const exponent of tens) {
    const place = x(exponent / (Math.LOG10E * Math.LN2));
    picture.append(svg("line", { class: "grid", x1: place, x2: place, y1: 0, y2: height - 13 }),
      svg("text", { class: "tick", x: place, y: height - 3, "text-anchor": "middle" }, powerOfTen(exponent)));
  }
  for (const [exponent, text] of HALF_LIMITS) {
    if (exponent <= low || exponent >= low + span) continue;
    picture.append(svg("line", { class: "limit", x1: x(exponent), x2: x(exponent), y1: 0, y2: height - 13 },
      svg("title", {}, `${text}: 2^${exponent}`)));
  }
  found.forEach((item, number) => drawBins(picture, item, number * each, each, x, (width - 22) / span));
  return element("figure", { class: "histograms" }, picture,
    element("figcaption", {}, "magnitudes by powers of 2: positive above the line, negative below"));
}

function described(item) {
  const counts = item.positive.map((count, place) => count + item.negative[place]);
  const top = counts.indexOf(Math.max(...counts));
  return `most elements lie between 2^${item.first + top} and 2^${item.first + top + 1}`;
}

function drawBins(picture, item, top, each, x, wide) {
  const largest = Math.max(...item.positive, ...item.negative);
  const middle = top + each / 2;
  const reach = each / 2 - 3;
  picture.append(svg("text", { class: `symbol of-${item.kind}`, x: 2, y: middle + 4 }, item.symbol));
  picture.append(svg("line", { class: "axis", x1: 16, x2: x(0) * 0 + 298, y1: middle, y2: middle }));
  item.positive.forEach((count, place) => {
    const below = item.negative[place];
    if (!count && !below) return;
    const tall = (number) => (number ? Math.max(1, (number / largest) * reach) : 0);
    const exponent = item.first + place;
    const box = { class: `bin of-${item.kind}`, x: x(exponent) + 0.5, width: Math.max(1, wide - 1) };
    const label = `2^${exponent} ≤ |${item.symbol}| < 2^${exponent + 1}: ${countText(count)} positive, ${countText(below)} negative`;
    picture.append(svg("g", {}, svg("title", {}, label),
      svg("rect", { ...box, y: middle - tall(count), height: tall(count) }),
      svg("rect", { ...box, class: `${box.class} negative`, y: middle, height: tall(below) }),
      svg("rect", { class: "catch", x: x(exponent), y: top, width: wide, height: each })));
  });
}

/* ------------------------------------------------------------ contributions */

function contributionTable(entry, section, context) {
  const sent = entry.contributions;
  if (sent.length === 1) {
    return element("p", { class: "pair" }, "δ comes whole from ", context.nodeLink(sent[0].tail, shortened(sent[0].tail, context.node)));
  }
  const numbered = (entry.pairs?.length ?? 0) > 2;
  const body = sent.map((item, place) => element("tr", { title: item.formula },
    element("th", { scope: "row" }, numbered ? `${place + 1} ` : "", context.nodeLink(item.tail, shorten(shortened(item.tail, context.node), 19))),
    element("td", {}, numberText(figure(section, item.row, "norm"))),
    element("td", {}, shareText(item.share)),
    element("td", { class: signClass(item.cosine) }, cosineText(item.cosine)),
    element("td", {}, shareText(item.along), alongBar(item.along))));
  const headings = [["from tail", ""], ["‖·‖", "norm of the contribution"], ["share", "its part of the sum of norms"],
    ["cos", "cosine of the angle between the contribution and δ"],
    ["along δ", "its part of δ itself: these sum to 100 %"]];
  return element("table", { class: "contributions" },
    element("caption", {}, `δ is the sum of ${plural(sent.length, "contribution")}`),
    element("thead", {}, element("tr", {}, headings.map(([text, title]) => element("th", { scope: "col", title }, text)))),
    element("tbody", {}, body));
}

/* The last parts of a name, without the scope that it shares with the selected node. */
function shortened(name, node) {
  const scope = node.name.split(".").slice(0, -1);
  const parts = name.split(".");
  let same = 0;
  while (same < parts.length - 1 && same < scope.length && parts[same] === scope[same]) same += 1;
  return parts.slice(same).join(".");
}

function cosineText(cosine) {
  if (cosine === null) return "–";
  return cosine.toFixed(3).replace("-", "−");
}

function signClass(cosine) {
  return cosine !== null && cosine < -0.05 ? "against" : null;
}

function alongBar(along) {
  const bar = svg("svg", { class: "along", viewBox: "-50 0 100 10", "aria-hidden": "true" },
    svg("line", { x1: 0, x2: 0, y1: 0, y2: 10, class: "axis" }));
  if (along !== null) {
    const length = Math.max(-50, Math.min(50, 50 * along));
    bar.append(svg("rect", { x: Math.min(0, length), y: 2, width: Math.abs(length), height: 6,
      class: along < 0 ? "against" : "with" }));
  }
  return bar;
}

/* The angles between contributions: one cosine in words, several as a triangle. */
function pairs(entry, context) {
  const table = entry.pairs;
  if (!table) return null;
  const names = entry.contributions.map((item) => shortened(item.tail, context.node));
  if (table.length === 2) {
    const cosine = table[1][0];
    const verdict = cosine === null ? "" : cosine < -0.3 ? "they work against each other"
      : cosine > 0.3 ? "they pull the same way" : "they are nearly independent";
    return element("p", { class: "pair" }, "cosine between the two: ",
      element("b", { class: signClass(cosine), "data-pair": "1.0" }, cosineText(cosine)), verdict ? ` – ${verdict}` : "");
  }
  const rows = table.slice(1).map((row, a) => element("tr", {}, element("th", { scope: "row" }, `${a + 2} `, bidi(names[a + 1], 19)),
    row.map((cosine, b) => {
      const cell = element("td", { "data-pair": `${a + 1}.${b}` }, cosine === null ? "–" : cosine.toFixed(2).replace("-", "−"));
      if (cosine !== null) cell.style.background = `color-mix(in srgb, ${divergingColour(-cosine)} 55%, transparent)`;
      return cell;
    })));
  const head = element("tr", {}, element("td"), names.slice(0, -1).map((name, place) => element("th", { scope: "col", title: visible(name) }, place + 1)));
  return element("table", { class: "pairs" }, element("caption", {}, "cosines between them"), element("thead", {}, head),
    element("tbody", {}, rows));
}

/* ------------------------------------------------------------ notes */

function unitNote(unit, section) {
  const some = unit.first.join(", ") + (unit.stuck > unit.first.length ? ", …" : "");
  const listed = unit.stuck ? `: ${some}` : "";
  const bound = section.saturated;
  if (unit.kind === "relu") {
    return element("p", { class: unit.stuck ? "note warn" : "note" }, element("b", {}, `${unit.stuck} of ${unit.units}`),
      ` units are dead (0 for the whole batch)${listed}`, element("br"), `${shareText(unit.share)} of all elements are 0`);
  }
  const range = unit.kind === "tanh" ? `within ${bound} of ±1` : `within ${bound} of 0 or 1`;
  return element("p", { class: unit.stuck || unit.share > 0.5 ? "note warn" : "note" }, element("b", {}, shareText(unit.share)),
    ` of all elements are saturated (${range}); `, element("b", {}, `${unit.stuck} of ${unit.units}`),
    ` units are so for the whole batch${listed}`);
}

function updateNote(update, section) {
  if (update.norm === 0 && section.outputs.learning_rate === 0)
    return element("p", { class: "note" }, "the learning rate of this step is 0: it does not move");
  return element("p", { class: "note" }, "one step moves it by ‖Δw‖ = ", element("b", {}, numberText(update.norm)),
    update.ratio === null ? " (it is 0 itself)" : [", ‖Δw‖ ÷ ‖w‖ = ", element("b", { "data-figure": "update.ratio" }, numberText(update.ratio))]);
}

function lostNote(node, section) {
  const found = section.non_finite;
  if (!found || found.name !== node.name) return null;
  return element("p", { class: "note bad" }, bidi(found.text, 600));
}

function showFigures(host, context) {
  const { node, section } = context;
  const entry = entryOf(node, section);
  if (!entry) return;
  const isDelta = node.part === "delta";
  const columns = [[isDelta ? "δ" : "z", entry.value, isDelta ? "delta" : "value"]];
  if (entry.delta !== undefined) columns.push(["δ", entry.delta, "delta"]);
  const lost = lostNote(node, section);
  append(host, [
    lost, figureTable(section, columns), histogram(section, columns),
    entry.unit ? unitNote(entry.unit, section) : null,
    entry.update ? updateNote(entry.update, section) : null,
    entry.contributions?.length ? contributionTable(entry, section, context) : null,
    pairs(entry, context),
    element("p", { class: "from" }, `${section.example === undefined ? "" : `example ${section.example} of the `}batch of step ${section.batch}, parameters after step ${section.step}`),
  ]);
}

registerPanel({ name: "figures-node", title: "Figures of the run", place: "node", section: "run", show: showFigures });

/* ------------------------------------------------------------ colourings */

const SCALES = { mean: "diverging", std: "log", norm: "log", minimum: "diverging", maximum: "diverging", zeros: "linear", non_finite: "log" };
const WORDS = { mean: "mean", std: "standard deviation", norm: "norm", minimum: "smallest", maximum: "largest", zeros: "share of zeros", non_finite: "not finite" };

for (const [name] of FIGURES) {
  registerColouring({
    name: `value-${name}`, label: `z: ${WORDS[name]}`, section: "run", scale: SCALES[name],
    value: (node, section) => (node.part === "forward" ? figure(section, entryOf(node, section)?.value, name) : null),
  });
  registerColouring({
    name: `delta-${name}`, label: `δ: ${WORDS[name]}`, section: "run", scale: SCALES[name],
    value: (node, section) => {
      const entry = entryOf(node, section);
      if (node.part === "forward") return figure(section, entry?.delta, name);
      return node.kind === "delta" ? figure(section, entry?.value, name) : null;
    },
  });
}

registerColouring({
  name: "cosine", label: "δ: lowest cosine of a contribution", section: "run", scale: "diverging",
  value: (node, section) => {
    const found = (entryOf(node, section)?.contributions ?? []).map((item) => item.cosine).filter((cosine) => cosine !== null);
    return found.length > 1 ? Math.min(...found) : null;
  },
});

registerColouring({
  name: "stuck", label: "dead or saturated units", section: "run", scale: "linear",
  value: (node, section) => {
    const unit = entryOf(node, section)?.unit;
    return unit ? (unit.kind === "relu" ? unit.stuck / unit.units : unit.share) : null;
  },
});

registerColouring({
  name: "update-ratio", label: "w: update ÷ weight of one step", section: "run", scale: "log",
  value: (node, section) => entryOf(node, section)?.update?.ratio ?? null,
});
