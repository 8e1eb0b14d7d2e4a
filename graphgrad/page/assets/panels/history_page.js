/* Recorded figures over training steps: the flow of the gradient by depth, update ÷ weight by
parameter, and chosen nodes over time. One slider moves all of them, and the colours of the graph. */

import { divergingColour, rampColour } from "../core/colouring.js";
import { registerPanel } from "../core/contract.js";
import {
  append,
  countText,
  element,
  numberText,
  plural,
  replaceChildren,
  shorten,
  svg,
  visible,
} from "../core/elements.js";
import { listen } from "../core/events.js";
import { FIGURE_WORDS, recordedHistory, showStep, stepSlider } from "../core/history.js";
import { remember } from "../core/kept.js";
import { page } from "../core/model.js";
import { colourTable, logTicks, quantile, sharpCanvas, themeColour } from "../core/packed.js";

const LEFT = 56;
const RIGHT = 12;
const CHART = 190;
const MOST_LINES = 6;

const SIGNED = new Set(["mean", "minimum", "maximum"]);

const remembered = { statistic: "norm", part: "delta", which: "values", chosen: [] };
remember("history", remembered);

/* Scopes along the depth: consecutive names of one scope make one strip. */
function strips(names) {
  const found = [];
  names.forEach((name, place) => {
    const parts = name.split(".");
    const scope = parts.length > 1 ? (/^\d+$/.test(parts[1]) ? `${parts[0]}.${parts[1]}` : parts[0]) : "";
    if (found.at(-1)?.scope === scope) found.at(-1).last = place;
    else found.push({ scope, first: place, last: place });
  });
  return found;
}

/* The exponents of ten between which nearly all magnitudes are; early spikes do not count. */
function robustRange(series, lowest = 0.03) {
  const logs = [];
  for (const numbers of series) {
    for (const number of numbers) if (Number.isFinite(number) && number !== 0) logs.push(Math.log10(Math.abs(number)));
  }
  if (!logs.length) return [-1, 1];
  logs.sort((a, b) => a - b);
  const at = (q) => logs[Math.round(q * (logs.length - 1))];
  const [low, high] = [at(lowest), at(0.995)];
  const spare = Math.max(0.1, 0.05 * (high - low));
  return [low - spare, high + spare];
}

