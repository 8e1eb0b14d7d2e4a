/* Weight maps beside ∂L/∂scores, by layer, head and example, with the tokens along the axes. */

import { divergingColour, rampColour } from "../core/colouring.js";
import { registerPanel } from "../core/contract.js";
import { append, bidi, element, numberText, replaceChildren, shorten, visible } from "../core/elements.js";
import { listen } from "../core/events.js";
import { remember } from "../core/kept.js";
import { page } from "../core/model.js";
import { bitsOf, colourTable, floatsOf, sharpCanvas, themeColour } from "../core/packed.js";
import { openTab } from "../core/panel_host.js";
import { themeNow } from "../core/theme.js";

const GAP = 1;
const SHOWN_TOKEN = 14; // characters beside a map; a token's title has all

/* Caches decoded arrays. */
const decoded = new Map();

function arraysOf(map, number) {
  const key = `${map.weights} ${number}`;
  if (!decoded.has(key)) {
    const example = map.examples[number];
    const mask = example.mask === null ? null : bitsOf(example.mask);
    decoded.set(key, {
      weights: floatsOf(example.weights),
      deltas: example.deltas === null ? null : floatsOf(example.deltas),
      allowed: mask ?? (() => true),
    });
  }
  return decoded.get(key);
}

/* One head of one example: numbers and masks by query and key. */
function headOf(map, number, head) {
  const { queries, keys } = map.examples[number];
  const { weights, deltas, allowed } = arraysOf(map, number);
  const start = head * queries * keys;
  const place = (query, key) => start + query * keys + key;
  return { queries, keys, place, allowed: (query, key) => allowed(place(query, key)),
    weights: weights.subarray(start, start + queries * keys),
    deltas: deltas?.subarray(start, start + queries * keys) ?? null };
}

function largest(numbers) {
  let found = 0;
  for (const number of numbers) if (Math.abs(number) > found) found = Math.abs(number);
  return found;
}

/* The mean entropy of the rows that are not masked, as the effective number of keys. */
function reach(head) {
  let sum = 0;
  let rows = 0;
  for (let query = 0; query < head.queries; query += 1) {
    let entropy = 0;
    let total = 0;
    for (let key = 0; key < head.keys; key += 1) {
      const weight = head.weights[query * head.keys + key];
      total += weight;
      if (weight > 0) entropy -= weight * Math.log(weight);
    }
    if (total > 0) { sum += entropy; rows += 1; }
  }
  return rows ? Math.exp(sum / rows) : 0;
}

function tokensOf(section, number, input, count) {
  const known = input === null ? null : section.examples[number]?.[input];
  return Array.from({ length: count }, (_, place) => (known?.[place] ?? String(place)));
}

function tokenText(token) {
  return token === " " ? "␣" : visible(token);
}

/* The end of the colour scale of weights: the next of these that no weight exceeds. */
function topOf(weights) {
  const most = largest(weights);
  return [0.1, 0.2, 0.5].find((top) => most <= top) ?? 1;
}

/* ------------------------------------------------------------ drawing */

function paint(pen, head, numbers, size, colour, scale, background, stroke) {
  const gap = size > 7 ? GAP : 0;
  for (let query = 0; query < head.queries; query += 1) {
    for (let key = 0; key < head.keys; key += 1) {
      const number = numbers[query * head.keys + key];
      const [x, y] = [key * size, query * size];
      if (head.allowed(query, key)) {
        pen.fillStyle = colour(scale ? number / scale : 0);
        pen.fillRect(x, y, size - gap, size - gap);
      } else {
        pen.fillStyle = background;
        pen.fillRect(x, y, size - gap, size - gap);
        if (size >= 6 && stroke) {
          pen.strokeStyle = stroke;
          pen.beginPath();
          pen.moveTo(x + 1, y + size - gap - 1);
          pen.lineTo(x + size - gap - 1, y + 1);
          pen.stroke();
        }
      }
    }
  }
}

