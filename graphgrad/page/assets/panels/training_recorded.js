/* Recorded figures of values and deltas over the steps, for the charts of the tab of training: a chart for
each node, a line for each run; of a node that was recorded by head, a line for each head. */

import { plural, shorten, visible } from "../core/elements.js";
import { page } from "../core/model.js";
import { floatsOf } from "../core/packed.js";

const MOST_CHARTS = 12;
const PART = /^(.*)\[([^[\]]+)=(\d+)\]$/s;
const PATTERNS = ["", "7 4", "2 3", "9 3 2 3"]; // of the lines of runs, where colours are those of heads

let recordings = null;

/* What each run has recorded: {run, name, steps, statistics, groups, series(name, statistic, part)}. */
export function recordedRuns(names) {
  recordings = recordings ?? [page.sections.history, ...(page.sections.history_others ?? [])].flatMap((section, run) => (section ? [decodedRun(section, run, names[run])] : []));
  return recordings;
}

function decodedRun(section, run, name) {
  const values = floatsOf(section.values);
  const places = new Map(section.names.map((text, place) => [text, place]));
  const deltas = new Map(section.deltas);
  const own = new Set(deltas.values());
  const count = section.steps.length;
  const groups = new Map(); // the node, and what of it was recorded: the whole, or heads
  for (const text of section.names) {
    if (own.has(text)) continue;
    const [, group, axis, index] = PART.exec(text) ?? [null, text, "", ""];
    if (!groups.has(group)) groups.set(group, []);
    groups.get(group).push({ text, label: axis ? `${axis} ${index}` : "" });
  }
  return {
    run, name, steps: section.steps, statistics: section.statistics, groups,
    series: (text, statistic, part) => {
      const [row, column] = [places.get(part === "delta" ? deltas.get(text) : text), section.statistics.indexOf(statistic)];
      if (row === undefined || column < 0) return null;
      const start = (row * section.statistics.length + column) * count;
      return values.subarray(start, start + count);
    },
  };
}

/* The charts for the chosen names, or for all nodes that were recorded by head, and what is said of them. */
export function recordedPlots(runs, { pattern, statistic, part }, look) {
  const names = [...new Set(runs.flatMap((run) => [...run.groups.keys()]))];
  const divided = (name) => runs.some((run) => run.groups.get(name)?.some(({ label }) => label));
  const wanted = pattern.trim() ? names.filter(matcher(pattern.trim())) : names.filter(divided);
  const known = wanted.map((name) => plotOf(name, runs, statistic, part, look)).filter((plot) => plot.series.length);
  const plots = known.slice(0, MOST_CHARTS);
  const more = known.length - plots.length;
  const none = pattern.trim() ? "nothing of this was recorded" : "type a name, or a part of one, for the figures of a value over the steps";
  return { plots, text: !known.length ? none : more ? `${plural(plots.length, "value")}; ${more} more have such a name` : "" };
}

function plotOf(name, runs, statistic, part, look) {
  const series = runs.flatMap((run) => (run.groups.get(name) ?? []).flatMap(({ text, label }, number) => {
    const numbers = run.series(text, statistic, part);
    const there = numbers ? [...numbers.keys()].filter((place) => !Number.isNaN(numbers[place])) : [];
    if (!there.length) return [];
    const steps = there.map((place) => run.steps[place]);
    const mean = Float32Array.from(there, (place) => numbers[place]);
    const lost = new Set([...mean.keys()].filter((place) => !Number.isFinite(mean[place])));
    const own = label ? { ...look(number), dash: PATTERNS[run.run % PATTERNS.length] } : look(run.run);
    return [{ run: run.run, held: false, key: label ? `${run.run}-${number}` : String(run.run), label: [runs.length > 1 || !label ? run.name : "", label].filter(Boolean).join(", "), look: own, first: steps, last: steps, lost, mean, low: mean, high: mean }];
  }));
  return { name, title: visible(shorten(`${part === "delta" ? "δ " : ""}${name}`, 60)), series };
}

/* Whether a name has the text in it, or matches it where it has a * or ?. */
function matcher(pattern) {
  if (!/[*?]/.test(pattern)) return (name) => name.toLowerCase().includes(pattern.toLowerCase());
  const source = pattern.replace(/[.+^${}()|[\]\\]/g, "\\$&").replaceAll("*", ".*").replaceAll("?", ".");
  const expression = new RegExp(`^${source}$`, "s");
  return (name) => expression.test(name);
}
