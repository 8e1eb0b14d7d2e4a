/* Searches nodes, operations, formulas and scopes, and the words that lectures have for them; the words of
a search may be in any order. A node or scope with exactly this name, also as a second name, is the first
result. Whole names and words precede parts of them; scopes and values precede parameters, these deltas, and
these the steps of rules and updates. */

import { canvas } from "./drawing.js";
import { bidi, countText, element, plural, replaceChildren } from "./elements.js";
import { lectureWords } from "./lecture.js";
import { page } from "./model.js";
import { goToScope, selectNode } from "./selection.js";
import { closeTab } from "./tabs.js";

const MOST_FOUND = 60;
const RANKS = { parameter: 1, state: 1, delta: 2, known: 3, step: 4, update: 4 };
let found = [];
let chosen = -1;

function searchFor(text) {
  const words = text.toLowerCase().split(/\s+/).filter(Boolean);
  if (!words.length) return [];
  const results = [];
  const exact = page.byName.get(text.trim());
  /* How well all words fit: the sum of their worths, and whether each is a whole name or word. */
  const score = (whole, last, others) => {
    let worth = 0;
    let full = true;
    for (const word of words) {
      const known = others.includes(word);
      if (whole === word) worth += 200;
      else if (last === word) worth += 100;
      else if (known && isWholeWord(others, word)) worth += 60;
      else {
        full = false;
        if (last.startsWith(word)) worth += 40;
        else if (last.includes(word)) worth += 25;
        else if (whole.includes(word)) worth += 10;
        else if (known) worth += 4;
        else return { worth: 0, full };
      }
    }
    return { worth, full };
  };
  for (const scope of page.scopes) {
    if (scope.id === 0) continue;
    scope.low = scope.low ?? scope.path.toLowerCase();
    const { worth, full } = score(scope.low, scope.name.toLowerCase(), " scope ");
    const rank = scope.counts.forward ? 0 : 4;
    if (worth) results.push({ scope, rank, full, worth: worth + 6, length: scope.low.length });
  }
  for (const node of page.nodes) {
    node.low = node.low ?? node.name.toLowerCase();
    node.others = node.others ?? otherWords(node);
    const { worth, full } = score(node.low, node.low.slice(node.low.lastIndexOf(".") + 1), node.others);
    if (worth || node === exact)
      results.push({
        node,
        rank: node === exact ? -1 : (RANKS[node.kind] ?? 0),
        full: full || node === exact,
        worth: worth + (node.drawn & 1),
        length: node.name.length,
      });
  }
  return results.sort(
    (a, b) => Number(b.full) - Number(a.full) || a.rank - b.rank || b.worth - a.worth || a.length - b.length,
  );
}

function isWholeWord(text, word) {
  return text.includes(` ${word} `);
}

/* What a node is found by besides its name. */
function otherWords(node) {
  const heads = node.heads.map((head) => page.nodes[head].label).join(", ");
  const formula = node.formula === undefined ? "" : flat(page.formulas[node.formula]);
  const words = node.part === "forward" ? lectureWords(node.name) : "";
  const names = node.names.slice(1).map((name) => `${name} ${name.slice(name.lastIndexOf(".") + 1)}`);
  return ` ${node.op} ${node.kind} ${words} ${names.join(" ")} ${node.op}(${heads}) ${formula} `.toLowerCase();
}

/* The text of a formula's tree. */
function flat(tree) {
  if (typeof tree === "string") return tree;
  return Array.isArray(tree) ? tree.slice(1).map(flat).join("") : "";
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
