/* Decodes the section `history`: figures over training steps, and the step that is shown.

    recorded.series(name, statistic)   Float32Array over the steps, or null
    recorded.delta(name)               the name of the node's delta, or undefined
    recorded.step                      the index of the shown step, the same in all panels
*/

import { setColouring } from "./colouring.js";
import { countText, element } from "./elements.js";
import { announceEvent, listen } from "./events.js";
import { remember } from "./kept.js";
import { page } from "./model.js";
import { floatsOf } from "./packed.js";
import { state } from "./state.js";

/* What the figures are called. */
export const FIGURE_WORDS = { mean: "mean", std: "standard deviation", norm: "norm", minimum: "smallest", maximum: "largest", zeros: "share of zeros", non_finite: "not finite", update_ratio: "update ÷ weight" };

let recorded = null;
/* The number of the shown step; -1 for the last one, which is another one when the page is refreshed. */
const keptStep = { step: -1 };
remember("step", keptStep);

export function recordedHistory() {
  const section = page.sections.history;
  if (recorded === null && section) {
    const values = floatsOf(section.values);
    const [names, statistics, count] = [new Map(section.names.map((name, place) => [name, place])), section.statistics, section.steps.length];
    const deltas = new Map(section.deltas);
    recorded = {
      steps: section.steps,
      delta: (name) => deltas.get(name),
      step: section.steps.includes(keptStep.step) ? section.steps.indexOf(keptStep.step) : count - 1,
      has: (name) => names.has(name),
      series: (name, statistic) => {
        const [row, column] = [names.get(name), statistics.indexOf(statistic)];
        if (row === undefined || column < 0) return null;
        const start = (row * statistics.length + column) * count;
        return values.subarray(start, start + count);
      },
    };
  }
  return recorded;
}

/* Shows another step: colours of the graph and everything that listens follow. */
export function showStep(place) {
  const history = recordedHistory();
  history.step = Math.max(0, Math.min(history.steps.length - 1, place));
  keptStep.step = history.step === history.steps.length - 1 ? -1 : history.steps[history.step];
  if (state.colouring?.section === "history") setColouring(state.colouring.name);
  announceEvent("step", history.step);
}

/* A slider with a button that plays, kept in step with all others. Returns it and how to stop it. */
export function stepSlider() {
  const history = recordedHistory();
  const range = element("input", { type: "range", min: 0, max: history.steps.length - 1, value: history.step, "aria-label": "training step",
    input: () => showStep(Number(range.value)) });
  const label = element("output", { class: "step-label" });
  const play = element("button", { type: "button", class: "play", "aria-label": "play the steps", click: toggle }, "▶");
  let timer = null;
  const follow = () => {
    range.value = String(history.step);
    const text = `step ${countText(history.steps[history.step])}`;
    range.setAttribute("aria-valuetext", text);
    label.textContent = text;
  };
  const drop = listen("step", follow);
  follow();
  return [element("div", { class: "step-slider" }, play, range, label), () => { drop(); halt(); }];

  function toggle() {
    if (timer !== null) return halt();
    if (history.step === history.steps.length - 1) showStep(0);
    play.textContent = "❚❚";
    play.setAttribute("aria-label", "stop");
    document.documentElement.dataset.playing = "steps";
    timer = setInterval(() => {
      if (history.step >= history.steps.length - 1) halt();
      else showStep(history.step + 1);
    }, Math.max(40, Math.min(300, 6000 / history.steps.length)));
    return undefined;
  }

  function halt() {
    clearInterval(timer);
    if (timer !== null) delete document.documentElement.dataset.playing;
    timer = null;
    play.textContent = "▶";
    play.setAttribute("aria-label", "play the steps");
  }
}
