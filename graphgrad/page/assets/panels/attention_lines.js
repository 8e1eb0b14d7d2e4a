/* Lines from word to word: heads as colours, deltas of the scores as a second, dashed set. */

import { element, shorten, svg } from "../core/elements.js";
import { largest, SHOWN_TOKEN, tokenText } from "./attention_data.js";

const COLOURS = 8; // the series --s1 … --s8 of the theme, again from the first for further heads
const LEAST = 0.05; // weaker lines are drawn only for the word that is picked
const FAINTEST = 0.005;
const BETWEEN = 120; // pixels at the least between the two columns of words

export function headColour(number) {
  return `s${(number % COLOURS) + 1}`;
}

/* The heights of rows and letters for so many words. */
function rowSize(count) {
  if (count <= 24) return [23, 13];
  return count <= 40 ? [19, 12] : [16, 11];
}

/* Both pictures for the heads that are shown. `pick(side, place, press)` is called with the word
under the pointer; `mark(picked)` shows the lines of one word, {side, place}, or of all for null. */
export function linesView(heads, texts, width, pick) {
  const shown = heads.filter((head) => head.shown);
  const pictures = [picture("weights", shown, texts, width, (head) => head.arrays.weights, 1, pick)];
  if (heads.some((head) => head.arrays.deltas)) {
    const most = Math.max(0, ...shown.map((head) => largest(head.arrays.deltas)));
    pictures.push(picture("deltas", shown, texts, width, (head) => head.arrays.deltas, most, pick));
  }
  return { boxes: pictures.map((item) => item.box), mark: (picked) => pictures.forEach((item) => item.mark(picked)) };
}

function picture(kind, shown, texts, width, numbersOf, most, pick) {
  const count = Math.max(texts.queries.length, texts.keys.length);
  const [row, letters] = rowSize(count);
  const words = [texts.queries, texts.keys].map((side) => side.map((token) => shorten(tokenText(token), SHOWN_TOKEN)));
  const room = words.map((side) => 14 + Math.ceil(Math.max(...side.map((word) => widthOf(word, letters)))));
  const squares = 8 + 7 * Math.min(shown.length, COLOURS);
  const across = Math.max(room[0] + room[1] + squares + BETWEEN, Math.min(width, 520));
  const [left, right] = [room[0], across - room[1] - squares];
  const middle = (place) => row * place + row / 2 + 2;
  const lines = svg("g", { class: "lines-of-heads", "aria-hidden": "true" });
  const marks = svg("g", { class: "squares", "aria-hidden": "true" });
  const labels = words.map((side, which) => side.map((word, place) => {
    const label = svg("text", { class: "word", x: which ? right + 6 : left - 6, y: middle(place), "font-size": letters,
      "text-anchor": which ? "start" : "end", "dominant-baseline": "central" }, word);
    label.append(svg("title", {}, tokenText((which ? texts.keys : texts.queries)[place])));
    return label;
  }));
  const drawn = svg("svg", { class: "word-lines", width: across, height: row * count + 4, "data-lines": kind,
    pointermove: (event) => at(event, false), pointerdown: (event) => at(event, true), pointerleave: () => pick(null, 0, false) }, lines, labels, marks);
  const title = kind === "weights" ? "weights α" : "∂L/∂scores";
  const note = kind === "weights" ? `width is the weight, from ${LEAST}` : `width is the size beside the largest of these heads`;
  const box = element("figure", { class: `of-${kind === "weights" ? "value" : "delta"} lines-figure` },
    element("figcaption", {}, title, element("span", { class: "from" }, ` · ${note}`)),
    element("div", { class: "wide-lines" }, drawn));
  mark(null);
  return { box, mark };

  function at(event, press) {
    const frame = drawn.getBoundingClientRect();
    const side = event.clientX - frame.left > (left + right) / 2 ? 1 : 0;
    const place = Math.floor((event.clientY - frame.top - 2) / row);
    if (place >= 0 && place < words[side].length) pick(side, place, press);
  }

  function mark(picked) {
    lines.textContent = "";
    marks.textContent = "";
    labels.forEach((side, which) => side.forEach((label, place) =>
      label.classList.toggle("picked", picked !== null && picked.side === which && picked.place === place)));
    const [least, dimmest] = picked ? [FAINTEST, 0.3] : [LEAST, 0.15];
    shown.forEach((head, order) => {
      const numbers = numbersOf(head);
      if (!numbers || !most) return;
      const shift = (order - (shown.length - 1) / 2) * Math.min(2.4, (row - 8) / shown.length);
      for (let query = 0; query < texts.queries.length; query += 1) {
        if (picked && picked.side === 0 && picked.place !== query) continue;
        for (let key = 0; key < texts.keys.length; key += 1) {
          if (picked && picked.side === 1 && picked.place !== key) continue;
          const strength = Math.abs(numbers[query * texts.keys.length + key]) / most;
          if (strength >= least) lines.append(line(head.number, query, key, shift, strength, dimmest));
          if (picked?.side === 0) square(head.number, order, key, strength);
        }
      }
    });
  }

  function line(number, query, key, shift, strength, dimmest) {
    return svg("line", { class: `${headColour(number)}${kind === "deltas" ? " dashed" : ""}`, x1: left, x2: right,
      y1: middle(query) + shift, y2: middle(key) + shift, "stroke-width": (0.6 + 3.4 * strength).toFixed(2),
      "stroke-opacity": (dimmest + (0.95 - dimmest) * strength).toFixed(3), "data-query": query, "data-key": key, "data-head": number });
  }

  /* Beside each key, how much each head looks at it. */
  function square(number, order, key, strength) {
    if (order >= COLOURS || strength < FAINTEST) return;
    marks.append(svg("rect", { class: headColour(number), x: right + room[1] + 7 * order, y: middle(key) - 5, width: 6, height: 10,
      "fill-opacity": strength.toFixed(3) }));
  }
}

/* The width of a word in the letters of the page's words. */
const wordPen = document.createElement("canvas").getContext("2d");

function widthOf(word, letters) {
  wordPen.font = `${letters}px ${getComputedStyle(document.body).fontFamily}`;
  return wordPen.measureText(word).width;
}

/* The keys that a word looks at most, or the queries that look at it most: {query, key, head, weight, delta}. */
export function strongest(heads, picked, texts, count = 4) {
  const found = [];
  const [rows, columns] = [texts.queries.length, texts.keys.length];
  for (const { arrays, number, shown } of heads) {
    if (!shown) continue;
    for (let other = 0; other < (picked.side ? rows : columns); other += 1) {
      const [query, key] = picked.side ? [other, picked.place] : [picked.place, other];
      const place = query * columns + key;
      found.push({ query, key, head: number, weight: arrays.weights[place], delta: arrays.deltas ? arrays.deltas[place] : null });
    }
  }
  return found.sort((one, other) => other.weight - one.weight).slice(0, count);
}
