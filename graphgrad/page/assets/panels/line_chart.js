/* A chart of lines over the steps, and below it the numbers at the cursor, which moves through all charts.

A series is {key, label, look, held, first, last, lost, mean, low, high}: windows of steps with their mean,
smallest and largest number; its look is the class of a colour and the pattern of a line. */

import { bidi, countText, element, numberText, replaceChildren, svg } from "../core/elements.js";
import { logTicks } from "../core/packed.js";

const CHART_LEFT = 54;
const CHART_RIGHT = 14;
const CHART_TOP = 8;
const CHART_BOTTOM = 22;
const HEIGHT = 210;

/* The lines of one figure, and below them the numbers at the cursor. `host` has {log, step(), moveTo(step),
updates}: what to do at another step is added to its updates. */
export function lineChart(plot, series, width, host) {
  const logarithmic = host.log && series.every((item) => item.mean.every((number) => !(number <= 0)));
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
      host.moveTo(nearestStep(series, first + ((event.clientX - left - CHART_LEFT) / (width - CHART_LEFT - CHART_RIGHT)) * (last - first)));
    },
    keydown: (event) => keys(event, series, first, last, host) }, picture);
  host.updates.push((step) => {
    const at = step < 0 ? last : Math.min(last, Math.max(first, step));
    for (const name of ["x1", "x2"]) cursor.setAttribute(name, x(at));
    cursor.classList.toggle("resting", step < 0);
    const found = series.map((item) => [item, windowAt(item, at)]).filter(([, place]) => place !== null);
    replaceChildren(dots, found.filter(([item, place]) => Number.isFinite(item.mean[place])).map(([item, place]) =>
      svg("circle", { class: item.look.class, cx: x(middle(item, place)), cy: y(item.mean[place]), r: 3.2 })));
    replaceChildren(readout, element("p", { class: "from" }, step < 0 ? "at the end" : `at step ${countText(at)}`), found.map(([item, place]) => reading(item, place)));
  });
  return [area, readout];
}

function keys(event, series, first, last, host) {
  const edges = [...new Set(series.flatMap((item) => item.last))].sort((a, b) => a - b);
  const here = host.step() < 0 ? last : host.step();
  const next = { ArrowRight: edges.find((step) => step > here), ArrowLeft: edges.findLast((step) => step < here), Home: first, End: last }[event.key];
  if (!["ArrowRight", "ArrowLeft", "Home", "End"].includes(event.key)) return;
  event.preventDefault();
  event.stopPropagation();
  if (next !== undefined) host.moveTo(next);
}

/* Name, number and window of a series at the cursor. */
function reading(item, place) {
  const [first, last] = [item.first[place], item.last[place]];
  const several = first !== last;
  const range = several ? ` ${numberText(item.low[place], 3)} … ${numberText(item.high[place], 3)} in steps ${countText(first)}–${countText(last)}` : item.held ? ` at step ${countText(last)}` : "";
  return element("p", {}, swatch(item.look, item.held), bidi(item.label, 60), item.held ? " held out " : " ",
    element("b", { "data-value": `${item.key}${item.held ? "-held" : ""}` }, numberText(item.mean[place], 4)), element("span", { class: "from" }, range),
    item.lost.has(place) ? element("b", { class: "against" }, " not finite") : null);
}

/* A short piece of a line, as in the charts. */
export function swatch({ class: colour, dash }, held = false) {
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
  const { class: colour, dash } = item.look;
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
    svg("path", { class: `run-line ${colour}${item.held ? " held-out" : ""}`, d: line, "stroke-dasharray": dash || null, "data-run": item.key }),
    points ? svg("g", {}, Array.from(item.mean, (number, place) => (Number.isFinite(number) ? svg("circle", { class: colour, cx: x(middle(item, place)), cy: y(number), r: 2.6 }) : null))) : null,
    item.lost.size ? svg("path", { class: "run-lost", d: [...item.lost].map((place) => `M${x(middle(item, place)).toFixed(1)} ${bottom}v-7`).join("") }) : null,
  ].filter(Boolean);
}