/* One map with tokens beside it; `pointer` is called with the cell under the pointer. */
function heatmap(kind, head, numbers, size, texts, colours, pointer) {
  const scale = kind === "weights" ? topOf(numbers) : largest(numbers);
  const [canvas, pen] = sharpCanvas(head.keys * size, head.queries * size, { class: "cells", "aria-hidden": "true" });
  pen.lineWidth = 0.75;
  const colour = kind === "weights" ? colours.ramp : colours.diverging;
  paint(pen, head, numbers, size, colour, scale, colours.masked, colours.hatch);
  const cursor = element("div", { class: "cursor", "aria-hidden": "true" });
  const cells = element("div", { class: "cell-area" }, canvas, cursor);
  const rows = element("div", { class: "row-tokens", "aria-hidden": "true" }, texts.queries.map((token) => tokenLabel(token, size)));
  const columns = element("div", { class: "column-tokens", "aria-hidden": "true" }, texts.keys.map((token) => tokenLabel(token, size, true)));
  const at = (event) => {
    const box = canvas.getBoundingClientRect();
    const key = Math.floor((event.clientX - box.left) / size);
    const query = Math.floor((event.clientY - box.top) / size);
    return query >= 0 && key >= 0 && query < head.queries && key < head.keys ? [query, key] : null;
  };
  cells.addEventListener("pointermove", (event) => { const cell = at(event); if (cell) pointer(...cell, false); });
  cells.addEventListener("pointerdown", (event) => { const cell = at(event); if (cell) pointer(...cell, true); });
  const title = kind === "weights" ? "weights α" : "∂L/∂scores";
  const box = element("figure", { class: `heatmap of-${kind === "weights" ? "value" : "delta"}`, "data-map": kind },
    element("figcaption", {}, title), element("div", { class: "axes" }, element("div", { class: "corner" }), columns, rows, cells),
    legend(kind, scale));
  const mark = (query, key) => {
    cursor.style.transform = `translate(${key * size - 1}px, ${query * size - 1}px)`;
    cursor.style.width = cursor.style.height = `${size + (size > 7 ? 1 : 2)}px`;
    cursor.hidden = false;
    for (const [labels, place] of [[rows, query], [columns, key]]) {
      for (const old of labels.querySelectorAll(".marked")) old.classList.remove("marked");
      labels.children[place]?.classList.add("marked");
    }
  };
  return { box, mark };
}

function tokenLabel(token, size, upright) {
  const text = tokenText(token);
  const label = element("span", { class: text.length > 1 ? "token long" : "token", title: text }, element("bdi", {}, shorten(text, SHOWN_TOKEN)));
  label.style[upright ? "width" : "height"] = `${size}px`;
  label.style.fontSize = `${Math.max(7, Math.min(13, size - 3))}px`;
  return label;
}

function legend(kind, scale) {
  const [canvas, pen] = sharpCanvas(160, 8, { class: "ramp", "aria-hidden": "true" });
  const colour = kind === "weights" ? colourTable(rampColour, 0) : colourTable(divergingColour, -1);
  for (let x = 0; x < 160; x += 1) {
    pen.fillStyle = colour(kind === "weights" ? x / 159 : (2 * x) / 159 - 1);
    pen.fillRect(x, 0, 1.5, 8);
  }
  const ends = kind === "weights" ? ["0", String(scale)] : [numberText(-scale, 2), numberText(scale, 2)];
  return element("div", { class: "legend" }, element("span", {}, ends[0]), canvas, element("span", {}, ends[1]));
}

/* ------------------------------------------------------------ the panel */

const remembered = { map: 0, head: 0, example: 0, query: 0, key: 0 };
remember("attention", remembered);

