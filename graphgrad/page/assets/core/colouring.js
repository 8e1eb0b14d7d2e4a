/* Colour by a number of each node: a ramp, a legend, and grey where there is no number. */

import { writeAddress } from "./address.js";
import { availableColourings, registerColouring } from "./contract.js";
import { canvas } from "./drawing.js";
import { bytesText, countText, element, numberText, replaceChildren, svg, visible } from "./elements.js";
import { notify } from "./messages.js";
import { page } from "./model.js";
import { state } from "./state.js";
import { themeNow } from "./theme.js";

const RAMP = {
  light: [
    [247, 244, 236],
    [246, 214, 150],
    [232, 150, 90],
    [190, 74, 84],
    [98, 30, 92],
  ],
  dark: [
    [40, 42, 58],
    [92, 52, 110],
    [176, 66, 104],
    [236, 128, 84],
    [252, 222, 150],
  ],
};
const DIVERGING = {
  light: [
    [36, 84, 158],
    [146, 184, 226],
    [246, 245, 241],
    [236, 166, 156],
    [170, 36, 56],
  ],
  dark: [
    [120, 176, 250],
    [56, 92, 150],
    [38, 42, 52],
    [150, 62, 72],
    [252, 136, 132],
  ],
};

const MANY_NUMBERS = 40;
const OUTLIERS = 0.05; // of the numbers, at each end of a scale

function between(colours, t) {
  const place = Math.min(1, Math.max(0, t)) * (colours.length - 1);
  const at = Math.min(colours.length - 2, Math.floor(place));
  const mixed = colours[at].map((part, channel) =>
    Math.round(part + (colours[at + 1][channel] - part) * (place - at)),
  );
  return mixed;
}

function css(colour) {
  return `rgb(${colour.join(" ")})`;
}

export function rampColour(t) {
  return css(between(RAMP[themeNow()], t));
}

export function divergingColour(t) {
  return css(between(DIVERGING[themeNow()], (t + 1) / 2));
}

/* The colouring's numbers by the id of the node; what is no finite number is left out. */
function valuesOf(colouring) {
  const section = colouring.section === undefined ? null : page.sections[colouring.section];
  const values = new Map();
  for (const node of page.nodes) {
    let value = null;
    try {
      value = colouring.value(node, section);
    } catch (problem) {
      notify(`The colouring ${colouring.label} failed: ${visible(problem.message)}`);
      return new Map();
    }
    if (typeof value === "number" && Number.isFinite(value) && !(colouring.scale === "log" && value <= 0))
      values.set(node.id, value);
  }
  return values;
}

export function setColouring(name) {
  const colouring = availableColourings().find((item) => item.name === name);
  state.colouring = colouring ? { ...colouring, values: valuesOf(colouring) } : null;
  const menu = /** @type {HTMLSelectElement} */ (document.getElementById("colour-by"));
  menu.value = colouring ? name : "";
  applyColouring();
  writeAddress();
}

/* Gives each box the colour of its number; a closed scope that of the greatest one in it. */
export function applyColouring() {
  const { colouring } = state;
  canvas.classList.toggle("coloured", Boolean(colouring));
  const shown = new Map();
  if (colouring) {
    for (const [key, box] of state.boxes) {
      const value = box.open ? undefined : numberOfBox(box, colouring.values);
      if (value !== undefined) shown.set(key, value);
    }
  }
  const scale = colouring ? scaleOf(colouring, [...colouring.values.values()]) : null;
  for (const [key, box] of state.boxes) {
    const body = box.element?.querySelector(".body");
    if (!body) continue;
    if (!shown.has(key)) {
      body.style.removeProperty("fill");
      box.element.classList.toggle("uncoloured", Boolean(colouring));
      box.element.classList.remove("on-dark");
      continue;
    }
    const colour = scale.colour(shown.get(key));
    body.style.setProperty("fill", css(colour));
    box.element.classList.remove("uncoloured");
    const [red, green, blue] = colour;
    box.element.classList.toggle("on-dark", 0.3 * red + 0.59 * green + 0.11 * blue < 140);
    box.element.classList.toggle("on-light", 0.3 * red + 0.59 * green + 0.11 * blue >= 140);
  }
  showLegend(colouring, scale);
}