function showHistory(host, context) {
  const { section } = context;
  const history = recordedHistory();
  const [slider, stopSlider] = stepSlider();
  const flow = element("div");
  const ratios = element("div");
  const over = element("div");
  const statistics = section.statistics.filter((name) => name !== "update_ratio");
  const statistic = element("select", { "aria-label": "statistic", change: () => { remembered.statistic = statistic.value; draw(); } },
    statistics.map((name) => element("option", { value: name }, FIGURE_WORDS[name] ?? visible(name))));
  const part = element("select", { "aria-label": "of values or deltas", change: () => { remembered.part = part.value; draw(); } },
    element("option", { value: "delta" }, "of deltas δ"), element("option", { value: "value" }, "of values z"));
  const which = element("select", { "aria-label": "which nodes", change: () => { remembered.which = which.value; draw(); } },
    [["values", "without parameters"], ["parameters", "parameters only"], ["all", "all nodes"]].map(([value, text]) => element("option", { value }, text)));
  which.value = remembered.which;
  statistic.value = statistics.includes(remembered.statistic) ? remembered.statistic : statistics[0];
  part.value = remembered.part;
  const many = section.steps_recorded > section.steps.length ? `${section.steps.length} of ${section.steps_recorded} recorded steps` : plural(section.steps.length, "recorded step");
  append(host, [
    element("div", { class: "panel-head" }, element("h2", {}, "History"), element("p", { class: "from" }, many,
      section.names_recorded > section.names.length ? ` · ${section.names.length} of ${section.names_recorded} names` : "")),
    element("div", { class: "bar sticky" }, slider, statistic, part, which),
    flow, ratios, over,
  ]);
  let updates = [];
  const stopStep = listen("step", () => updates.forEach((update) => update()));
  const stopTheme = listen("theme", draw);
  window.addEventListener("resize", draw);
  draw();
  return () => { stopSlider(); stopStep(); stopTheme(); window.removeEventListener("resize", draw); };

  function draw() {
    updates = [];
    const shown = (name) => (remembered.part === "delta" ? history.delta(name) : name);
    const symbol = remembered.part === "delta" ? "δ" : "z";
    const isParameter = new Set(section.parameters);
    const kept = section.depth.filter((name) => which.value === "all" || isParameter.has(name) === (which.value === "parameters"));
    replaceChildren(flow, flowBlock({
      title: remembered.part === "delta" ? "Gradient flow by depth" : "Values by depth",
      hint: `${FIGURE_WORDS[statistic.value] ?? statistic.value} of ${symbol}, first node to last; the band is the range over all steps, below it every step, first on top`,
      names: kept.length ? kept : section.depth, series: (name) => history.series(shown(name), statistic.value), statistic: statistic.value, kind: remembered.part, width: host.clientWidth, discrete: which.value === "parameters",
    }));
    const parameters = section.parameters.filter((name) => history.series(name, "update_ratio"));
    replaceChildren(ratios, parameters.length ? flowBlock({
      title: "Update ÷ weight by parameter", hint: "‖Δw‖ ÷ ‖w‖ of one step; around 10⁻³ is usual", names: parameters,
      series: (name) => history.series(name, "update_ratio"), statistic: "update_ratio", kind: "ratio", width: host.clientWidth, guide: 1e-3, discrete: true,
    }) : null);
    drawOver();
  }

  function drawOver() {
    replaceChildren(over, overTime(context, host.clientWidth, drawOver, (update) => updates.push(update)));
  }

  /* A chart by depth for the shown step, and below it, on the same axis, a picture of all steps. */
  function flowBlock(plot) {
    const found = plot.names.map((name) => [name, plot.series(name)]).filter(([, series]) => series !== null);
    if (!found.length) return element("section", { class: "flow" }, element("h3", {}, plot.title), element("p", { class: "from" }, section.depth.length || !section.names.length ? "nothing of this was recorded" : "parts of values were recorded, such as heads: the tab Training draws them over the steps"));
    const names = found.map(([name]) => name);
    const series = found.map(([, numbers]) => numbers);
    const width = Math.max(320, plot.width - 40);
    const readout = element("p", { class: "readout", role: "status" });
    const chart = depthChart(names, series, width, plot);
    const picture = stepPicture(series, width, chart.range, plot);
    const box = element("div", { class: "flow-area", tabindex: "0", role: "application", "aria-label": `${plot.title}: left and right go from node to node, up and down from step to step, Enter keeps a node below` }, chart.picture, picture.box);
    let place = 0;
    const describe = () => {
      const number = series[place][history.step];
      chart.mark(place);
      replaceChildren(readout, context.nodeLink(names[place], names[place]), "  ", element("b", { class: `of-${plot.kind}`, "data-value": names[place] }, numberText(number, 5)),
        ` at step ${countText(history.steps[history.step])}`, element("span", { class: "from" }, numbersOver(series[place])));
    };
    const update = () => { chart.draw(history.step); picture.mark(history.step); describe(); };
    const placeAt = (event) => {
      const left = box.getBoundingClientRect().left + LEFT;
      return Math.floor(((event.clientX - left) / (width - LEFT - RIGHT)) * names.length);
    };
    box.addEventListener("pointermove", (event) => {
      const found = placeAt(event);
      if (found >= 0 && found < names.length && found !== place) { place = found; describe(); }
    });
    box.addEventListener("click", (event) => {
      const row = picture.rowAt(event);
      if (row !== null) showStep(row);
      else if (placeAt(event) >= 0 && placeAt(event) < names.length) keep(names[place], plot);
    });
    box.addEventListener("keydown", (event) => {
      if (event.key === "ArrowRight" || event.key === "ArrowLeft") place = Math.max(0, Math.min(names.length - 1, place + (event.key === "ArrowRight" ? 1 : -1)));
      else if (event.key === "ArrowDown") showStep(history.step + 1);
      else if (event.key === "ArrowUp") showStep(history.step - 1);
      else if (event.key === "Enter") keep(names[place], plot);
      else return;
      describe();
      event.preventDefault();
      event.stopPropagation();
    });
    updates.push(update);
    update();
    return element("section", { class: "flow", "data-flow": plot.kind === "ratio" ? "ratio" : "depth" }, element("h3", {}, plot.title, element("span", { class: "from" }, ` – ${plot.hint}`)), box, readout);
  }

  function keep(name, plot) {
    const key = `${plot.kind === "delta" ? history.delta(name) : name}\n${plot.statistic}`;
    const at = remembered.chosen.indexOf(key);
    if (at >= 0) remembered.chosen.splice(at, 1);
    else remembered.chosen = [...remembered.chosen, key].slice(-MOST_LINES);
    drawOver();
  }
}