function showAttention(host, context) {
  const { section } = context;
  const state = remembered;
  state.map = Math.min(state.map, section.maps.length - 1);
  if (context.node) {
    const near = section.maps.findIndex((map) => context.node.name === map.weights || context.node.name === map.scores || context.node.name.startsWith(`${map.name}.`));
    if (near >= 0) state.map = near;
  }
  const overview = element("div", { class: "overview", role: "group", "aria-label": "layers and heads" });
  const main = element("div", { class: "maps" });
  const readout = element("p", { class: "readout", role: "status", "aria-live": "polite" });
  const heads = element("div", { class: "choices", role: "group", "aria-label": "head" });
  const examples = element("div", { class: "choices", role: "group", "aria-label": "example" });
  const layers = element("select", { "aria-label": "layer", change: () => { state.map = Number(layers.value); draw(); } },
    section.maps.map((map, number) => element("option", { value: number }, visible(map.name))));
  const area = element("div", { class: "map-area", tabindex: "0", role: "application", keydown: keys,
    "aria-label": "attention map: arrow keys move from cell to cell, page up and down change the head" }, main);
  append(host, [
    element("div", { class: "panel-head" }, element("h2", {}, "Attention"),
      element("p", { class: "from" }, "each row is a query, each column a key; hatched cells are masked, weight and delta are exactly 0 there")),
    element("div", { class: "bar" }, element("label", {}, "layer ", layers), element("span", { class: "label" }, "head"), heads,
      element("span", { class: "label" }, "example"), examples),
    element("div", { class: "attention" }, overview, element("div", { class: "attention-main" }, area, readout)),
  ]);
  let marks = [];
  let pinned = false;
  draw();
  const stop = listen("theme", draw);
  window.addEventListener("resize", draw);
  return () => { stop(); window.removeEventListener("resize", draw); };

  function draw() {
    const map = section.maps[state.map];
    state.example = Math.min(state.example, map.examples.length - 1);
    state.head = Math.min(state.head, map.heads - 1);
    layers.value = String(state.map);
    choose(heads, map.heads, state.head, (number) => { state.head = number; draw(); }, "head");
    choose(examples, map.examples.length, state.example, (number) => { state.example = number; draw(); }, "example");
    const colours = { ramp: colourTable(rampColour, 0), diverging: colourTable(divergingColour, -1),
      masked: themeColour(themeNow() === "dark" ? "--paper" : "--sunken"), hatch: themeColour("--line-strong") };
    drawOverview(colours);
    drawMaps(map, colours);
  }

  function drawMaps(map, colours) {
    const head = headOf(map, state.example, state.head);
    state.query = Math.min(state.query, head.queries - 1);
    state.key = Math.min(state.key, head.keys - 1);
    const texts = { queries: tokensOf(section, state.example, map.query, head.queries), keys: tokensOf(section, state.example, map.key, head.keys) };
    const size = cellSize(head, overview.offsetWidth, texts.queries);
    const shown = [heatmap("weights", head, head.weights, size, texts, colours, point)];
    if (head.deltas) shown.push(heatmap("deltas", head, head.deltas, size, texts, colours, point));
    marks = shown.map((item) => item.mark);
    replaceChildren(main, shown.map((item) => item.box));
    area.dataset.head = state.head;
    describe();
  }

  /* As large as both maps fit beside each other; where cells would be too small, one below the other. */
  function cellSize(head, taken, tokens) {
    const width = Math.max(280, host.clientWidth - taken - 60);
    const letters = Math.max(...tokens.map((token) => Math.min(SHOWN_TOKEN, tokenText(token).length)));
    const beside = 8 + 8 * letters;
    const both = Math.floor((width - 2 * beside - 30) / (2 * head.keys));
    const tall = Math.floor((window.innerHeight - 330) / head.queries);
    return Math.max(5, Math.min(26, both > 9 ? Math.min(both, Math.max(tall, 12)) : Math.floor((width - beside - 20) / head.keys)));
  }

  function point(query, key, press) {
    if (press) { pinned = !(pinned && query === state.query && key === state.key); area.focus(); } else if (pinned) return;
    [state.query, state.key] = [query, key];
    describe();
  }

  function describe() {
    const map = section.maps[state.map];
    const head = headOf(map, state.example, state.head);
    const place = state.query * head.keys + state.key;
    const [queries, keysText] = [tokensOf(section, state.example, map.query, head.queries), tokensOf(section, state.example, map.key, head.keys)];
    for (const mark of marks) mark(state.query, state.key);
    const allowed = head.allowed(state.query, state.key);
    const delta = head.deltas ? ["   ∂L/∂score = ", element("b", { class: "of-delta", "data-value": "delta" }, exact(head.deltas[place]))] : [];
    replaceChildren(readout, element("span", {}, "query ", quoted(queries[state.query]), ` (${state.query}) → key `, quoted(keysText[state.key]), ` (${state.key})`),
      element("span", { class: "values" }, "α = ", element("b", { class: "of-value", "data-value": "weight" }, exact(head.weights[place])), delta,
        allowed ? "" : element("i", {}, " masked")),
      element("span", { class: "from" }, `this head looks at ${reach(head).toFixed(1)} of ${head.keys} keys on average (exp of the entropy)`, pinned ? " · pinned" : ""));
  }

  function exact(number) {
    return Object.is(number, -0) ? "0" : numberText(number, 6);
  }

  function quoted(token) {
    return element("code", {}, element("bdi", {}, tokenText(token)));
  }

  function keys(event) {
    const map = section.maps[state.map];
    const head = headOf(map, state.example, state.head);
    const moves = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] };
    if (event.key in moves) {
      const [down, right] = moves[event.key];
      state.query = Math.max(0, Math.min(head.queries - 1, state.query + down));
      state.key = Math.max(0, Math.min(head.keys - 1, state.key + right));
      describe();
    } else if (event.key === "Home" || event.key === "End") {
      state.key = event.key === "Home" ? 0 : head.keys - 1;
      describe();
    } else if (event.key === "PageDown" || event.key === "PageUp") {
      state.head = (state.head + (event.key === "PageDown" ? 1 : map.heads - 1)) % map.heads;
      draw();
    } else return;
    event.preventDefault();
    event.stopPropagation();
  }

  /* A small picture of every head of every layer. */
  function drawOverview(colours) {
    const rows = section.maps.map((map, number) => {
      const pictures = Array.from({ length: map.heads }, (_, headNumber) => {
        const head = headOf(map, Math.min(state.example, map.examples.length - 1), headNumber);
        const size = Math.max(1, Math.min(3, Math.floor(48 / Math.max(head.queries, head.keys))));
        const [canvas, pen] = sharpCanvas(head.keys * size, head.queries * size, { "aria-hidden": "true" });
        paint(pen, head, head.weights, size, colours.ramp, topOf(head.weights), colours.masked, null);
        const chosen = number === state.map && headNumber === state.head;
        return element("button", { type: "button", class: chosen ? "thumb chosen" : "thumb", "aria-pressed": String(chosen),
          "aria-label": `${visible(map.name)}, head ${headNumber + 1}`, title: `${visible(map.name)}, head ${headNumber + 1}`,
          click: () => { state.map = number; state.head = headNumber; draw(); overview.querySelector(".chosen")?.focus(); } }, canvas);
      });
      return element("div", { class: "layer" }, element("div", { class: "layer-name" }, bidi(map.name, 40)), element("div", { class: "thumbs" }, pictures));
    });
    replaceChildren(overview, rows);
  }
}