function numberOfBox(box, values) {
  if (box.item.scope === undefined) {
    const node = page.nodes[box.item.node];
    if (box.side === "delta") return node.delta === null ? undefined : values.get(node.delta);
    return values.get(node.id);
  }
  const part =
    box.side === "delta" ? "delta" : ({ backward: "delta", updates: "update" }[state.view] ?? "forward");
  return greatestOf(values).get(`${part} ${box.item.scope}`);
}

/* The greatest number, by size, of each part of each scope; found once for a colouring. */
function greatestOf(values) {
  if (!values.greatest) {
    values.greatest = new Map();
    for (const [id, value] of values) {
      const node = page.nodes[id];
      for (let scope = node.scope; scope >= 0; scope = page.scopes[scope].parent) {
        const key = `${node.part} ${scope}`;
        const known = values.greatest.get(key);
        if (known === undefined || Math.abs(value) > Math.abs(known)) values.greatest.set(key, value);
      }
    }
  }
  return values.greatest;
}

/* The ends of the scale: of many numbers a few outliers at either end do not count, else one tiny
delta would give all others the same colour. */
function endsOf(values, scale) {
  const sorted = Float64Array.from(values, scale === "diverging" ? Math.abs : undefined).sort();
  const last = sorted.length - 1;
  const left = sorted.length < MANY_NUMBERS ? 0 : Math.floor(OUTLIERS * sorted.length);
  const clipped = sorted[left] < sorted[last - left];
  const [least, most] = clipped ? [sorted[left], sorted[last - left]] : [sorted[0], sorted[last]];
  return { least, most, below: least > sorted[0], above: most < sorted[last] };
}

function scaleOf({ scale }, values) {
  const theme = themeNow();
  const { least, most, below, above } = endsOf(values, scale);
  if (scale === "diverging") {
    const size = most || 1;
    return {
      least: -size,
      most: size,
      below: above,
      above,
      colours: DIVERGING[theme],
      colour: (value) => between(DIVERGING[theme], (value / size + 1) / 2),
    };
  }
  const at = scale === "log" ? Math.log : (value) => value;
  const span = at(most) - at(least) || 1;
  return {
    least,
    most,
    below,
    above,
    colours: RAMP[theme],
    colour: (value) => between(RAMP[theme], (at(value) - at(least)) / span),
  };
}

function showLegend(colouring, scale) {
  const host = document.getElementById("legend");
  host.hidden = !colouring;
  if (!colouring) return replaceChildren(host);
  if (!colouring.values.size)
    return replaceChildren(host, element("span", {}, `${colouring.label}: no node has a number`));
  const text = colouring.format ?? numberText;
  const steps = 24;
  const cells = Array.from({ length: steps }, (_, at) =>
    svg("rect", {
      x: at * 6,
      y: 0,
      width: 6.5,
      height: 10,
      fill: css(between(scale.colours, at / (steps - 1))),
    }),
  );
  return replaceChildren(
    host,
    element("span", { class: "legend-title" }, colouring.label, colouring.scale === "log" ? " (log)" : ""),
    element("span", { class: "legend-end" }, `${scale.below ? "≤ " : ""}${text(scale.least)}`),
    svg(
      "svg",
      {
        width: steps * 6,
        height: 10,
        class: "ramp",
        role: "img",
        "aria-label": `from ${text(scale.least)} to ${text(scale.most)}`,
      },
      cells,
    ),
    element("span", { class: "legend-end" }, `${scale.above ? "≥ " : ""}${text(scale.most)}`),
  );
}

registerColouring({
  name: "bytes",
  label: "bytes of the value",
  value: (node) => (node.kind === "known" ? null : node.bytes()),
  scale: "log",
  format: bytesText,
});
registerColouring({
  name: "flops",
  label: "FLOPs of the product",
  value: (node) => node.flops() || null,
  scale: "log",
  format: countText,
});
