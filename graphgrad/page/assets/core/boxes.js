/* Makes boxes: their texts, their sizes from the width of the texts, and their elements. */

import { plural, shorten, svg, visible } from "./elements.js";
import { describeNode, page, scopeTitle, shapeText, shortName } from "./model.js";
import { state } from "./state.js";

const FONT = `system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", Arial, sans-serif`;
const LABEL = `600 12px ${FONT}`;
const DETAIL = `400 11px ${FONT}`;
export const LABEL_LIMIT = 30;
const LINE = 13;

const widths = new Map();
let measuring = null;

function textWidth(text, font) {
  const key = font + text;
  if (!widths.has(key)) {
    measuring = measuring ?? document.createElement("canvas").getContext("2d");
    if (measuring.font !== font) measuring.font = font;
    widths.set(key, measuring.measureText(text).width);
  }
  return widths.get(key);
}

/* {label, index, detail, tags, badge} of an item: short texts that show what is in them. */
export function boxTexts(item) {
  item.texts =
    item.texts ?? (item.scope === undefined ? nodeTexts(item) : scopeTexts(page.scopes[item.scope]));
  return item.texts;
}

function nodeTexts(item) {
  const node = page.nodes[item.node];
  const cut = (text, limit = LABEL_LIMIT) => visible(shorten(text, limit));
  const neuron = page.style === "neurons" && !item.flat && page.nodes[item.node].part === "forward";
  const shape = node.shape.length && !neuron ? shapeText(node) : "";
  const full = item.flat ? shortName(node) : node.label;
  return {
    label: cut(
      item.flat && !node.index ? full : node.index ? `${node.label} ${node.index}` : node.label,
      item.flat || node.index ? 38 : LABEL_LIMIT,
    ),
    index: "",
    unit: neuron && node.scope ? cut(page.scopes[node.scope].path.replaceAll(".", " "), 20) : "",
    detail: [node.does ? cut(node.does, 20) : "", cut(shape, 34)].filter(Boolean).join("  "),
    tags: node.tags.map((id) => {
      const tag = page.nodes[id];
      return `${cut(shortName(tag, node.scope), 18)}${tag.shape.length ? ` ${cut(shapeText(tag), 24)}` : ""}`;
    }),
    badge: "",
  };
}

function scopeTexts(scope) {
  const { run } = scope;
  const part = { backward: "delta", updates: "update" }[state.view] ?? "forward";
  return {
    label: visible(shorten(scopeTitle(scope), LABEL_LIMIT)),
    index: "",
    detail: "",
    tags: [],
    count: plural(scope.counts[part] || scope.count, "node"),
    badge: run?.folded ? `×${run.members.length}` : "",
  };
}

export function boxSize(item) {
  if (item.size) return item.size;
  const { label, index, detail, tags, badge, unit } = boxTexts(item);
  const neuron = isRound(item);
  const first =
    textWidth(label, LABEL) +
    (index ? textWidth(index, DETAIL) + 2 : 0) +
    (item.scope === undefined ? 0 : 16 + textWidth(boxTexts(item).count, DETAIL) + 8) +
    (badge ? textWidth(badge, LABEL) + 16 : 0);
  const widest = Math.max(
    first,
    textWidth(detail, DETAIL),
    ...tags.map((tag) => textWidth(tag, DETAIL) + 10),
  );
  const height = 13 + LINE + (detail ? LINE : 0) + (unit ? LINE : 0) + (tags.length ? tags.length * LINE + 5 : 0);
  const width = Math.max(item.scope === undefined ? 48 : 84, Math.ceil(widest) + 24);
  const across = Math.max(
    56,
    Math.ceil(
      Math.max(textWidth(label, LABEL), textWidth(unit ?? "", DETAIL), textWidth(detail, DETAIL)) + 16,
    ),
  );
  item.size = neuron ? [across, across > 72 ? 56 : across] : [width, height];
  return item.size;
}

