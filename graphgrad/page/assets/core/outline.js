/* The outline: the graph as a tree of text, which screen readers can read, too. */

import { bidi, countText, element, plural, replaceChildren, shorten, visible } from "./elements.js";
import { describeNode, page, scopeChain, shortName } from "./model.js";
import { selectNode, selectScope } from "./selection.js";
import { state } from "./state.js";

const MOST_ROWS = 400;
let outlineHost = null;

export function makeOutline() {
  outlineHost = element("div", {
    id: "outline-tree",
    role: "tree",
    "aria-label": "outline of the graph",
    keydown: outlineKey,
  });
  return element(
    "nav",
    { id: "outline", "aria-label": "outline", hidden: true },
    element("h2", {}, "outline"),
    outlineHost,
  );
}

export function showOutline(shown = Boolean(document.getElementById("outline").hidden)) {
  const host = document.getElementById("outline");
  host.hidden = !shown;
  document.body.classList.toggle("with-outline", shown);
  document.getElementById("outline-button").setAttribute("aria-pressed", String(shown));
  if (shown && !outlineHost.childNodes.length) replaceChildren(outlineHost, outlineRows(0));
  if (shown) updateOutline();
}

function outlineRows(id) {
  const scope = page.scopes[id];
  const rows = [
    ...scope.nodes
      .map((node) => ({ order: node, node: page.nodes[node] }))
      .filter(({ node }) => node.part === "forward" && node.drawn),
    ...scope.scopes.map((inner) => ({ order: firstNode(inner), scope: page.scopes[inner] })),
  ].sort((a, b) => a.order - b.order);
  const shown = rows
    .slice(0, MOST_ROWS)
    .map((row) => ("node" in row ? nodeRow(row.node) : scopeRow(row.scope)));
  if (rows.length > MOST_ROWS)
    shown.push(
      element(
        "div",
        { class: "muted more" },
        `and ${countText(rows.length - MOST_ROWS)} more: search finds them`,
      ),
    );
  return shown;
}

function firstNode(id) {
  const scope = page.scopes[id];
  if (scope.first === undefined) {
    scope.first = Math.min(scope.nodes[0] ?? Infinity, ...scope.scopes.map(firstNode));
  }
  return scope.first;
}

function nodeRow(node) {
  return element(
    "div",
    {
      role: "treeitem",
      class: `row kind-${node.kind}`,
      "data-outline": `n${node.id}`,
      tabindex: -1,
      "aria-level": page.scopes[node.scope].depth + 1,
      "aria-label": describeNode(node),
      click: () => selectNode(node),
    },
    element("span", { class: "dot", "aria-hidden": "true" }),
    bidi(shortName(node, node.scope), 40),
    element("small", {}, bidi(node.op, 20)),
  );
}

function scopeRow(scope) {
  const group = element("div", { role: "group", hidden: true });
  const head = element(
    "div",
    {
      role: "treeitem",
      class: "row scope-row",
      "aria-expanded": "false",
      tabindex: -1,
      "data-outline": `s${scope.id}`,
      "aria-level": scope.depth,
      "aria-label": `${visible(shorten(scope.path, 80))}: scope, ${plural(scope.count, "node")}`,
      click: () => {
        openRow(head, group, scope.id, head.getAttribute("aria-expanded") !== "true");
        selectScope(scope.id);
      },
    },
    element("span", { class: "chevron", "aria-hidden": "true" }, "▸"),
    bidi(scope.name, 40),
    element("small", {}, countText(scope.count)),
  );
  return [head, group];
}

function openRow(head, group, id, open) {
  head.setAttribute("aria-expanded", String(open));
  group.hidden = !open;
  if (open && !group.childNodes.length) replaceChildren(group, outlineRows(id));
}

/* Marks the selected row and opens the scopes around it. */
export function updateOutline() {
  if (!outlineHost || document.getElementById("outline").hidden) return;
  for (const row of outlineHost.querySelectorAll("[aria-selected]")) row.removeAttribute("aria-selected");
  const selected = state.selected?.bundle ? null : state.selected;
  const target = selected?.node ?? null;
  const chain = selected ? scopeChain(selected.scope ? selected.scope.parent : target.scope) : [];
  for (const id of chain) {
    const head = outlineHost.querySelector(`[data-outline="s${id}"]`);
    if (head && head.getAttribute("aria-expanded") !== "true")
      openRow(head, head.nextElementSibling, id, true);
  }
  const row =
    selected &&
    outlineHost.querySelector(
      `[data-outline="${selected.scope ? `s${selected.scope.id}` : `n${target.id}`}"]`,
    );
  const first = outlineHost.querySelector("[role=treeitem]");
  for (const other of outlineHost.querySelectorAll("[tabindex='0']")) other.setAttribute("tabindex", "-1");
  (row ?? first)?.setAttribute("tabindex", "0");
  if (row) {
    row.setAttribute("aria-selected", "true");
    row.scrollIntoView({ block: "nearest" });
  }
}

function outlineKey(event) {
  const rows = [...outlineHost.querySelectorAll("[role=treeitem]")].filter(
    (row) => row.offsetParent !== null,
  );
  const at = rows.indexOf(document.activeElement);
  const row = rows[at];
  const expanded = row?.getAttribute("aria-expanded");
  const go = (number) => rows[Math.max(0, Math.min(rows.length - 1, number))]?.focus();
  const steps = {
    ArrowDown: () => go(at + 1),
    ArrowUp: () => go(at - 1),
    Home: () => go(0),
    End: () => go(rows.length - 1),
    ArrowRight: () =>
      expanded === "false"
        ? openRow(row, row.nextElementSibling, Number(row.dataset.outline.slice(1)), true)
        : go(at + 1),
    ArrowLeft: () =>
      expanded === "true"
        ? openRow(row, row.nextElementSibling, 0, false)
        : row?.closest("[role=group]")?.previousElementSibling?.focus(),
    Enter: () => row?.click(),
    " ": () => row?.click(),
  };
  if (!row || !(event.key in steps)) return;
  steps[event.key]();
  event.preventDefault();
  event.stopPropagation();
}
