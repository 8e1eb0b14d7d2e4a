/* The page's data as it is used: defaults filled in, tails, scopes with their children and runs.

A scope is {id, name, path, parent, scopes, nodes, run, counts, count}: `counts` says how many nodes
of each part it holds with all inner scopes, constants apart, `count` is that of forward nodes, where it has any: the
number that stands for a scope everywhere, here and in every other format. `run` is the run of equal siblings
that it belongs to, {members, shown, folded}, of which a folded picture draws the shown one for all.
*/

let page = null;

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

function sizeOf(size, data) {
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
function scopeTitle(scope) {
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
function scopeChain(id) {
  const chain = [];
  for (; id > 0; id = page.scopes[id].parent) chain.unshift(id);
  return chain;
}

function lossNode() {
  const id = page.outputs.loss ?? Object.values(page.outputs)[0];
  return id === undefined ? null : page.nodes[id];
}

function shapeText(node) {
  return `[${node.shape.join(", ")}]`;
}

/* How a text in this scope calls a node: without the scope, a constant number by its value. */
function shortName(node, scope = 0) {
  if (node.value !== undefined) return node.value;
  const path = page.scopes[scope].path;
  return path && node.name.startsWith(`${path}.`) ? node.name.slice(path.length + 1) : node.name;
}

function describeNode(node) {
  const shape = node.shape.length ? `, shape ${node.shape.join(" by ")}` : "";
  const ends = [plural(new Set(node.heads).size, "head"), plural(node.tails.length, "tail")];
  return `${visible(shorten(node.name, 100))}: ${node.op}${shape}, ${ends.join(", ")}`;
}