function choose(group, count, chosen, pick, word) {
  replaceChildren(group, Array.from({ length: count }, (_, number) => element("button", { type: "button", "aria-pressed": String(number === chosen),
    "aria-label": `${word} ${number + 1}`, click: () => { pick(number); group.children[number]?.focus(); } }, number + 1)));
}

registerPanel({ name: "attention", title: "Attention", place: "page", section: "attention", show: showAttention });

/* In the side panel, the heads of the attention that the selected node belongs to. */
function showOwnAttention(host, context) {
  const { node, section } = context;
  const shown = node.kind === "delta" && node.owner !== null ? page.nodes[node.owner].name : node.name;
  const number = section.maps.findIndex((map) => map.weights === shown || map.scores === shown);
  if (number < 0) return undefined;
  const map = section.maps[number];
  const isDelta = node.part === "delta";
  const draw = () => {
    const colours = { ramp: colourTable(rampColour, 0), diverging: colourTable(divergingColour, -1), masked: themeColour("--sunken") };
    replaceChildren(host, element("div", { class: "thumbs" }, Array.from({ length: map.heads }, (_, headNumber) => {
      const head = headOf(map, 0, headNumber);
      const numbers = isDelta && head.deltas ? head.deltas : head.weights;
      const size = Math.max(1, Math.floor(150 / Math.max(head.queries, head.keys)));
      const [canvas, pen] = sharpCanvas(head.keys * size, head.queries * size, { "aria-hidden": "true" });
      paint(pen, head, numbers, size, numbers === head.weights ? colours.ramp : colours.diverging, numbers === head.weights ? topOf(numbers) : largest(numbers), colours.masked, null);
      const label = `head ${headNumber + 1} of the first example`;
      return element("button", { type: "button", class: "thumb", "aria-label": label, title: label, click: () => {
        Object.assign(remembered, { map: number, head: headNumber, example: 0 });
        openTab("attention");
      } }, canvas);
    })), element("p", { class: "from" }, isDelta ? "∂L/∂scores of each head for the first example" : "weights of each head for the first example; a click opens them beside ∂L/∂scores"));
  };
  draw();
  return listen("theme", draw);
}

registerPanel({ name: "attention-node", title: "Attention", place: "node", section: "attention", show: showOwnAttention });
