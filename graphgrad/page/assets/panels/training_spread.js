/* Histograms of a figure over the steps: a column for each window of steps, its colour stronger where
more numbers are. All runs have the same windows and bins. */

import { rampColour } from "../core/colouring.js";
import { bidi, countText, element, numberText, replaceChildren } from "../core/elements.js";
import { colourTable, sharpCanvas, themeColour } from "../core/packed.js";

const SPREAD_HEIGHT = 96;
const SPREAD_LEFT = 54;

/* One picture for each shown run, and below them the numbers at the pointer. */
export function spreadChart(spread, names, hidden, width, swatch) {
  const readout = element("p", { class: "run-readout from", role: "status" }, "each column is a window of steps, its colour stronger where more numbers are");
  const colour = colourTable(rampColour, 0);
  const empty = themeColour("--sunken");
  const shown = names.map((_, run) => run).filter((run) => !hidden(run) && spread.counts[run].some((column) => column.some(Boolean)));
  return [shown.map((run) => spreadPicture(spread, run, names[run], width, { colour, empty, swatch, readout })), readout];
}

function spreadPicture(spread, run, name, width, { colour, empty, swatch, readout }) {
  const counts = spread.counts[run];
  const bins = spread.edges.length - 1;
  const inner = width - SPREAD_LEFT;
  const [wide, high] = [inner / counts.length, SPREAD_HEIGHT / bins];
  const [canvas, pen] = sharpCanvas(inner, SPREAD_HEIGHT, { class: "run-spread", role: "img", "aria-label": describe(spread, counts) });
  counts.forEach((column, window) => {
    const most = Math.max(...column);
    column.forEach((count, bin) => {
      pen.fillStyle = count ? colour(0.12 + (0.88 * count) / most) : empty;
      pen.fillRect(window * wide, SPREAD_HEIGHT - (bin + 1) * high, wide + 0.5, high + 0.5);
    });
  });
  canvas.addEventListener("pointermove", (event) => {
    const edges = canvas.getBoundingClientRect();
    const window = Math.max(0, Math.min(counts.length - 1, Math.floor(((event.clientX - edges.left) / edges.width) * counts.length)));
    const bin = Math.max(0, Math.min(bins - 1, bins - 1 - Math.floor(((event.clientY - edges.top) / edges.height) * bins)));
    const whole = counts[window].reduce((sum, count) => sum + count, 0);
    replaceChildren(readout, bidi(name, 40), ` steps ${countText(spread.first[window])}–${countText(spread.last[window])}: `, element("b", {}, countText(counts[window][bin])),
      ` of ${countText(whole)} between ${numberText(spread.edges[bin], 3)} and ${numberText(spread.edges[bin + 1], 3)}`);
  });
  return element("figure", { class: "run-spread-figure", "data-run": run },
    element("figcaption", {}, swatch(run), bidi(name, 40)),
    element("div", { class: "run-spread-row" },
      element("div", { class: "run-spread-ends", "aria-hidden": "true" }, element("span", {}, numberText(spread.edges.at(-1), 3)), element("span", {}, spread.log ? "log" : ""), element("span", {}, numberText(spread.edges[0], 3))), canvas));
}

/* Where most numbers of the first and of the last window are, for a reader who sees no picture. */
function describe(spread, counts) {
  const peak = (column) => column.indexOf(Math.max(...column));
  const text = (window) => `steps ${spread.first[window]} to ${spread.last[window]}: most between ${numberText(spread.edges[peak(counts[window])], 3)} and ${numberText(spread.edges[peak(counts[window]) + 1], 3)}`;
  return `histograms over the steps; ${text(0)}; ${text(counts.length - 1)}`;
}
