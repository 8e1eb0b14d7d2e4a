/* Metrics of one run or several over the steps: loss, held-out figures, schedule, norm of the gradient,
as lines or as histograms, and below them the recorded figures of values and deltas. One cursor moves through all charts; a run has one colour and one pattern of
its line in all of them. */

import { registerPanel } from "../core/contract.js";
import { append, bidi, countText, element, plural, replaceChildren, visible } from "../core/elements.js";
import { listen } from "../core/events.js";
import { FIGURE_WORDS } from "../core/history.js";
import { remember } from "../core/kept.js";
import { floatsOf } from "../core/packed.js";
import { lineChart, swatch } from "./line_chart.js";
import { recordedPlots, recordedRuns } from "./training_recorded.js";
import { spreadChart } from "./training_spread.js";

const PADDING = 24; // of the tab; the gap between cards; and what a card has around its chart
const GAP = 18;
const CARD = 26;
const COLOURS = 6;
const DASHES = ["", "7 4", "2 3", "9 3 2 3"];
const HELD_OUT = "held_out_";
const TITLES = { loss: "loss", learning_rate: "learning rate", gradient_norm: "norm of the gradient", loss_scale: "scale of the loss", tokens: "tokens of a step", examples: "examples of a step", seconds: "seconds of a step" };

const choices = { log: false, spread: false, hidden: [], step: -1, pattern: "", statistic: "norm", part: "delta" };
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
    run, held, key: String(run), label: section.runs[run], look: look(run), first: series.first, last: series.last, lost: new Set(series.lost),
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
  const recorded = recordedBlock(section.runs);
  const log = toggle("log axis", "log", "numbers on a logarithmic axis");
  const spread = toggle("histograms", "spread", "how the numbers are spread, in windows of steps");
  append(host, [
    element("div", { class: "panel-head" }, element("h2", {}, "Training"),
      element("p", { class: "from" }, `${plural(section.runs.length, "run")}, ${countText(steps)} steps`)),
    element("div", { class: "bar sticky" }, legend, element("span", { class: "choices" }, log, plots.some((plot) => plot.spread) ? spread : null)),
    charts, recorded,
  ]);
  const shown = { get log() { return choices.log; }, step: () => choices.step, moveTo, updates: [] };
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
    shown.updates = [];
    const hidden = (run) => choices.hidden.includes(section.runs[run]);
    replaceChildren(legend, section.runs.map((name, run) => element("li", {},
      element("button", { type: "button", "aria-pressed": String(!hidden(run)), title: hidden(run) ? "show this run" : "hide this run", click: () => hide(name) }, swatch(look(run)), bidi(name, 60)))));
    const columns = host.clientWidth > 1500 ? 3 : host.clientWidth > 760 ? 2 : 1;
    const width = Math.max(240, Math.floor((host.clientWidth - 2 * PADDING - GAP * (columns - 1)) / columns) - CARD);
    const card = (plot) => {
      const series = plot.series.filter((item) => !hidden(item.run));
      const asSpread = choices.spread && plot.spread;
      const body = asSpread
        ? spreadChart(plot.spread, section.runs, hidden, width, (run) => swatch(look(run)))
        : series.length ? lineChart(plot, series, width, shown) : element("p", { class: "from" }, "no run is shown");
      return element("section", { class: "run-chart", "data-figure": plot.name }, element("h3", {}, asSpread ? titleOf(plot.name) : plot.title), body);
    };
    replaceChildren(charts, plots.map(card));
    if (recorded) drawRecorded(card);
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
    for (const update of shown.updates) update(step);
  }

  /* Which recorded figures are drawn: names, a figure, of values or deltas. */
  function recordedBlock(names) {
    const runs = recordedRuns(names);
    if (!runs.length) return null;
    const statistics = [...new Set(runs.flatMap((run) => run.statistics))];
    const options = (texts) => texts.map(([value, text]) => element("option", { value }, text));
    const field = (name, made) => { made.value = choices[name]; made.addEventListener("input", () => { choices[name] = made.value; draw(); }); return made; };
    if (!statistics.includes(choices.statistic)) choices.statistic = statistics[0];
    return element("section", { class: "recorded" }, element("h3", {}, "Recorded values and deltas"),
      element("div", { class: "bar" },
        field("pattern", element("input", { type: "search", placeholder: "names, such as *.scores", "aria-label": "names of values" })),
        field("statistic", element("select", { "aria-label": "recorded figure" }, options(statistics.map((name) => [name, FIGURE_WORDS[name] ?? visible(name)])))),
        field("part", element("select", { "aria-label": "recorded of" }, options([["delta", "of deltas δ"], ["value", "of values z"]])))),
      element("p", { class: "from", role: "status" }), element("div", { class: "run-charts" }));
  }

  function drawRecorded(card) {
    const [said, grid] = recorded.querySelectorAll("[role=status], .run-charts");
    const { plots, text } = recordedPlots(recordedRuns(section.runs), choices, look);
    said.textContent = text;
    replaceChildren(grid, plots.map(card));
  }
}

registerPanel({ name: "training", title: "Training", place: "page", section: "training", show: showTraining });
