/* Ways from a node to the loss: the shortest, all of them, and the picture of a neighbourhood. */

const MOST_IN_FOCUS = 120;
const HUB = 10;

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

function showWay(kind) {
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
  markSelection();
  showDetails();
  return undefined;
}

function pathStart() {
  const node = state.selected?.node;
  if (!node) return null;
  return node.part !== "forward" && node.owner !== null ? page.nodes[node.owner] : node;
}

function countWords(count) {
  return count < 10n ** 15n
    ? Number(count).toLocaleString("en-US")
    : `about ${Number(count).toExponential(2).replace("e+", " · 10^")}`;
}

function hideWay() {
  state.path = null;
  markSelection();
  showDetails();
}

/* The nodes within a radius of a node over heads and tails, the nearest first; numbers are left out,
and what many nodes use (a mask, a constant) is shown but not gone through. */
function neighbourhood(id, radius, deltas) {
  const wanted = (node) => node.value === undefined && (deltas || node.part === page.nodes[id].part);
  const distance = new Map([[id, 0]]);
  const queue = [id];
  for (let at = 0; at < queue.length && queue.length < MOST_IN_FOCUS; at += 1) {
    const here = page.nodes[queue[at]];
    if (distance.get(here.id) === radius) continue;
    const through = here.id === id || here.tails.length <= HUB;
    for (const next of [...here.heads, ...(through ? here.tails : [])]) {
      if (wanted(page.nodes[next]) && !distance.has(next) && queue.length < MOST_IN_FOCUS) {
        distance.set(next, distance.get(here.id) + 1);
        queue.push(next);
      }
    }
  }
  return queue;
}

function enterFocus(
  id,
  radius = state.focus?.radius ?? 2,
  deltas = state.focus?.deltas ?? page.nodes[id].part !== "forward",
) {
  const ids = neighbourhood(id, radius, deltas);
  const inside = new Set(ids);
  const content = { id: 0, items: new Map(), wires: [], entries: new Map(), exits: new Map() };
  for (const node of [...inside].sort((a, b) => a - b))
    content.items.set(`n${node}`, { key: `n${node}`, node, flat: true });
  for (const tail of inside) {
    for (const head of new Set(page.nodes[tail].heads)) {
      if (inside.has(head))
        content.wires.push({ value: head, from: `n${head}`, to: `n${tail}`, target: tail, up: false });
    }
  }
  joinWires(content);
  const structure = {
    view: "focus",
    scopes: new Map([[0, content]]),
    boxOf: (other) => (inside.has(other) ? other : null),
  };
  state.focus = { node: id, radius, deltas, structure, full: ids.length >= MOST_IN_FOCUS };
  state.selected = { node: page.nodes[id] };
  state.path = null;
  showView();
  showFocusBar();
  afterSelection(
    `neighbourhood of ${visible(shorten(page.nodes[id].name, 80))}: ${plural(ids.length, "node")}`,
    true,
  );
}

function leaveFocus(redraw = true) {
  if (!state.focus) return;
  const { node } = state.focus;
  state.focus = null;
  showFocusBar();
  showView(true);
  if (!redraw) return;
  reveal(node);
  fitView();
  moveTo(visibleKey(node));
  afterSelection(describeNode(page.nodes[node]), true);
}

function showFocusBar() {
  const bar = document.getElementById("focus-bar");
  replaceChildren(bar);
  bar.hidden = !state.focus;
  document.getElementById("graph-bar").hidden = Boolean(state.focus);
  if (!state.focus) return;
  const { node, radius, full, deltas } = state.focus;
  append(bar, [
    element("span", {}, "neighbourhood of ", element("strong", {}, bidi(page.nodes[node].name, 44))),
    element(
      "button",
      {
        type: "button",
        "aria-label": "smaller radius",
        disabled: radius <= 1,
        click: () => enterFocus(node, radius - 1),
      },
      "−",
    ),
    element("output", { "aria-label": "radius" }, `radius ${radius}`),
    element(
      "button",
      {
        type: "button",
        "aria-label": "larger radius",
        disabled: full,
        click: () => enterFocus(node, radius + 1),
      },
      "+",
    ),
    page.hasDeltas
      ? element(
          "button",
          { type: "button", "aria-pressed": String(deltas), click: () => enterFocus(node, radius, !deltas) },
          "deltas",
        )
      : null,
    full ? element("span", { class: "muted" }, `the nearest ${MOST_IN_FOCUS} nodes`) : null,
    element("button", { type: "button", class: "primary", click: () => leaveFocus() }, "back to the graph"),
  ]);
}
