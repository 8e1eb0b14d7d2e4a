/* The side panel of a node: formulas, facts, heads and tails, and all contributions to its delta. */

import { copyLink } from "./address.js";
import { facts, linkTo, nodeLink, section } from "./detail_parts.js";
import { append, bidi, bytesText, countText, element, plural, visible } from "./elements.js";
import { contributionFormula, deltaFormula, deltaOf, inlineMath, valueFormula } from "./formula.js";
import { page, scopeChain, shapeText, shortName, sizeOf } from "./model.js";
import { enterFocus } from "./neighbourhood.js";
import { neuronFacts } from "./neurons.js";
import { countWords, hideWay, showWay } from "./paths.js";
import { goToScope } from "./selection.js";
import { state } from "./state.js";

export function nodeDetails(node) {
  return [
    nodeHead(node),
    actions(node),
    wayDetails(),
    nodeFormulas(node),
    nodeFacts(node),
    nodeNeighbours(node),
    nodeDelta(node),
  ];
}

const KINDS = {
  input: "input",
  parameter: "parameter",
  state: "state",
  known: "known before the run",
  operation: "value",
  output: "output",
  delta: "delta",
  step: "step of a delta rule",
  update: "update",
};

function nodeHead(node) {
  const chain = scopeChain(node.scope).map((id) => page.scopes[id]);
  const crumbs = chain.map((scope) => [
    element(
      "button",
      { type: "button", class: "crumb", click: () => goToScope(scope.id) },
      bidi(scope.name, 30),
    ),
    element("span", { "aria-hidden": "true" }, "›"),
  ]);
  const whole =
    node.name.length > 90
      ? element(
          "details",
          { class: "whole-name" },
          element("summary", {}, `the whole name, ${plural(node.name.length, "character")}`),
          element("code", {}, visible(node.name)),
        )
      : null;
  return element(
    "header",
    { class: "node-head" },
    element(
      "p",
      { class: `kicker kind-${node.kind}` },
      element("span", { class: "dot", "aria-hidden": "true" }),
      KINDS[node.kind] ?? node.kind,
      " · ",
      element("code", {}, bidi(node.op, 40)),
    ),
    element("nav", { class: "crumbs", "aria-label": "scopes around the node" }, crumbs),
    element("h2", { id: "node-title", tabindex: -1 }, bidi(shortName(node, node.scope), 90)),
    whole,
  );
}

function nodeFormulas(node) {
  const value = valueFormula(node);
  const delta = deltaFormula(node);
  if (!value && !delta) return null;
  return section(
    "formula",
    element(
      "div",
      { class: "formulas" },
      value
        ? element("div", { class: "formula", role: "group", "aria-label": "formula of the value" }, value)
        : null,
      node.note ? element("p", { class: "note" }, node.note) : null,
      delta
        ? element(
            "div",
            { class: "formula delta-formula", role: "group", "aria-label": "formula of the delta" },
            delta,
          )
        : null,
    ),
  );
}

function nodeFacts(node) {
  const attributes = Object.entries(node.attributes).map(([name, value]) =>
    element("span", { class: "attribute" }, `${name} = `, bidi(value, 60)),
  );
  const flops = node.flops();
  const others = node.names.slice(1);
  const source = node.source === undefined ? null : page.sources[node.source];
  return section(
    "facts",
    facts([
      ...(node.part === "forward" ? neuronFacts(node.name) : []),
      ["shape", node.shape.length ? shapeElement(node) : "scalar"],
      ["dtype", node.dtype],
      [
        "bytes",
        element(
          "span",
          { "data-fact": "bytes" },
          bytesText(node.bytes()),
          element("span", { class: "muted" }, ` · ${countText(node.elements())} numbers`),
        ),
      ],
      ["FLOPs", flops ? element("span", { "data-fact": "flops" }, countText(flops)) : null],
      ["attributes", attributes.length ? attributes : null],
      ["value", node.value ?? null],
      [
        "also called",
        others.length
          ? element(
              "ul",
              { class: "plain" },
              others.slice(0, 20).map((name) => element("li", {}, bidi(name, 60))),
            )
          : null,
      ],
      ["declared", source ? sourceElement(source) : null],
    ]),
  );
}

function shapeElement(node) {
  return element(
    "span",
    { class: "shape", "data-fact": "shape" },
    node.shape.map((size) =>
      element(
        "span",
        { class: typeof size === "number" ? "axis" : "axis named" },
        String(size),
        typeof size === "number" ? null : element("small", {}, String(sizeOf(page.dimensions[size], page))),
      ),
    ),
  );
}

function sourceElement(source) {
  const parts = source.file.split(/[\\/]/);
  const short = parts.slice(-2).join("/");
  return element(
    "div",
    { class: "source" },
    element("span", { title: visible(`${source.file}:${source.line}`) }, bidi(short, 50), `:${source.line}`),
    source.text ? element("pre", {}, element("code", {}, visible(source.text))) : null,
  );
}

