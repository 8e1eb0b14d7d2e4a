/* Metrics of one run or several over the steps: loss, held-out figures, schedule, norm of the gradient,
as lines or as histograms. One cursor moves through all charts; a run has one colour and one pattern of
its line in all of them. */

import { registerPanel } from "../core/contract.js";
import { append, bidi, countText, element, numberText, plural, replaceChildren, svg, visible } from "../core/elements.js";
import { listen } from "../core/events.js";
import { remember } from "../core/kept.js";
import { floatsOf, logTicks } from "../core/packed.js";
import { spreadChart } from "./training_spread.js";

const CHART_LEFT = 54;
const CHART_RIGHT = 14;
const CHART_TOP = 8;
const CHART_BOTTOM = 22;
const HEIGHT = 210;
const PADDING = 24; // of the tab; the gap between cards; and what a card has around its chart
const GAP = 18;
const CARD = 26;
const COLOURS = 6;
const DASHES = ["", "7 4", "2 3", "9 3 2 3"];
const HELD_OUT = "held_out_";
const TITLES = { loss: "loss", learning_rate: "learning rate", gradient_norm: "norm of the gradient", loss_scale: "scale of the loss", tokens: "tokens of a step", examples: "examples of a step", seconds: "seconds of a step" };

const choices = { log: false, spread: false, hidden: [], step: -1 };
remember("training", choices);

/* The class of a run's colour and the pattern of its line, by its number. */
function look(run) {
  return { class: `run-${(run % COLOURS) + 1}`, dash: DASHES[Math.floor(run / COLOURS) % DASHES.length] };
}

function titleOf(name) {
  if (name in TITLES) return TITLES[name];
  const held = name.startsWith(HELD_OUT);
  return `${visible((held ? name.slice(HELD_OUT.length) : name).replaceAll("_", " "))}${held ? ", held out" : ""}`;
}

/* Series of all runs, decoded; the held-out loss is in the chart of the loss. */
function chartsOf(section) {
  const decode = (figure, held) => figure.series.map((series, run) => series && {
    run, held, first: series.first, last: series.last, lost: new Set(series.lost),
    mean: floatsOf(series.mean), low: floatsOf(series.low), high: floatsOf(series.high),
  }).filter(Boolean);
  const names = new Map(section.figures.map((figure) => [figure.name, figure]));
  const loss = names.get("loss");
  const heldOut = loss && names.get(`${HELD_OUT}loss`);
  return section.figures.filter((figure) => figure !== heldOut).map((figure) => ({
    name: figure.name, spread: figure.spread,
    title: figure === loss && heldOut ? "loss; points: held out" : titleOf(figure.name),
    series: [...decode(figure, figure.name.startsWith(HELD_OUT)), ...(figure === loss && heldOut ? decode(heldOut, true) : [])],
  }));
}