function numbersOver(series) {
  const finite = Array.from(series).filter(Number.isFinite);
  if (!finite.length) return "";
  return `   over all steps ${numberText(Math.min(...finite), 3)} … ${numberText(Math.max(...finite), 3)}`;
}

/* ------------------------------------------------------------ one step, by depth */

function depthChart(names, series, width, plot) {
  const linear = plot.statistic === "zeros" || SIGNED.has(plot.statistic);
  const range = linear ? linearRange(series, plot.statistic) : robustRange(series);
  const inner = width - LEFT - RIGHT;
  const x = (place) => LEFT + ((place + 0.5) / names.length) * inner;
  const height = CHART;
  const bottom = height - 22;
  const level = (number) => {
    const value = linear ? number : number === 0 ? range[0] : Math.log10(Math.abs(number));
    return Math.max(6, Math.min(bottom, bottom - ((value - range[0]) / (range[1] - range[0])) * (bottom - 8)));
  };
  const picture = svg("svg", { class: "depth-chart", viewBox: `0 0 ${width} ${height}`, width, height, role: "img", "aria-label": plot.title });
  strips(names).forEach((strip, number) => {
    const [left, right] = [LEFT + (strip.first / names.length) * inner, LEFT + ((strip.last + 1) / names.length) * inner];
    picture.append(svg("rect", { class: number % 2 ? "strip odd" : "strip", x: left, y: 4, width: right - left, height: bottom - 4 }));
    if (right - left > 7 * strip.scope.length) picture.append(svg("text", { class: "tick", x: (left + right) / 2, y: height - 6, "text-anchor": "middle" }, visible(shorten(strip.scope, 24))));
  });
  for (const [number, text] of linear ? linearTicks(range) : logTicks(range[0], range[1])) {
    picture.append(svg("line", { class: "grid", x1: LEFT, x2: width - RIGHT, y1: level(number), y2: level(number) }),
      svg("text", { class: "tick", x: LEFT - 6, y: level(number) + 4, "text-anchor": "end" }, text));
  }
  if (plot.guide && !linear) picture.append(svg("line", { class: "guide", x1: LEFT, x2: width - RIGHT, y1: level(plot.guide), y2: level(plot.guide) }));
  picture.append(plot.discrete ? bars(series, x, level, inner / names.length) : band(series, x, level));
  const line = svg("path", { class: `now of-${plot.kind}` });
  const dots = svg("g", { class: `dots of-${plot.kind}` });
  const cursor = svg("line", { class: "cursor", y1: 4, y2: bottom });
  picture.append(line, dots, cursor);
  const joined = joinedPlaces(names);
  return {
    picture, range: linear ? null : range,
    mark: (place) => { cursor.setAttribute("x1", x(place)); cursor.setAttribute("x2", x(place)); },
    draw: (step) => {
      const points = series.map((numbers, place) => (Number.isFinite(numbers[step]) ? [x(place), level(numbers[step]), numbers[step]] : null));
      const at = ([left, top]) => `${left.toFixed(1)} ${top.toFixed(1)}`;
      const known = plot.discrete ? [] : joined.map((pair) => pair.map((place) => points[place])).filter(([from, to]) => from && to);
      line.setAttribute("d", known.map(([from, to]) => `M${at(from)}L${at(to)}`).join(""));
      replaceChildren(dots, names.length > 160 && !plot.discrete ? [] : points.filter(Boolean).map(([cx, cy, number]) => svg("circle", { cx, cy, r: plot.discrete ? 3 : names.length > 80 ? 1.6 : 2.4, class: number === 0 ? "zero" : null })));
    },
  };
}

