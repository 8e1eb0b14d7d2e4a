/* Search: nodes, operations and scopes; the words of a search may stand in any order. What is a name
of a node to the letter, also a second one, is that node before all else, a scope of that name too. */

import { canvas } from "./drawing.js";
import { bidi, countText, element, plural, replaceChildren } from "./elements.js";
import { page } from "./model.js";
import { goToScope, selectNode } from "./selection.js";
import { closeTab } from "./tabs.js";

const MOST_FOUND = 60;
let found = [];
let chosen = -1;

function searchFor(text) {
  const words = text.toLowerCase().split(/\s+/).filter(Boolean);
  if (!words.length) return [];
  const results = [];
  const exact = page.byName.get(text.trim());
  const score = (whole, last, extra) => {
    let sum = 0;
    for (const word of words) {
      if (whole === word) sum += 200;
      else if (last === word) sum += 100;
      else if (last.startsWith(word)) sum += 40;
      else if (last.includes(word)) sum += 25;
      else if (whole.includes(word)) sum += 10;
      else if (extra.includes(word)) sum += 8;
      else return 0;
    }
    return sum;
  };
  for (const scope of page.scopes) {
    if (scope.id === 0) continue;
    scope.low = scope.low ?? scope.path.toLowerCase();
    const worth = score(scope.low, scope.name.toLowerCase(), "scope");
    if (worth) results.push({ scope, worth: worth + 6, length: scope.low.length });
  }
  for (const node of page.nodes) {
    node.low = node.low ?? node.name.toLowerCase();
    node.others = node.others ?? `${node.op} ${node.kind} ${node.names.slice(1).join(" ")}`.toLowerCase();
    const worth = score(node.low, node.low.slice(node.low.lastIndexOf(".") + 1), node.others);
    if (worth || node === exact)
      results.push({
        node,
        worth: node === exact ? Infinity : worth + (node.part === "forward" ? 5 : 0) + (node.drawn & 1),
        length: node.name.length,
      });
  }
  return results.sort((a, b) => b.worth - a.worth || a.length - b.length);
}

export function makeSearch() {
  const input = element("input", {
    id: "search",
    type: "search",
    placeholder: "Search nodes, operations, scopes",
    autocomplete: "off",
    spellcheck: "false",
    role: "combobox",
    "aria-expanded": "false",
    "aria-controls": "found",
    "aria-label": "search nodes, operations and scopes",
    "aria-autocomplete": "list",
    input: () => showFound(searchFor(input.value)),
    focus: () => input.value && showFound(searchFor(input.value)),
    keydown: (event) => searchKey(event, input),
    blur: () => setTimeout(hideFound, 150),
  });
  return element(
    "div",
    { class: "search", role: "search" },
    input,
    element("kbd", { "aria-hidden": "true" }, "/"),
    element("div", { id: "found", role: "listbox", "aria-label": "found", hidden: true }),
  );
}

function showFound(results) {
  found = results.slice(0, MOST_FOUND);
  chosen = found.length ? 0 : -1;
  const host = document.getElementById("found");
  const input = /** @type {HTMLInputElement} */ (document.getElementById("search"));
  host.hidden = !input.value.trim();
  input.setAttribute("aria-expanded", String(!host.hidden));
  replaceChildren(
    host,
    found.map((result, number) => foundRow(result, number)),
    results.length > MOST_FOUND
      ? element(
          "p",
          { class: "muted" },
          `${countText(results.length - MOST_FOUND)} more: say more of the name`,
        )
      : null,
    found.length ? null : element("p", { class: "muted" }, "nothing has this in its name"),
  );
  markChosen();
}

function foundRow({ node, scope }, number) {
  const name = node ? node.name : scope.path;
  const split = name.lastIndexOf(".") + 1;
  const kind = node ? node.kind : "scope";
  return element(
    "div",
    {
      role: "option",
      id: `found-${number}`,
      class: `found kind-${kind}`,
      "aria-selected": "false",
      mousedown: (event) => {
        event.preventDefault();
        choose(number);
      },
    },
    element("span", { class: "dot", "aria-hidden": "true" }),
    element(
      "span",
      { class: "found-name" },
      bidi(name.slice(split), 60),
      split ? element("small", {}, bidi(name.slice(0, split - 1), 70)) : null,
    ),
    element("code", {}, node ? bidi(node.op, 24) : plural(scope.count, "node")),
  );
}

function choose(number) {
  const result = found[number];
  if (!result) return;
  hideFound();
  document.getElementById("search").blur();
  closeTab();
  if (result.node) {
    selectNode(result.node);
  } else goToScope(result.scope.id);
  canvas.focus({ preventScroll: true });
}

function markChosen() {
  const input = document.getElementById("search");
  for (const row of document.querySelectorAll("#found [role=option]")) {
    const on = row.id === `found-${chosen}`;
    row.setAttribute("aria-selected", String(on));
    if (on) row.scrollIntoView({ block: "nearest" });
  }
  if (chosen >= 0) input.setAttribute("aria-activedescendant", `found-${chosen}`);
  else input.removeAttribute("aria-activedescendant");
}

export function hideFound() {
  document.getElementById("found").hidden = true;
  document.getElementById("search").setAttribute("aria-expanded", "false");
}

function searchKey(event, input) {
  event.stopPropagation();
  if (event.key === "ArrowDown" || event.key === "ArrowUp") {
    chosen = found.length ? (chosen + (event.key === "ArrowDown" ? 1 : found.length - 1)) % found.length : -1;
    markChosen();
    event.preventDefault();
  } else if (event.key === "Enter") choose(chosen);
  else if (event.key === "Escape") {
    input.value = "";
    hideFound();
    canvas.focus({ preventScroll: true });
  }
}