function showTraining(host, context) {
  const { section } = context;
  const plots = chartsOf(section);
  const steps = Math.max(...plots.flatMap((plot) => plot.series.map((series) => series.last.at(-1))));
  const legend = element("ul", { class: "run-legend", "aria-label": "runs" });
  const charts = element("div", { class: "run-charts" });
  const log = toggle("log axis", "log", "numbers on a logarithmic axis");
  const spread = toggle("histograms", "spread", "how the numbers are spread, in windows of steps");
  append(host, [
    element("div", { class: "panel-head" }, element("h2", {}, "Training"),
      element("p", { class: "from" }, `${plural(section.runs.length, "run")}, ${countText(steps)} steps`)),
    element("div", { class: "bar sticky" }, legend, element("span", { class: "choices" }, log, plots.some((plot) => plot.spread) ? spread : null)),
    charts,
  ]);
  let updates = [];
  const stop = listen("theme", draw);
  window.addEventListener("resize", draw);
  draw();
  return () => { stop(); window.removeEventListener("resize", draw); };

  function toggle(text, name, title) {
    const button = element("button", { type: "button", title, "data-choice": name, "aria-pressed": String(choices[name]), click: () => {
      choices[name] = !choices[name];
      button.setAttribute("aria-pressed", String(choices[name]));
      draw();
    } }, text);
    return button;
  }

  function draw() {
    updates = [];
    const hidden = (run) => choices.hidden.includes(section.runs[run]);
    replaceChildren(legend, section.runs.map((name, run) => element("li", {},
      element("button", { type: "button", "aria-pressed": String(!hidden(run)), title: hidden(run) ? "show this run" : "hide this run", click: () => hide(name) }, swatch(run), bidi(name, 60)))));
    const columns = host.clientWidth > 1500 ? 3 : host.clientWidth > 760 ? 2 : 1;
    const width = Math.max(240, Math.floor((host.clientWidth - 2 * PADDING - GAP * (columns - 1)) / columns) - CARD);
    replaceChildren(charts, plots.map((plot) => {
      const series = plot.series.filter((item) => !hidden(item.run));
      const asSpread = choices.spread && plot.spread;
      const body = asSpread
        ? spreadChart(plot.spread, section.runs, hidden, width, swatch)
        : series.length ? lineChart(plot, series, width) : element("p", { class: "from" }, "no run is shown");
      return element("section", { class: "run-chart", "data-figure": plot.name }, element("h3", {}, asSpread ? titleOf(plot.name) : plot.title), body);
    }));
    moveTo(choices.step);
  }

  function hide(name) {
    choices.hidden = choices.hidden.includes(name) ? choices.hidden.filter((other) => other !== name) : [...choices.hidden, name];
    const place = section.runs.indexOf(name);
    draw();
    /** @type {HTMLElement} */ (legend.children[place].firstChild).focus();
  }

  function moveTo(step) {
    choices.step = step;
    for (const update of updates) update(step);
  }

  /* The lines of one figure, and below them the numbers at the cursor. */
  function lineChart(plot, series, width) {
    const logarithmic = choices.log && series.every((item) => item.mean.every((number) => !(number <= 0)));
    const first = Math.min(...series.map((item) => item.first[0]));
    const last = Math.max(...series.map((item) => item.last.at(-1)));
    const shape = (number) => (logarithmic ? Math.log10(number) : number);
    const [low, high] = rangeOf(series, shape);
    const bottom = HEIGHT - CHART_BOTTOM;
    const x = (step) => CHART_LEFT + ((step - first) / Math.max(1, last - first)) * (width - CHART_LEFT - CHART_RIGHT);
    const y = (number) => Math.max(CHART_TOP, Math.min(bottom, bottom - ((shape(number) - low) / (high - low)) * (bottom - CHART_TOP)));
    const picture = svg("svg", { class: "run-lines", viewBox: `0 0 ${width} ${HEIGHT}`, width, height: HEIGHT, "aria-hidden": "true" });
    for (const [number, text] of logarithmic ? logTicks(low, high, 5) : plainTicks(low, high)) {
      picture.append(svg("line", { class: "grid", x1: CHART_LEFT, x2: width - CHART_RIGHT, y1: y(number), y2: y(number) }),
        svg("text", { class: "tick", x: CHART_LEFT - 6, y: y(number) + 4, "text-anchor": "end" }, text));
    }
    picture.append(svg("text", { class: "tick", x: CHART_LEFT, y: HEIGHT - 5 }, `step ${countText(first)}`),
      svg("text", { class: "tick", x: width - CHART_RIGHT, y: HEIGHT - 5, "text-anchor": "end" }, countText(last)));
    const cursor = svg("line", { class: "cursor", y1: CHART_TOP, y2: bottom });
    const dots = svg("g", {});
    for (const item of series) picture.append(...linesOf(item, x, y, bottom));
    picture.append(cursor, dots);
    const readout = element("div", { class: "run-readout", role: "status" });
    const area = element("div", { class: "run-area", tabindex: "0", role: "application", "aria-label": `${plot.title}: left and right move the step, Home and End go to the first and the last`,
      pointermove: (event) => {
        const left = picture.getBoundingClientRect().left;
        moveTo(nearestStep(series, first + ((event.clientX - left - CHART_LEFT) / (width - CHART_LEFT - CHART_RIGHT)) * (last - first)));
      },
      keydown: (event) => keys(event, series, first, last) }, picture);
    updates.push((step) => {
      const at = step < 0 ? last : Math.min(last, Math.max(first, step));
      for (const name of ["x1", "x2"]) cursor.setAttribute(name, x(at));
      cursor.classList.toggle("resting", step < 0);
      const found = series.map((item) => [item, windowAt(item, at)]).filter(([, place]) => place !== null);
      replaceChildren(dots, found.filter(([item, place]) => Number.isFinite(item.mean[place])).map(([item, place]) =>
        svg("circle", { class: look(item.run).class, cx: x(middle(item, place)), cy: y(item.mean[place]), r: 3.2 })));
      replaceChildren(readout, element("p", { class: "from" }, step < 0 ? "at the end" : `at step ${countText(at)}`), found.map(([item, place]) => reading(item, place, section.runs)));
    });
    return [area, readout];
  }

  function keys(event, series, first, last) {
    const edges = [...new Set(series.flatMap((item) => item.last))].sort((a, b) => a - b);
    const here = choices.step < 0 ? last : choices.step;
    const next = { ArrowRight: edges.find((step) => step > here), ArrowLeft: edges.findLast((step) => step < here), Home: first, End: last }[event.key];
    if (!["ArrowRight", "ArrowLeft", "Home", "End"].includes(event.key)) return;
    event.preventDefault();
    event.stopPropagation();
    if (next !== undefined) moveTo(next);
  }
}