function nodeNeighbours(node) {
  const list = (ids) =>
    element(
      "ul",
      { class: "links" },
      ids
        .slice(0, 40)
        .map((id) =>
          element(
            "li",
            {},
            linkTo(id, node.scope),
            element(
              "span",
              { class: "muted" },
              page.nodes[id].shape.length ? ` ${shapeText(page.nodes[id])}` : "",
            ),
          ),
        ),
      ids.length > 40 ? element("li", { class: "muted" }, `and ${ids.length - 40} more`) : null,
    );
  const heads = [...new Set(node.heads)];
  const forward = node.tails.filter((id) => page.nodes[id].part === node.part);
  const others = node.tails.filter((id) => page.nodes[id].part !== node.part);
  return [
    heads.length ? section(`heads (${heads.length})`, list(heads), "part-heads") : null,
    forward.length ? section(`tails (${forward.length})`, list(forward), "part-tails") : null,
    others.length
      ? element(
          "details",
          { class: "part folded" },
          element("summary", {}, `also used by ${plural(others.length, "node")} of the deltas and updates`),
          list(others),
        )
      : null,
  ];
}

/* δ with its contributions: what every tail sends back, and the contributions to the tail's delta. */
function nodeDelta(node) {
  if (node.owner !== null && node.part !== "forward") {
    return section(
      "belongs to",
      element("ul", { class: "links" }, element("li", {}, linkTo(node.owner, node.scope))),
    );
  }
  if (node.delta === null) return null;
  const came = node.contributions.map((item) => contributionRow(node, item, 0));
  return section(
    `delta${came.length > 1 ? `: the sum of ${came.length} contributions` : ""}`,
    element(
      "div",
      { class: "contributions" },
      element(
        "p",
        { class: "delta-link" },
        inlineMath(deltaOf(node.id, node.scope)),
        " is ",
        linkTo(node.delta, node.scope),
      ),
      surgeryNote(node),
      element("ul", { class: "tree" }, came),
    ),
    "part-delta",
  );
}

/* The cuts of surgery on the delta, and the delta before them. */
function surgeryNote(node) {
  const edges = node.contributions.filter((item) => item.cuts.length);
  if (!node.cuts.length && !edges.length) return null;
  const before = node.before === null ? null : page.nodes[node.before];
  const whole = node.cuts.length
    ? [
        element("b", {}, node.cuts.map(visible).join(", ")),
        before ? [" · before it was ", nodeLink(before.name, "δ before")] : null,
      ]
    : [element("b", {}, plural(edges.length, "contribution")), " cut"];
  return element("p", { class: "surgery-note" }, "surgery: ", whole);
}

function contributionRow(node, item, depth) {
  const tail = page.nodes[item.tail];
  const formula = inlineMath(contributionFormula(node, item));
  const row = element(
    "div",
    { class: "contribution" },
    element("span", { class: "from" }, "from ", linkTo(item.tail, node.scope)),
    element("span", { class: "sent" }, formula),
    item.value === node.delta || page.nodes[item.value].owner !== node.id
      ? null
      : element(
          "span",
          { class: "from" },
          "as the node ",
          nodeLink(
            page.nodes[item.value].name,
            `δ ${page.nodes[item.value].index ?? page.nodes[item.value].op}`,
          ),
        ),
  );
  if (!tail.contributions.length) return element("li", {}, row);
  const inner = element("ul", { class: "tree" });
  const more = element(
    "details",
    {
      toggle: () => {
        if (more.open && !inner.childNodes.length)
          append(
            inner,
            tail.contributions.map((next) => contributionRow(tail, next, depth + 1)),
          );
      },
    },
    element("summary", {}, "where this came from"),
    inner,
  );
  return element("li", {}, row, more);
}

function wayDetails() {
  const { path } = state;
  if (!path) return null;
  const order = path.order ?? [...path.nodes].sort((a, b) => a - b);
  const title =
    path.kind === "shortest"
      ? `shortest way to the loss: ${plural(order.length - 1, "step")}`
      : `${countWords(path.count)} ${path.count === 1n ? "way" : "ways"} to the loss, through ${plural(order.length, "node")}`;
  return section(
    title,
    [
      element(
        "ol",
        { class: "links way" },
        order.slice(0, 80).map((id) => element("li", {}, linkTo(id))),
      ),
      order.length > 80 ? element("p", { class: "muted" }, `and ${order.length - 80} more`) : null,
      element("button", { type: "button", click: hideWay }, "hide"),
    ],
    "part-way",
  );
}

function actions(node) {
  const button = (text, key, act) =>
    element("button", { type: "button", click: act }, text, element("kbd", { "aria-hidden": "true" }, key));
  return element(
    "div",
    { class: "actions" },
    button("neighbourhood", "f", () => enterFocus(node.id)),
    button("way to the loss", "p", () => showWay("shortest")),
    button("all ways", "a", () => showWay("all")),
    button("link", "c", copyLink),
  );
}
