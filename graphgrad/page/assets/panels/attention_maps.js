/* Draws maps of attention: a cell for each query and key, with tokens beside them. */

import { divergingColour, rampColour } from "../core/colouring.js";
import { element, numberText, shorten } from "../core/elements.js";
import { colourTable, sharpCanvas } from "../core/packed.js";
import { largest, SHOWN_TOKEN, tokenText } from "./attention_data.js";

const CELL_GAP = 1;

/* The mean entropy of the rows that are not masked, as the effective number of keys. */
export function reach(head) {
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

/* The end of the colour scale of weights: the next of these that no weight exceeds. */
export function topOf(weights) {
  const most = largest(weights);
  return [0.1, 0.2, 0.5].find((top) => most <= top) ?? 1;
}

export function paint(pen, head, numbers, size, colour, scale, background, stroke) {
  const gap = size > 7 ? CELL_GAP : 0;
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
export function heatmap(kind, head, numbers, size, texts, colours, pointer) {
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
  label.style.fontSize = `${Math.max(11, Math.min(13, size - 3))}px`;
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