/* Name, number and window of a run at the cursor. */
function reading(item, place, names) {
  const [first, last] = [item.first[place], item.last[place]];
  const several = first !== last;
  const range = several ? ` ${numberText(item.low[place], 3)} … ${numberText(item.high[place], 3)} in steps ${countText(first)}–${countText(last)}` : item.held ? ` at step ${countText(last)}` : "";
  return element("p", {}, swatch(item.run, item.held), bidi(names[item.run], 40), item.held ? " held out " : " ",
    element("b", { "data-value": `${item.run}${item.held ? "-held" : ""}` }, numberText(item.mean[place], 4)), element("span", { class: "from" }, range),
    item.lost.has(place) ? element("b", { class: "against" }, " not finite") : null);
}

/* A short piece of the line of a run, as in the charts. */
function swatch(run, held = false) {
  const { class: colour, dash } = look(run);
  const line = svg("line", { class: `run-line ${colour}`, x1: 1, x2: 25, y1: 5, y2: 5, "stroke-dasharray": dash || null });
  return svg("svg", { class: "run-swatch", viewBox: "0 0 26 10", width: 26, height: 10, "aria-hidden": "true" }, held ? svg("circle", { class: colour, cx: 13, cy: 5, r: 3.4 }) : line);
}

function middle(item, place) {
  return item.held ? item.last[place] : (item.first[place] + item.last[place]) / 2;
}

/* The window of a step: the last one that begins before it; null before the first. */
function windowAt(item, step) {
  let [low, high] = [0, item.first.length - 1];
  if (step < item.first[0]) return null;
  while (low < high) {
    const half = (low + high + 1) >> 1;
    if (item.first[half] <= step) low = half;
    else high = half - 1;
  }
  return low;
}

function nearestStep(series, wanted) {
  let best = series[0].first[0];
  for (const item of series)
    for (const step of item.last) if (Math.abs(step - wanted) < Math.abs(best - wanted)) best = step;
  return best;
}

/* All means are inside; the band of a window may be cut at the edge. */
function rangeOf(series, shape) {
  let [low, high] = [Infinity, -Infinity];
  for (const item of series)
    for (const number of item.mean) {
      if (!Number.isFinite(shape(number))) continue;
      low = Math.min(low, shape(number));
      high = Math.max(high, shape(number));
    }
  if (low > high) return [0, 1];
  const spare = 0.04 * (high - low) || 0.5 * Math.abs(high) || 1;
  return [low - spare, high + spare];
}

/* Of a logarithmic axis within one power of ten those of a plain one, if there are more of them. */
function ticks(low, high, logarithmic) {
  if (!logarithmic) return plainTicks(low, high);
  const found = logTicks(low, high, 5);
  return found.length > 2 ? found : plainTicks(10 ** low, 10 ** high);
}

function plainTicks(low, high) {
  const step = 10 ** Math.floor(Math.log10((high - low) / 3));
  const wide = [1, 2, 5, 10].map((factor) => factor * step).find((size) => (high - low) / size <= 6);
  const found = [];
  for (let number = Math.ceil(low / wide) * wide; number <= high + wide / 1e6; number += wide) {
    const rounded = Math.abs(number) < wide / 1e6 ? 0 : number;
    found.push([rounded, numberText(rounded, 3)]);
  }
  return found;
}

/* The band and the line of a run; points where there are few. A gap is where nothing was finite. */
function linesOf(item, x, y, bottom) {
  const { class: colour, dash } = look(item.run);
  const parts = [[]];
  item.mean.forEach((number, place) => {
    if (Number.isFinite(number)) parts.at(-1).push(place);
    else if (parts.at(-1).length) parts.push([]);
  });
  const at = (place, numbers) => `${x(middle(item, place)).toFixed(1)} ${y(numbers[place]).toFixed(1)}`;
  const line = parts.filter((part) => part.length).map((part) => `M${part.map((place) => at(place, item.mean)).join("L")}${part.length === 1 ? "h0.1" : ""}`).join("");
  const band = parts.filter((part) => part.length).map((part) => `M${[...part.map((place) => at(place, item.high)), ...part.toReversed().map((place) => at(place, item.low))].join("L")}Z`).join("");
  const thinned = item.first.some((step, place) => step !== item.last[place]);
  const points = item.held ? item.mean.length <= 80 : item.mean.length === 1;
  return [
    thinned ? svg("path", { class: `run-band ${colour}`, d: band }) : null,
    svg("path", { class: `run-line ${colour}${item.held ? " held-out" : ""}`, d: line, "stroke-dasharray": dash || null, "data-run": item.run }),
    points ? svg("g", {}, Array.from(item.mean, (number, place) => (Number.isFinite(number) ? svg("circle", { class: colour, cx: x(middle(item, place)), cy: y(number), r: 2.6 }) : null))) : null,
    item.lost.size ? svg("path", { class: "run-lost", d: [...item.lost].map((place) => `M${x(middle(item, place)).toFixed(1)} ${bottom}v-7`).join("") }) : null,
  ].filter(Boolean);
}

registerPanel({ name: "training", title: "Training", place: "page", section: "training", show: showTraining });
