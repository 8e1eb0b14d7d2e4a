/* The side panel of a scope, of a run of equal scopes, and of the graph when nothing is selected. */

import { facts, linkTo, section } from "./detail_parts.js";
import { draw } from "./drawing.js";
import { bidi, bytesText, countText, element, plural } from "./elements.js";
import { announceEvent } from "./events.js";
import { page, scopeChain } from "./model.js";
import { neuronFacts } from "./neurons.js";
import { goToScope, selectScope } from "./selection.js";
import { state } from "./state.js";
import { setRun, toggleScope } from "./view.js";

export function overview() {
  const { forward, delta, update, constant } = page.scopes[0].counts;
  const parameters = page.nodes.filter((node) => node.kind === "parameter");
  const numbers = parameters.reduce((sum, node) => sum + node.elements(), 0);
  const flops = page.nodes.reduce((sum, node) => sum + node.flops(), 0);
  const outputs = Object.entries(page.outputs).map(([name, id]) =>
    element("li", {}, element("span", { class: "muted" }, bidi(name, 30), " = "), linkTo(id)),
  );
  return [
    element(
      "header",
      { class: "node-head" },
      element("p", { class: "kicker" }, "graph"),
      element("h2", {}, bidi(page.title || "graph", 60)),
    ),
    facts([
      ["forward", plural(forward, "node")],
      ["deltas", delta ? plural(delta, "node") : null],
      ["updates", update ? plural(update, "node") : null],
      ["constants", constant ? plural(constant, "node") : null],
      [
        "parameters",
        parameters.length ? `${countText(parameters.length)}, of ${countText(numbers)} numbers` : null,
      ],
      ["products", flops ? `${countText(flops)} operations a step` : null],
    ]),
    section("outputs", element("ul", { class: "links" }, outputs.slice(0, 60))),
    sizesSection(),
    element(
      "p",
      { class: "hint" },
      "Click a box for its formula, its delta and where it was declared. Press ",
      element("kbd", {}, "?"),
      " for all keys.",
    ),
  ];
}

/* The sizes of axes that bytes and operations are counted for. */
function sizesSection() {
  const names = Object.keys(page.sizes);
  if (!names.length) return null;
  const fields = names.map((name) =>
    element(
      "label",
      {},
      element("span", {}, name),
      element("input", {
        type: "number",
        min: 1,
        step: 1,
        value: page.sizes[name],
        change: (event) => {
          const size = Math.floor(Number(event.target.value));
          if (size >= 1 && size < 1e9) page.sizes[name] = size;
          event.target.value = page.sizes[name];
          state.arranged.size && draw();
          announceEvent("sizes", page.sizes);
        },
      }),
    ),
  );
  return section("sizes", element("div", { class: "sizes" }, fields), "part-sizes");
}

function nodesWithin(scope) {
  const ids = [...scope.nodes];
  for (const id of scope.scopes) ids.push(...nodesWithin(page.scopes[id]).map((node) => node.id));
  return ids.sort((a, b) => a - b).map((id) => page.nodes[id]);
}

export function scopeDetails(scope) {
  const inside = nodesWithin(scope);
  const forward = inside.filter((node) => node.part === "forward");
  const parameters = inside.filter((node) => node.kind === "parameter");
  const sum = (nodes, of) => nodes.reduce((total, node) => total + of(node), 0);
  const open = state.open.has(scope.id);
  const inner = scope.scopes.map((id) =>
    element(
      "li",
      {},
      element(
        "button",
        { type: "button", class: "node-link", click: () => goToScope(id) },
        bidi(page.scopes[id].name, 50),
      ),
      element("span", { class: "muted" }, ` ${plural(page.scopes[id].count, "node")}`),
    ),
  );
  const chain = scopeChain(scope.parent).map((id) => [
    element(
      "button",
      { type: "button", class: "crumb", click: () => goToScope(id) },
      bidi(page.scopes[id].name, 30),
    ),
    element("span", { "aria-hidden": "true" }, "›"),
  ]);
  return [
    element(
      "header",
      { class: "node-head" },
      element("p", { class: "kicker kind-scope" }, element("span", { class: "dot" }), "scope"),
      element("nav", { class: "crumbs", "aria-label": "scopes around it" }, chain),
      element("h2", {}, bidi(scope.name, 90)),
    ),
    element(
      "div",
      { class: "actions" },
      element(
        "button",
        {
          type: "button",
          click: () => {
            toggleScope(scope.id);
            announceEvent("details");
          },
        },
        open ? "close" : "open",
        element("kbd", { "aria-hidden": "true" }, "Enter"),
      ),
    ),
    runDetails(scope),
    facts([
      ...neuronFacts(scope.path),
      ["nodes", partsText(scope.counts)],
      [
        "parameters",
        parameters.length
          ? `${countText(parameters.length)}, of ${countText(sum(parameters, (node) => node.elements()))} numbers`
          : null,
      ],
      ["weights", parameters.length ? bytesText(sum(parameters, (node) => node.bytes())) : null],
      [
        "values",
        bytesText(
          sum(
            forward.filter((node) => node.kind !== "parameter"),
            (node) => node.bytes(),
          ),
        ),
      ],
      [
        "FLOPs",
        sum(forward, (node) => node.flops())
          ? `${countText(sum(forward, (node) => node.flops()))} forward`
          : null,
      ],
    ]),
    inner.length ? section("scopes in it", element("ul", { class: "links" }, inner.slice(0, 60))) : null,
    section(
      "nodes in it",
      element(
        "ul",
        { class: "links" },
        scope.nodes
          .filter((id) => page.nodes[id].part === "forward")
          .slice(0, 80)
          .map((id) =>
            element(
              "li",
              {},
              linkTo(id, scope.id),
              element("span", { class: "muted" }, ` ${page.nodes[id].op}`),
            ),
          ),
      ),
    ),
  ];
}

function partsText({ forward, delta, update, constant }) {
  const parts = [
    [forward, "forward"],
    [delta, "for deltas"],
    [update, "for updates"],
    [constant, constant === 1 ? "constant" : "constants"],
  ];
  return parts.flatMap(([count, text]) => (count ? `${countText(count)} ${text}` : [])).join(", ");
}

function runDetails(scope) {
  const { run } = scope;
  if (!run) return null;
  const members = run.members.map((id) =>
    element(
      "button",
      {
        type: "button",
        class: "member",
        "aria-pressed": String(run.folded ? run.shown === id : id === scope.id),
        click: () => {
          if (run.folded) setRun(run, { shown: id });
          selectScope(id);
        },
      },
      bidi(page.scopes[id].name, 12),
    ),
  );
  return section(
    `${run.members.length} equal scopes`,
    element(
      "div",
      { class: "run" },
      element("div", { class: "members", role: "group", "aria-label": "the one that is drawn" }, members),
      element(
        "button",
        {
          type: "button",
          click: () => {
            setRun(run, { folded: !run.folded });
            selectScope(run.folded ? run.shown : scope.id);
          },
        },
        run.folded ? "draw all of them" : "draw one for all",
      ),
    ),
  );
}
