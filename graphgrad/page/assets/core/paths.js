/* Ways from a node to the loss: the shortest, and all of them. */

import { plural, shorten, visible } from "./elements.js";
import { announceEvent } from "./events.js";
import { notify, say } from "./messages.js";
import { lossNode, page } from "./model.js";
import { state } from "./state.js";

/* Only nodes that the loss depends on can be on a way: those with a delta, or ancestors of it. */
function lossAncestors() {
  if (!page.towardsLoss) {
    const loss = lossNode();
    const seen = new Set(loss ? [loss.id] : []);
    const stack = [...seen];
    while (stack.length) {
      for (const head of page.nodes[stack.pop()].heads) {
        if (!seen.has(head)) {
          seen.add(head);
          stack.push(head);
        }
      }
    }
    page.towardsLoss = seen;
  }
  return page.towardsLoss;
}

/* The ids of the nodes on a shortest way from the node to the loss, or null. */
function shortestWay(id) {
  const loss = lossNode();
  const before = new Map([[id, null]]);
  const queue = [id];
  for (let at = 0; at < queue.length; at += 1) {
    const here = queue[at];
    if (loss && here === loss.id) {
      const way = [];
      for (let step = here; step !== null; step = before.get(step)) way.unshift(step);
      return way;
    }
    for (const tail of page.nodes[here].tails) {
      if (!before.has(tail) && page.nodes[tail].part === "forward") {
        before.set(tail, here);
        queue.push(tail);
      }
    }
  }
  return null;
}

/* All nodes on any way from the node to the loss, and how many ways there are. */
function allWays(id) {
  const loss = lossNode();
  const towards = lossAncestors();
  const nodes = new Set();
  if (!loss || !towards.has(id)) return { nodes, count: 0n };
  const stack = [id];
  nodes.add(id);
  while (stack.length) {
    for (const tail of page.nodes[stack.pop()].tails) {
      if (towards.has(tail) && page.nodes[tail].part === "forward" && !nodes.has(tail)) {
        nodes.add(tail);
        stack.push(tail);
      }
    }
  }
  const count = new Map([[loss.id, 1n]]);
  for (const here of [...nodes].sort((a, b) => b - a)) {
    if (here === loss.id) continue;
    const uses = page.nodes[here].tails.filter((tail) => nodes.has(tail));
    count.set(
      here,
      uses.reduce((sum, tail) => {
        const times = page.nodes[tail].heads.filter((head) => head === here).length;
        return sum + BigInt(times) * (count.get(tail) ?? 0n);
      }, 0n),
    );
  }
  return { nodes, count: count.get(id) ?? 0n };
}

export function showWay(kind) {
  const node = pathStart();
  if (!node) return notify("Select a node first: then its way to the loss can be shown.");
  if (kind === "shortest") {
    const way = shortestWay(node.id);
    if (!way) return notify(`${visible(shorten(node.name, 60))} does not lead to the loss.`);
    state.path = { kind, start: node.id, nodes: new Set(way), order: way };
    say(`shortest way to the loss: ${plural(way.length - 1, "step")}`);
  } else {
    const { nodes, count } = allWays(node.id);
    if (!nodes.size) return notify(`${visible(shorten(node.name, 60))} does not lead to the loss.`);
    state.path = { kind, start: node.id, nodes, count };
    say(`${countWords(count)} ways through ${plural(nodes.size, "node")}`);
  }
  announceEvent("path", state.path);
  return undefined;
}

function pathStart() {
  const node = state.selected?.node;
  if (!node) return null;
  return node.part !== "forward" && node.owner !== null ? page.nodes[node.owner] : node;
}

export function countWords(count) {
  return count < 10n ** 15n
    ? Number(count).toLocaleString("en-US")
    : `about ${Number(count).toExponential(2).replace("e+", " · 10^")}`;
}

export function hideWay() {
  state.path = null;
  announceEvent("path", state.path);
}