/* The places of names of which one follows the other in depth: a line leads from one to the other. */
function joinedPlaces(names) {
  const { depth, following } = page.sections.history;
  const places = new Map(names.map((name, place) => [name, place]));
  return following.map((pair) => pair.map((position) => places.get(depth[position]))).filter(([from, to]) => from !== undefined && to !== undefined);
}

/* From the smallest to the largest figure of all steps, for each node. */
function band(series, x, level) {
  const top = [];
  const under = [];
  series.forEach((numbers, place) => {
    const finite = Array.from(numbers).filter(Number.isFinite);
    if (!finite.length) return;
    const levels = finite.map(level);
    top.push(`${x(place).toFixed(1)} ${Math.min(...levels).toFixed(1)}`);
    under.unshift(`${x(place).toFixed(1)} ${Math.max(...levels).toFixed(1)}`);
  });
  return svg("path", { class: "band", d: top.length ? `M${[...top, ...under].join("L")}Z` : "" });
}

/* One step of nodes without an order: a bar for each. */
function bars(series, x, level, wide) {
  return svg("g", { class: "band" }, series.map((numbers, place) => {
    const levels = Array.from(numbers).filter(Number.isFinite).map(level);
    if (!levels.length) return null;
    const top = Math.min(...levels);
    return svg("rect", { x: x(place) - 0.3 * wide, y: top, width: 0.6 * wide, height: Math.max(1, Math.max(...levels) - top), rx: 1 });
  }));
}

function linearRange(series, statistic) {
  if (statistic === "zeros") return [0, 1];
  const all = series.flatMap((numbers) => Array.from(numbers).filter(Number.isFinite));
  const [low, high] = [Math.min(0, quantile(all, 0.005)), Math.max(0, quantile(all, 0.995))];
  return low === high ? [-1, 1] : [low, high];
}

/** @param {number[]} range */
function linearTicks([low, high]) {
  const step = 10 ** Math.floor(Math.log10((high - low) / 3));
  const wide = (high - low) / step > 6 ? 2 * step : step;
  const found = [];
  for (let number = Math.ceil(low / wide) * wide; number <= high + 1e-12; number += wide) {
    const rounded = Math.abs(number) < wide / 1e6 ? 0 : number;
    found.push([rounded, numberText(rounded, 3)]);
  }
  return found;
}

/* ------------------------------------------------------------ all steps, by depth */

function stepPicture(series, width, range, plot) {
  const history = recordedHistory();
  const count = history.steps.length;
  const inner = width - LEFT - RIGHT;
  const height = Math.max(40, Math.min(140, 4 * count));
  const [canvas, pen] = sharpCanvas(inner, height, { "aria-hidden": "true" });
  const signed = SIGNED.has(plot.statistic);
  const colour = signed ? colourTable(divergingColour, -1) : colourTable(rampColour, 0);
  const bound = signed ? quantile(series.flatMap((numbers) => Array.from(numbers, Math.abs)), 0.995) || 1 : 1;
  const empty = themeColour("--sunken");
  const shade = (number) => {
    if (!Number.isFinite(number) || (range && number === 0)) return empty;
    if (signed) return colour(number / bound);
    return colour(range ? (Math.log10(Math.abs(number)) - range[0]) / (range[1] - range[0]) : number);
  };
  const [wide, tall] = [inner / series.length, height / count];
  series.forEach((numbers, place) => {
    for (let step = 0; step < count; step += 1) {
      pen.fillStyle = shade(numbers[step]);
      pen.fillRect(place * wide, step * tall, wide + 0.5, tall + 0.5);
    }
  });
  const marker = element("div", { class: "step-marker", "aria-hidden": "true" });
  const box = element("div", { class: "step-picture" }, element("span", { class: "ends" }, element("span", {}, countText(history.steps[0])), element("span", {}, countText(history.steps.at(-1)))), canvas, marker);
  box.style.paddingInlineStart = `${LEFT}px`;
  return {
    box,
    mark: (step) => { marker.style.top = `${step * tall}px`; marker.style.height = `${Math.max(2, tall)}px`; marker.style.left = `${LEFT - 4}px`; marker.style.width = `${inner + 8}px`; },
    rowAt: (event) => {
      const edges = canvas.getBoundingClientRect();
      if (event.clientY < edges.top || event.clientY > edges.bottom || event.clientX < edges.left) return null;
      return Math.max(0, Math.min(count - 1, Math.floor(((event.clientY - edges.top) / edges.height) * count)));
    },
  };
}

