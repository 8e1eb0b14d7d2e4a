/* Prepares the data of the page: default values, tails, scopes with their children and runs. */

import { plural, shorten, visible } from "./elements.js";

/**
 * @typedef {object} GraphNode  a node of the graph; ids are positions in page.nodes
 * @property {number} id
 * @property {string} name  the shown name, unique
 * @property {string[]} names  all of its names
 * @property {string} label  the name without its scope
 * @property {string} [index]  what stands behind the label of several equal ones
 * @property {string} op  the operation
 * @property {string} [does]  the operation with the constants that its box hides
 * @property {"forward" | "delta" | "update"} part
 * @property {string} kind  input, parameter, state, known, operation, output, delta, step, update
 * @property {number} scope  the id of its scope; 0 is the whole graph
 * @property {(number | string)[]} shape  integers and texts ("batch", "2*target")
 * @property {string} dtype
 * @property {Object<string, string>} attributes
 * @property {string} [note] what the symbols of the formula stand for
 * @property {string} [value]  the number of a scalar constant
 * @property {number[]} heads  ids, with repetitions, by place
 * @property {number[]} tails  ids
 * @property {number | null} delta  the id of the node of its delta
 * @property {number | null} before  the id of the node that its delta was before it was cut
 * @property {number | null} owner  for a delta, a contribution or a step of a rule, the id of the
 *   forward node that it belongs to
 * @property {{tail: number, place: number, value: number, rule: number, cuts: string[]}[]}
 *   contributions  what each tail sends back; `rule` is a position in page.formulas
 * @property {string[]} cuts  what surgery did to its delta
 * @property {number} [formula]  a position in page.formulas
 * @property {number} [source]  a position in page.sources
 * @property {number} drawn  the views that it has a box in, as a sum of the flags of structure.js
 * @property {number} [inside]  the id of the node whose box holds it
 * @property {number} [into]  the id of the node that is drawn in its place
 * @property {number} [weight]  the id of the parameter that stands at its line
 * @property {[string, string]} [weightLabel]
 * @property {boolean} [shared]  whether every scope that uses it draws its own copy
 * @property {number[]} tags  ids of the parameters that its box holds
 * @property {() => number} elements  for the sizes that are set in the header, like the next two
 * @property {() => number} bytes
 * @property {() => number} flops
 * @property {string} [low]  its name as search compares it
 * @property {string} [others]  what else search finds it by
 * @property {string} [written]  its formula as search compares it
 *
 * @typedef {object} Run  equal scopes side by side
 * @property {number[]} members  ids
 * @property {number} shown  the member that a folded picture draws for all
 * @property {boolean} folded
 *
 * @typedef {object} Scope  ids are positions in page.scopes
 * @property {number} id
 * @property {string} name
 * @property {string} path
 * @property {number} parent  the id of the scope around it; -1 for the whole graph
 * @property {number} depth
 * @property {number[]} scopes  ids of the scopes in it
 * @property {number[]} nodes  ids of the nodes in it
 * @property {Run | null} run  the run that it belongs to
 * @property {{forward: number, delta: number, update: number, constant: number}} counts  how many
 *   nodes of each part it holds with all inner scopes, constants apart
 * @property {number} count  that of forward nodes, where it has any: the number that stands for a
 *   scope everywhere, here and in every other format
 * @property {boolean} [hasDelta]  found when it is first asked for, like the next two
 * @property {number} [first]  the id of the first node in it
 * @property {string} [low]  its path as search compares it
 *
 * @typedef {object} Page
 * @property {string} title
 * @property {string} style  "neurons" for a network that is drawn in one plane
 * @property {string[]} views
 * @property {string} [view]  the view that the page opens with
 * @property {boolean} hasDeltas
 * @property {boolean} folds  whether runs are folded
 * @property {number} [depth]  how deep scopes are open at first
 * @property {Object<string, number>} outputs  ids of nodes by name
 * @property {Object<string, any>} sections
 * @property {GraphNode[]} nodes
 * @property {Map<string, GraphNode>} byName
 * @property {Scope[]} scopes
 * @property {number[][]} runs
 * @property {Object<string, number>} sizes  of the named axes
 * @property {Object<string, any>} dimensions  polynomials in the names of axes
 * @property {Map<string, string[]>} factors  what a delta is multiplied by, by "head tail"
 * @property {any[]} formulas  trees, see mathematics.py
 * @property {{file: string, line: number, text: string}[]} sources
 * @property {Map<number, number>} nextValue  the ids of updates by those of what they update
 * @property {{value: number, owner: number}[]} [saved]  computed when it is first needed
 * @property {Set<number>} [towardsLoss]  computed when it is first needed
 */

/** @type {Page} */
export let page = null;

export function loadPage() {
  page = readPage();
}

