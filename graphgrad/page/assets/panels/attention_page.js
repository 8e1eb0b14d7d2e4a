/* Attention by layer, head and example: maps of weights beside ∂L/∂scores with the tokens along the
axes, or lines from word to word with heads as colours. */

import { divergingColour, rampColour } from "../core/colouring.js";
import { registerPanel } from "../core/contract.js";
import { append, bidi, element, numberText, replaceChildren, visible } from "../core/elements.js";
import { listen } from "../core/events.js";
import { remember } from "../core/kept.js";
import { page } from "../core/model.js";
import { colourTable, sharpCanvas, themeColour } from "../core/packed.js";
import { openTab } from "../core/panel_host.js";
import { themeNow } from "../core/theme.js";
import { exampleName, headOf, largest, SHOWN_TOKEN, tokensOf, tokenText } from "./attention_data.js";
import { headColour, linesView, strongest } from "./attention_lines.js";
import { heatmap, paint, reach, topOf } from "./attention_maps.js";

const LEAST_CELL = 14; // pixels: its token has 11; what is wider than the window can be scrolled

const remembered = { map: 0, head: 0, example: 0, query: 0, key: 0, view: "", shown: [], side: -1, place: 0 };
remember("attention", remembered);

function showAttention(host, context) {
  const { section } = context;
  const state = remembered;
  state.map = Math.min(state.map, section.maps.length - 1);
  state.view = state.view || (section.texts ? "lines" : "maps");
  if (context.node) {
    const near = section.maps.findIndex((map) => context.node.name === map.weights || context.node.name === map.scores || context.node.name.startsWith(`${map.name}.`));
    if (near >= 0) state.map = near;
  }
  const overview = element("div", { class: "overview", role: "group", "aria-label": "layers and heads" });
  const main = element("div", { class: "maps" });
  const readout = element("p", { class: "readout", role: "status", "aria-live": "polite" });
  const heads = element("div", { class: "choices", role: "group", "aria-label": "head" });
  const examples = element("div", { class: "choices", role: "group", "aria-label": "example" });
  const views = element("div", { class: "choices", role: "group", "aria-label": "view" });
  const layers = element("select", { "aria-label": "layer", change: () => { state.map = Number(layers.value); draw(); } },
    section.maps.map((map, number) => element("option", { value: number }, visible(map.name))));
  const area = element("div", { class: "map-area", tabindex: "0", role: "application", keydown: keys }, main);
  const meaning = element("p", { class: "from" });
  append(host, [
    element("div", { class: "panel-head" }, element("h2", {}, "Attention"),
      meaning),
    element("div", { class: "bar" }, views, element("label", {}, "layer ", layers), 
      element("span", { class: "captioned" }, "head", heads), element("span", { class: "captioned" }, "example", examples)),
    element("div", { class: "attention" }, overview, element("div", { class: "attention-main" }, area, readout)),
  ]);
  let marks = [];
  let pinned = false;
  let sides = [];
  draw();
  const stop = listen("theme", draw);
  window.addEventListener("resize", draw);
  return () => { stop(); window.removeEventListener("resize", draw); };

  function draw() {
    const map = section.maps[state.map];
    state.example = Math.min(state.example, map.examples.length - 1);
    state.head = Math.min(state.head, map.heads - 1);
    layers.value = String(state.map);
    chooseView();
    if (state.view === "lines") chooseHeads(map);
    else choose(heads, map.heads, state.head, (number) => { state.head = number; draw(); }, (number) => [`head ${number}`, number]);
    choose(examples, map.examples.length, state.example, (number) => { state.example = number; state.side = -1; draw(); },
      (number) => [`example ${exampleName(section, number)}`, bidi(exampleName(section, number), 28)]);
    const colours = { ramp: colourTable(rampColour, 0), diverging: colourTable(divergingColour, -1),
      masked: themeColour(themeNow() === "dark" ? "--paper" : "--sunken"), hatch: themeColour("--line-strong") };
    drawOverview(colours);
    if (state.view === "lines") drawLines(map);
    else drawMaps(map, colours);
  }

  function chooseView() {
    const names = ["maps", "lines"];
    choose(views, 2, names.indexOf(state.view), (number) => { state.view = names[number]; draw(); }, (number) => [names[number], names[number]]);
    meaning.textContent = state.view === "lines"
      ? "from each word on the left to those on the right that it attends to, a colour for each head; a word shows its lines alone, up and down go from word to word"
      : "each row is a query, each column a key; hatched cells are masked, weight and delta are exactly 0 there";
    area.setAttribute("aria-label", state.view === "lines"
      ? "lines from word to word: up and down choose a word, left and right its side, page up and down show one head"
      : "attention map: arrow keys move from cell to cell, page up and down change the head");
    area.classList.toggle("of-lines", state.view === "lines");
  }

  /* A button for each head with its colour; any number of heads are shown at once. */
  function chooseHeads(map) {
    const shown = shownHeads(map);
    const toggle = (number) => {
      const others = shown.size === map.heads ? [number] : shown.has(number) ? [...shown].filter((head) => head !== number) : [...shown, number];
      state.shown = others.map(String);
    };
    const buttons = Array.from({ length: map.heads }, (_, number) => element("button", { type: "button", class: "of-head", "aria-pressed": String(shown.has(number)),
      "aria-label": `head ${number}`, click: () => { toggle(number); draw(); heads.children[number]?.focus(); } },
      element("span", { class: `swatch ${headColour(number)}` }), number));
    const all = element("button", { type: "button", "aria-pressed": String(shown.size === map.heads), click: () => { state.shown = []; draw(); heads.lastChild.focus(); } }, "all");
    replaceChildren(heads, buttons, all);
  }

  function shownHeads(map) {
    const kept = state.shown.map(Number).filter((number) => number < map.heads);
    return new Set(kept.length ? kept : Array.from({ length: map.heads }, (_, number) => number));
  }

  function headsOf(map) {
    const shown = shownHeads(map);
    return Array.from({ length: map.heads }, (_, number) => ({ number, shown: shown.has(number), arrays: headOf(map, state.example, number) }));
  }

  function drawLines(map) {
    const { queries, keys: keyCount } = map.examples[state.example];
    const texts = { queries: tokensOf(section, state.example, map.query, queries), keys: tokensOf(section, state.example, map.key, keyCount) };
    sides = [texts.queries, texts.keys];
    if (state.side >= 0 && state.place >= sides[state.side].length) state.side = -1;
    const room = host.clientWidth - roomBeside() - 60;
    const view = linesView(headsOf(map), texts, Math.max(260, room > 800 ? room / 2 : room), (side, place, press) => {
      if (press) { pinned = !(pinned && state.side === side && state.place === place); area.focus({ preventScroll: true }); } else if (pinned) return;
      [state.side, state.place] = [side ?? -1, place];
      describeLines(map, texts);
    });
    marks = [view.mark];
    replaceChildren(main, view.boxes);
    describeLines(map, texts);
  }

  function describeLines(map, texts) {
    const picked = state.side < 0 ? null : { side: state.side, place: state.place };
    marks[0](picked);
    area.dataset.picked = picked ? `${picked.side ? "key" : "query"} ${picked.place}` : "";
    if (!picked) return replaceChildren(readout, element("span", { class: "from" }, "no word is chosen: lines of all"));
    const found = strongest(headsOf(map), picked, texts);
    return replaceChildren(readout, quoted(sides[picked.side][picked.place]), picked.side ? " is attended to most by " : " attends most to ",
      found.map((each) => element("span", { class: "values" }, quoted(picked.side ? texts.queries[each.query] : texts.keys[each.key]),
        ` head ${each.head} α = `, element("b", { class: "of-value" }, numberText(each.weight, 3)),
        each.delta === null ? "" : [" δ = ", element("b", { class: "of-delta" }, numberText(each.delta, 3))])), pinned ? element("span", { class: "from" }, "pinned") : "");
  }

  function lineKeys(event) {
    const map = section.maps[state.map];
    const picked = state.side < 0 ? { side: 0, place: event.key === "ArrowUp" ? sides[0].length : -1 } : { side: state.side, place: state.place };
    if (event.key === "ArrowDown" || event.key === "ArrowUp") {
      const place = picked.place + (event.key === "ArrowDown" ? 1 : -1);
      [state.side, state.place] = [picked.side, Math.max(0, Math.min(sides[picked.side].length - 1, place))];
    } else if (event.key === "ArrowLeft" || event.key === "ArrowRight") {
      const side = event.key === "ArrowRight" ? 1 : 0;
      [state.side, state.place] = [side, Math.max(0, Math.min(sides[side].length - 1, picked.place))];
    } else if (event.key === "PageDown" || event.key === "PageUp") {
      const shown = [...shownHeads(map)];
      const now = shown.length === 1 ? shown[0] : event.key === "PageDown" ? -1 : map.heads;
      state.shown = [String((now + (event.key === "PageDown" ? 1 : map.heads - 1)) % map.heads)];
    } else if (event.key === "Escape" && state.side >= 0) {
      state.side = -1;
      pinned = false;
    } else return false;
    draw();
    return true;
  }

  function drawMaps(map, colours) {
    const head = headOf(map, state.example, state.head);
    state.query = Math.min(state.query, head.queries - 1);
    state.key = Math.min(state.key, head.keys - 1);
    const texts = { queries: tokensOf(section, state.example, map.query, head.queries), keys: tokensOf(section, state.example, map.key, head.keys) };
    const size = cellSize(head, roomBeside(), texts.queries);
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
    return Math.max(LEAST_CELL, Math.min(26, both >= LEAST_CELL ? Math.min(both, Math.max(tall, LEAST_CELL)) : Math.floor((width - beside - 20) / head.keys)));
  }

  /* What the overview takes of the width: on a phone it is below. */
  function roomBeside() {
    return overview.offsetWidth < host.clientWidth / 2 ? overview.offsetWidth : 0;
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
    if (state.view === "lines") {
      if (!lineKeys(event)) return;
      event.preventDefault();
      event.stopPropagation();
      return;
    }
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
        const chosen = number === state.map && (state.view === "lines" ? shownHeads(map).has(headNumber) : headNumber === state.head);
        return element("button", { type: "button", class: chosen ? "thumb chosen" : "thumb", "aria-pressed": String(chosen),
          "aria-label": `${visible(map.name)}, head ${headNumber}`, title: `${visible(map.name)}, head ${headNumber}`,
          click: () => { state.map = number; state.head = headNumber; state.shown = [String(headNumber)]; draw(); overview.querySelector(".chosen")?.focus(); } }, canvas);
      });
      return element("div", { class: "layer" }, element("div", { class: "layer-name" }, bidi(map.name, 40)), element("div", { class: "thumbs" }, pictures));
    });
    replaceChildren(overview, rows);
  }
}

function choose(group, count, chosen, pick, texts) {
  replaceChildren(group, Array.from({ length: count }, (_, number) => {
    const [label, text] = texts(number);
    return element("button", { type: "button", "aria-pressed": String(number === chosen), "aria-label": label,
      click: () => { pick(number); group.children[number]?.focus(); } }, text);
  }));
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
      const label = `head ${headNumber} of the first example`;
      return element("button", { type: "button", class: "thumb", "aria-label": label, title: label, click: () => {
        Object.assign(remembered, { map: number, head: headNumber, shown: [String(headNumber)], example: 0 });
        openTab("attention");
      } }, canvas);
    })), element("p", { class: "from" }, isDelta ? "∂L/∂scores of each head for the first example" : "weights of each head for the first example; a click opens them beside ∂L/∂scores"));
  };
  draw();
  return listen("theme", draw);
}

registerPanel({ name: "attention-node", title: "Attention", place: "node", section: "attention", show: showOwnAttention });