/* ------------------------------------------------------------ chosen nodes over time */

function overTime(context, width, redraw, onStep) {
  const history = recordedHistory();
  const lines = remembered.chosen.map((key) => key.split("\n")).map(([name, statistic]) => ({ name, statistic, series: history.series(name, statistic) })).filter((item) => item.series);
  const title = element("h3", {}, "Over time", element("span", { class: "from" }, lines.length ? "" : " – click a node in the charts above, or press Enter there, to follow it over the steps"));
  if (!lines.length) return element("section", { class: "flow" }, title);
  const [chart, update] = timeChart(lines, Math.max(320, width - 40), 200);
  onStep(update);
  const legend = element("ul", { class: "series" }, lines.map((item, number) => element("li", {}, element("i", { class: `swatch s${number + 1}` }),
    context.nodeLink(item.name, item.name), ` ${FIGURE_WORDS[item.statistic] ?? item.statistic} `,
    element("button", { type: "button", class: "drop", "aria-label": `drop ${item.name}`, click: () => {
      remembered.chosen = remembered.chosen.filter((key) => key !== `${item.name}\n${item.statistic}`);
      redraw();
    } }, "×"))));
  return element("section", { class: "flow", "data-flow": "time" }, title, chart, legend);
}

/* Lines over the steps on one logarithmic axis; the shown step is marked. */
function timeChart(lines, width, height) {
  const history = recordedHistory();
  const range = robustRange(lines.map((item) => item.series), 0);
  const [first, last] = [history.steps[0], history.steps.at(-1)];
  const x = (place) => LEFT + ((history.steps[place] - first) / Math.max(1, last - first)) * (width - LEFT - RIGHT);
  const bottom = height - 20;
  const y = (number) => Math.max(4, Math.min(bottom, bottom - ((Math.log10(Math.abs(number)) - range[0]) / (range[1] - range[0])) * (bottom - 6)));
  const picture = svg("svg", { class: "time-chart", viewBox: `0 0 ${width} ${height}`, width, height, role: "img", "aria-label": "figures over training steps" });
  for (const [number, text] of logTicks(range[0], range[1], 5)) {
    picture.append(svg("line", { class: "grid", x1: LEFT, x2: width - RIGHT, y1: y(number), y2: y(number) }),
      svg("text", { class: "tick", x: LEFT - 6, y: y(number) + 4, "text-anchor": "end" }, text));
  }
  picture.append(svg("text", { class: "tick", x: LEFT, y: height - 4 }, `step ${countText(first)}`), svg("text", { class: "tick", x: width - RIGHT, y: height - 4, "text-anchor": "end" }, countText(last)));
  lines.forEach((item, number) => {
    let path = "";
    let open = false;
    item.series.forEach((value, place) => {
      const there = Number.isFinite(value) && value !== 0;
      if (there) path += `${open ? "L" : "M"}${x(place).toFixed(1)} ${y(value).toFixed(1)}`;
      open = there;
    });
    picture.append(svg("path", { class: `series-line s${number + 1}`, d: path }));
  });
  const marker = svg("line", { class: "cursor", y1: 2, y2: bottom });
  picture.append(marker);
  const update = () => { marker.setAttribute("x1", x(history.step)); marker.setAttribute("x2", x(history.step)); };
  update();
  return [picture, update];
}

registerPanel({ name: "history", title: "History", place: "page", section: "history", show: showHistory });