function readPage() {
  const data = JSON.parse(document.getElementById("page-data").textContent);
  data.sections = data.sections ?? {};
  data.byName = new Map();
  data.nodes.forEach((node, id) => completeNode(node, id, data));
  for (const node of data.nodes) {
    for (const head of new Set(node.heads)) data.nodes[head].tails.push(node.id);
    for (const name of node.names) {
      if (!data.byName.has(name)) data.byName.set(name, node);
    }
  }
  for (const name of Object.keys(data.outputs)) {
    if (!data.byName.has(name)) data.byName.set(name, data.nodes[data.outputs[name]]);
  }
  completeScopes(data);
  data.factors = new Map(data.factors.map(([head, tail, ...label]) => [`${head} ${tail}`, label]));
  data.nextValue = new Map(data.updates);
  data.views = ["forward"];
  if (data.hasDeltas) data.views = ["mirror", "forward", "backward"];
  if (data.nodes.some((node) => node.part === "update")) data.views.push("updates");
  const weights = new Set(data.nodes.map((node) => node.weight).filter((id) => id !== undefined));
  for (const node of data.nodes) {
    if (node.inside !== undefined && !weights.has(node.id)) data.nodes[node.inside].tags.push(node.id);
  }
  return data;
}

function completeNode(node, id, data) {
  node.id = id;
  node.names = node.names ?? [node.name];
  node.heads = node.heads ?? [];
  node.tails = [];
  node.tags = [];
  node.delta = node.delta ?? null;
  node.owner = node.owner ?? null;
  node.before = node.before ?? null;
  node.attributes = node.attributes ?? {};
  node.contributions = (node.contributions ?? []).map(([tail, place, value, rule, cuts]) => ({
    tail,
    place,
    value,
    rule,
    cuts: cuts ?? [],
  }));
  node.cuts = node.cuts ?? [];
  node.flops = polynomial(node.flops ?? [], data);
  const terms = node.shape.map((size) => (typeof size === "number" ? size : data.dimensions[size]));
  const width = { float64: 8, int64: 8, bool: 1 }[node.dtype] ?? 4;
  node.elements = () => terms.reduce((product, size) => product * sizeOf(size, data), 1);
  node.bytes = () => node.elements() * width;
}

export function sizeOf(size, data) {
  return typeof size === "number" ? size : polynomial(size, data)();
}

function polynomial(terms, data) {
  return () =>
    terms.reduce(
      (sum, [factor, names]) => sum + names.reduce((part, name) => part * data.sizes[name], factor),
      0,
    );
}

function completeScopes(data) {
  data.scopes.forEach((scope, id) => {
    Object.assign(scope, { id, scopes: [], nodes: [], run: null, depth: 0 });
    scope.counts = { forward: 0, delta: 0, update: 0, constant: 0 };
    if (scope.parent >= 0) {
      data.scopes[scope.parent].scopes.push(id);
      scope.depth = data.scopes[scope.parent].depth + 1;
    }
  });
  for (const node of data.nodes) {
    data.scopes[node.scope].nodes.push(node.id);
    for (let id = node.scope; id >= 0; id = data.scopes[id].parent)
      data.scopes[id].counts[node.op === "constant" ? "constant" : node.part] += 1;
  }
  for (const scope of data.scopes)
    scope.count = scope.counts.forward || scope.counts.delta + scope.counts.update || scope.counts.constant;
  for (const members of data.runs) {
    const run = { members, shown: members[0], folded: data.folds };
    for (const id of members) data.scopes[id].run = run;
  }
}

/* The title of a scope: a number only with the name before it, a folded run with its length. */
export function scopeTitle(scope) {
  const named = (item) => {
    const outer = page.scopes[item.parent];
    return /^\d+$/.test(item.name) && outer.name ? `${outer.name}.${item.name}` : item.name;
  };
  if (scope.id === 0) return page.title || "graph";
  if (scope.run?.folded) {
    const { members } = scope.run;
    const [first, last] = [page.scopes[members[0]], page.scopes[members.at(-1)]];
    return `${named(first)} … ${last.name}`;
  }
  return named(scope);
}

/* The scopes from the outermost (without the graph itself) to this one. */
export function scopeChain(id) {
  const chain = [];
  for (; id > 0; id = page.scopes[id].parent) chain.unshift(id);
  return chain;
}

export function lossNode() {
  const id = page.outputs.loss ?? Object.values(page.outputs)[0];
  return id === undefined ? null : page.nodes[id];
}

export function shapeText(node) {
  return `[${node.shape.join(", ")}]`;
}

/* The name of a node in a text of this scope: relative to the scope; a constant number by its value. */
export function shortName(node, scope = 0) {
  if (node.value !== undefined) return node.value;
  const path = page.scopes[scope].path;
  return path && node.name.startsWith(`${path}.`) ? node.name.slice(path.length + 1) : node.name;
}

export function describeNode(node) {
  const shape = node.shape.length ? `, shape ${node.shape.join(" by ")}` : "";
  const ends = [plural(new Set(node.heads).size, "head"), plural(node.tails.length, "tail")];
  return `${visible(shorten(node.name, 100))}: ${node.op}${shape}, ${ends.join(", ")}`;
}
