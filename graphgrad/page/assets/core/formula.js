/* Formulas as MathML: the tree of an operation's formula with nodes in the places of x, y and δ.

`{heads, own, delta, place, scope}` say which: the nodes of the heads, of the result, whose delta δ
is, which head a bare x means, and the scope in which names stand short. */

import { math, shorten, visible } from "./elements.js";
import { page, shortName } from "./model.js";
import { selectNode } from "./selection.js";

export function valueFormula(node) {
  if (node.formula === undefined) return null;
  const places = { heads: node.heads, own: node.id, place: 0, scope: node.scope };
  return equation([nameOf(node.id, node.scope, "own")], [mathOf(page.formulas[node.formula], places)]);
}

/* δ = … and one more piece for each further contribution, so that a long sum goes on in new lines.
What surgery did to the whole delta stands around the sum. */
export function deltaFormula(node) {
  if (!node.contributions.length) return null;
  const [first, ...others] = node.contributions.map((item) => contributionFormula(node, item));
  const [open, close] = surgeryAround(node.cuts);
  const last = others.length - 1;
  return [
    equation([deltaOf(node.id, node.scope)], [open, first, others.length ? null : close]),
    ...others.map((term, number) =>
      inlineMath(
        math("mo", { class: "plus", form: "infix", rspace: "0.3em" }, "+"),
        term,
        number === last ? close : null,
      ),
    ),
  ];
}

/* What stands before and after a formula on which surgery was done: `clip 1 (` and `)`. */
function surgeryAround(cuts) {
  const open = [...cuts]
    .reverse()
    .map((cut) => [
      math("mtext", { class: "surgery" }, visible(cut)),
      space("0.2em"),
      math("mo", { stretchy: "false" }, "("),
    ]);
  return [open, cuts.map(() => math("mo", { stretchy: "false" }, ")"))];
}

export function contributionFormula(node, { tail, place, rule, cuts }) {
  const sender = page.nodes[tail];
  const tree = page.formulas[rule];
  const sent = mathOf(tree, { heads: sender.heads, own: tail, place, scope: node.scope, product: true });
  if (!cuts.length) return sent;
  const [open, close] = surgeryAround(cuts);
  return math("mrow", {}, open, sent, close);
}

function equation(left, right) {
  const made = math(
    "math",
    { display: "block" },
    math("mrow", {}, left, math("mo", { lspace: "0.3em", rspace: "0.3em" }, "="), right),
  );
  made.setAttribute("alttext", formulaText(made));
  return made;
}

export function inlineMath(...parts) {
  const made = math("math", {}, math("mrow", {}, parts));
  made.setAttribute("alttext", formulaText(made));
  return made;
}

/* The formula on one line, for screen readers and for copying. */
function formulaText(made) {
  const [first, second] = made.children ?? [];
  const wrap = (part) => {
    const text = formulaText(part);
    return /^[\w.₀-₉]*$/.test(text) ? text : `(${text})`;
  };
  switch (made.localName) {
    case "mfrac":
      return `${wrap(first)} / ${wrap(second)}`;
    case "msup":
      return `${formulaText(first)}^${wrap(second)}`;
    case "msub":
      return `${formulaText(first)}[${formulaText(second)}]`;
    case "msqrt":
      return `√(${Array.from(made.children, formulaText).join("")})`;
    case "mspace":
      return " ";
    case "mo":
      if (!made.previousElementSibling) return made.textContent; // a sign, not a difference
      return /^[=+−·<>≤≥≠∧∨]$/.test(made.textContent) ? ` ${made.textContent} ` : made.textContent;
    default:
      return made.children?.length ? Array.from(made.children, formulaText).join("") : made.textContent;
  }
}

function mathOf(tree, places) {
  const [kind, ...rest] = tree;
  const inner = (part) => mathOf(part, places);
  switch (kind) {
    case "row":
      return math("mrow", {}, spaced(rest, places));
    case "(":
      return math("mrow", {}, math("mo", {}, "("), spaced(rest, places), math("mo", {}, ")"));
    case "/":
      return math("mfrac", {}, rest.map(inner));
    case "^":
      return math("msup", {}, rest.map(inner));
    case "√":
      return math("msqrt", {}, inner(rest[0]));
    case "x":
      return headName(places, rest[0] < 0 ? places.place : rest[0]);
    case "*":
      return allHeads(places);
    case "y":
      return nameOf(places.own, places.scope);
    case "δ":
      return deltaOf(places.own, places.scope);
    case "i":
      return math("mi", {}, rest[0]);
    case "f":
      return math("mi", { mathvariant: "normal" }, rest[0]);
    case "n":
      return math("mn", {}, rest[0]);
    case "o":
      return operator(rest[0]);
    default:
      return math("mtext", {}, rest[0]);
  }
}

/* Parts side by side; a thin space where two names would run into one. */
function spaced(parts, places) {
  const made = [];
  parts.forEach((part, number) => {
    const before = number ? parts[number - 1][0] : "o";
    const joined = part[0] === "t" && /^[,;]/.test(part[1]);
    if (joined) made.push(space("0"));
    else if (part[0] === "t" && number) made.push(space("0.35em"));
    else if (before === "t" && part[0] !== "t") made.push(space("0.35em"));
    else if (before === "f" && part[0] !== "(" && part[0] !== "^") made.push(space("0.2em"));
    else if (before !== "o" && part[0] !== "o" && part[0] !== "(") made.push(space("0.25em"));
    made.push(mathOf(part, places));
  });
  return made;
}

function space(width) {
  return math("mspace", { width });
}

function operator(sign) {
  if (sign === "Σ") return math("mo", { largeop: "false", lspace: "0.1em", rspace: "0.15em" }, "∑");
  if (sign === "−") return math("mo", {}, "−");
  return math("mo", {}, sign);
}

function headName(places, number) {
  const id = places.heads[number];
  return id === undefined ? math("mi", {}, "x") : nameOf(id, places.scope);
}

function allHeads(places) {
  const shown = places.heads
    .slice(0, 6)
    .map((id, number) => [number ? math("mo", {}, ",") : null, nameOf(id, places.scope)]);
  return math("mrow", {}, shown, places.heads.length > 6 ? math("mtext", {}, ", …") : null);
}

/* A node's name as an identifier that selects the node when it is clicked. */
function nameOf(id, scope, style = "node") {
  const node = page.nodes[id];
  if (node.value !== undefined) {
    const negative = node.value.startsWith("-");
    const number = math("mn", {}, node.value.replace("-", "−"));
    return negative ? math("mrow", {}, math("mo", {}, "("), number, math("mo", {}, ")")) : number;
  }
  const text = visible(shorten(shortName(node, scope), 40));
  const name = math("mi", { mathvariant: "normal", class: `name ${style}`, title: visible(node.name) }, text);
  if (style === "node") name.addEventListener("click", () => selectNode(node));
  const weight = node.kind === "parameter" && /^(.+)\.([^.]*)->([^.]*)$/.exec(text);
  if (!weight) return name;
  name.textContent = weight[1];
  return math("msub", {}, name, math("mi", { mathvariant: "normal" }, `${weight[2]}→${weight[3]}`));
}

export function deltaOf(id, scope) {
  const symbol = math("mi", { class: "delta-symbol" }, "δ");
  return math("msub", {}, symbol, nameOf(id, scope, "index"));
}
