/* Neurons with heads(u) and tails(u) as the lecture counts them; explain/neurons.py says what a neuron is. */

import { element } from "./elements.js";
import { page } from "./model.js";

let known = null;

/* The output z of each neuron by the name of its scope; an input by its name. */
function outputsOf() {
  if (known) return known;
  known = new Map();
  const byName = new Map(page.nodes.map((node) => [node.name, node]));
  for (const node of page.nodes) {
    if (node.kind === "input" && node.part === "forward") known.set(node.name, node);
    const scope = node.name.endsWith(".z") ? node.name.slice(0, -2) : "";
    const a = byName.get(`${scope}.a`);
    if (scope && a && node.heads.includes(a.id)) known.set(scope, node);
  }
  return known;
}

function neuronOf(name) {
  const outputs = outputsOf();
  let scope = name;
  while (scope && !outputs.has(scope)) scope = scope.slice(0, Math.max(0, scope.lastIndexOf(".")));
  return scope;
}

/* Whether a node is part of the neuron's a: the loss of a neuron uses the truth, a does not. */
function feeds(node, scope) {
  const pending = outputsOf().get(scope).heads.filter((id) => page.nodes[id].name === `${scope}.a`);
  while (pending.length) {
    const found = page.nodes[pending.pop()];
    if (found === node) return true;
    pending.push(...found.heads.filter((id) => neuronOf(page.nodes[id].name) === scope));
  }
  return false;
}

function lastOf(scope) {
  return scope.slice(scope.lastIndexOf(".") + 1);
}

/* heads(h2) = {x1, x2, x3} and tails(h2) = {y1, y2, y3} of the neuron that a node or scope is of. */
export function neuronFacts(name) {
  const own = neuronOf(name);
  if (!own) return [];
  const [heads, tails] = [new Set(), new Set()];
  for (const [scope, z] of outputsOf()) {
    for (const id of z.tails) {
      const tail = page.nodes[id];
      const user = tail.part === "forward" ? neuronOf(tail.name) : "";
      if (!user || user === scope || !feeds(tail, user)) continue;
      if (user === own) heads.add(lastOf(scope));
      if (scope === own) tails.add(lastOf(user));
    }
  }
  const set = (names) => (names.size ? `{${[...names].join(", ")}}` : "∅");
  if (!heads.size && !tails.size) return [];
  const text = (names) => element("bdi", {}, set(names));
  return [[`heads(${lastOf(own)})`, text(heads)], [`tails(${lastOf(own)})`, text(tails)]];
}