function isRound(item) {
  if (page.style !== "neurons" || item.scope !== undefined || item.flat) return false;
  return (
    ["input", "operation", "output"].includes(page.nodes[item.node].kind) &&
    page.nodes[item.node].tags.length === 0
  );
}

export function titleWidth(scope) {
  const title = visible(shorten(scopeTitle(scope), LABEL_LIMIT));
  return textWidth(title, LABEL) + 60 + (scope.run?.folded ? 44 : 0);
}

/* The elements of a closed box; `side` is "value", or "delta" for the mirrored one. */
export function boxElements(box, side) {
  const { item, width, height } = box;
  const texts = boxTexts(item);
  const node = item.node === undefined ? null : page.nodes[item.node];
  const round = isRound(item);
  const radius = round ? Math.min(width, height) / 2 : item.scope === undefined ? 7 : 9;
  const parts = [];
  if (texts.badge) parts.push(svg("rect", { class: "stack", x: 4, y: 4, width, height, rx: radius }));
  parts.push(svg("rect", { class: "body", width, height, rx: radius }));
  const middle = width / 2;
  const shape = node && node.shape.length && !round ? visible(shorten(shapeText(node), 34)) : "";
  const operated = side === "delta" && node ? node.cuts.map(visible).join(", ") : "";
  const detail = side === "delta" && node ? operated || shape : texts.detail;
  let line = texts.detail && !detail && !texts.tags.length ? height / 2 + 4 : 6 + 11;
  if (round) line = height / 2 + 4 - ((texts.unit ? 1 : 0) + (detail ? 1 : 0)) * 6;
  const label = side === "delta" ? `δ ${texts.label}` : texts.label;
  const name = svg("text", { class: "label", x: middle, y: line }, label);
  if (texts.index) name.append(svg("tspan", { class: "index", dy: 3 }, texts.index));
  if (item.scope !== undefined) name.prepend(svg("tspan", { class: "chevron" }, "▸ "));
  if (texts.badge) name.append(svg("tspan", { class: "badge" }, `  ${texts.badge}`));
  if (texts.count) name.append(svg("tspan", { class: "count", dx: 7 }, texts.count));
  parts.push(name);
  if (texts.unit) {
    line += LINE;
    parts.push(svg("text", { class: "detail unit", x: middle, y: line }, texts.unit));
  }
  if (detail) {
    line += LINE;
    parts.push(svg("text", { class: operated ? "detail cut" : "detail", x: middle, y: line }, detail));
  } else if (texts.detail) line += LINE;
  texts.tags.forEach((tag, at) => {
    const top = line + 8 + at * LINE;
    if (!at) parts.push(svg("line", { class: "rule", x1: 10, x2: width - 10, y1: top - 1, y2: top - 1 }));
    const text = svg(
      "text",
      { class: "tag", x: middle, y: top + 11, "data-node": node.tags[at] },
      side === "delta" ? `δ ${tag}` : tag,
    );
    parts.push(text);
  });
  return parts;
}

/* The classes that give a box its colour. */
export function boxClasses(item, side) {
  if (item.scope !== undefined) return `box scope-box kind-scope${side === "delta" ? " side-delta" : ""}`;
  const { kind } = page.nodes[item.node];
  return `box kind-${side === "delta" ? "delta" : kind}${item.copy ? " copy" : ""}${isRound(item) ? " round" : ""}`;
}

export function boxWords(item, side) {
  if (item.scope !== undefined) {
    const scope = page.scopes[item.scope];
    const times = scope.run?.folded ? `, drawn for ${scope.run.members.length} equal ones` : "";
    return `${side === "delta" ? "deltas of the " : ""}scope ${visible(shorten(scope.path, 100))}, ${plural(scope.count, "node")}${times}`;
  }
  const node = page.nodes[item.node];
  const cut = node.cuts.length ? `, cut by surgery: ${node.cuts.map(visible).join(", ")}` : "";
  return side === "delta" ? `delta of ${visible(shorten(node.name, 100))}${cut}` : describeNode(node);
}
