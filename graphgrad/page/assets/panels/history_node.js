/* The recorded figures of the selected node over training steps, and colours by the shown step. */

import { registerColouring, registerPanel } from "../core/contract.js";
import { append, element, numberText, replaceChildren, svg } from "../core/elements.js";
import { listen } from "../core/events.js";
import { recordedHistory, showStep, stepSlider } from "../core/history.js";
import { quantile } from "../core/packed.js";

const SMALL = { width: 300, height: 58, left: 44, right: 6 };
const SHOWN = [["norm", "‖·‖"], ["std", "std"], ["zeros", "zeros"], ["update_ratio", "‖Δw‖ ÷ ‖w‖"]];

/* A few lines of one statistic over the steps, with the number at the shown step. */
function smallChart(title, lines) {
  const history = recordedHistory();
  const { width, height, left, right } = SMALL;
  const all = lines.flatMap((item) => Array.from(item.series)).filter((number) => Number.isFinite(number));
  const positive = all.filter((number) => number > 0).map(Math.log10);
  const logarithmic = title !== "zeros" && positive.length > 0;
  const chosen = logarithmic ? positive : all;
  let [low, high] = [quantile(chosen, 0.01), quantile(chosen, 0.99)];
  if (high - low < 1e-6) [low, high] = [low - 0.5, high + 0.5];
  const x = (place) => left + (place / Math.max(1, history.steps.length - 1)) * (width - left - right);
  const y = (number) => Math.max(4, Math.min(height - 6, height - 6 - (((logarithmic ? Math.log10(number) : number) - low) / (high - low)) * (height - 12)));
  const picture = svg("svg", { class: "small-chart", viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": `${title} over training steps` });
  for (const [number, place] of [[high, 10], [low, height - 4]]) {
    picture.append(svg("text", { class: "tick", x: left - 4, y: place, "text-anchor": "end" }, numberText(logarithmic ? 10 ** number : number, 2)));
  }
  for (const item of lines) {
    let path = "";
    let open = false;
    item.series.forEach((number, place) => {
      const there = Number.isFinite(number) && (!logarithmic || number > 0);
      if (there) path += `${open ? "L" : "M"}${x(place).toFixed(1)} ${y(number).toFixed(1)}`;
      open = there;
    });
    picture.append(svg("path", { class: `line of-${item.kind}`, d: path }));
  }
  const cursor = svg("line", { class: "cursor", y1: 2, y2: height - 4 });
  picture.append(cursor);
  const values = element("span", { class: "now" });
  const update = () => {
    cursor.setAttribute("x1", x(history.step));
    cursor.setAttribute("x2", x(history.step));
    replaceChildren(values, lines.map((item) => element("b", { class: `of-${item.kind}`, "data-value": item.key }, `${item.symbol} ${numberText(item.series[history.step], 4)} `)));
  };
  update();
  picture.addEventListener("click", (event) => {
    const box = picture.getBoundingClientRect();
    const along = ((event.clientX - box.left) / box.width) * width - left;
    showStep(Math.round((along / (width - left - right)) * (history.steps.length - 1)));
  });
  return [element("figure", { class: "small" }, element("figcaption", {}, title, " ", values), picture), update];
}

function showOwnHistory(host, context) {
  const history = recordedHistory();
  const { node } = context;
  const charts = [];
  for (const [statistic, title] of SHOWN) {
    const lines = [[node.name, "z", "value"], [history.delta(node.name), "δ", "delta"]]
      .map(([name, symbol, kind]) => ({ symbol: node.part === "delta" ? "δ" : symbol, kind: statistic === "update_ratio" ? "ratio" : node.part === "delta" ? "delta" : kind, series: history.series(name, statistic), key: `${kind}.${statistic}` }))
      .filter((item) => item.series && Array.from(item.series).some((number) => Number.isFinite(number) && (statistic !== "zeros" || number !== 0)));
    if (lines.length) charts.push(smallChart(title, lines.map((item) => (statistic === "update_ratio" ? { ...item, symbol: "" } : item))));
  }
  if (!charts.length) return undefined;
  const [slider, stopSlider] = stepSlider();
  append(host, [slider, charts.map(([box]) => box)]);
  const stop = listen("step", () => charts.forEach(([, update]) => update()));
  return () => { stop(); stopSlider(); };
}

registerPanel({ name: "history-node", title: "History", place: "node", section: "history", show: showOwnHistory });

function atStep(name, statistic) {
  const history = recordedHistory();
  const number = history.series(name, statistic)?.[history.step];
  return Number.isFinite(number) ? number : null;
}

/** @type {[string, string, "log" | "linear"][]} */
const COLOURED = [["norm", "norm", "log"], ["std", "standard deviation", "log"], ["zeros", "share of zeros", "linear"]];

for (const [statistic, label, scale] of COLOURED) {
  registerColouring({
    name: `history-value-${statistic}`, label: `history, z: ${label}`, section: "history", scale,
    value: (node) => (node.part === "forward" ? atStep(node.name, statistic) : null),
  });
  registerColouring({
    name: `history-delta-${statistic}`, label: `history, δ: ${label}`, section: "history", scale,
    value: (node) => (node.part === "forward" ? atStep(recordedHistory().delta(node.name), statistic) : node.kind === "delta" ? atStep(node.name, statistic) : null),
  });
}

registerColouring({
  name: "history-update-ratio", label: "history, w: update ÷ weight", section: "history", scale: "log",
  value: (node) => (node.part === "forward" ? atStep(node.name, "update_ratio") : null),
});
