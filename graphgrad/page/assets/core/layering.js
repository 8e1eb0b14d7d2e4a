/* Ranks and orders: which row each item stands in, and where in the row, so that few lines cross.

`items` are numbers 0 … n-1; `wires` are {from, to: [items], up}: one value that goes to several
items, upward where `up` is set (deltas flow against the order of the values).
A wire that passes rows is led through them by a chain of bends, one chain for all its ends.

Laws: every end of a wire stands below its beginning (above it, for one that leads up), but for
wires that would close a cycle; the result depends on nothing but the arguments.
*/

const MOST_BENDS = 12000;

/* {rank: by item, rows: [[slots]], slots: [{item | wire, rank}], chains: by wire, [slot of each row]} */
export function layer(count, wires, fixed = {}) {
  const forward = cutCycles(count, wires);
  const rank = rankItems(count, forward, fixed);
  const graph = withBends(count, wires, rank);
  orderRows(graph);
  return graph;
}

/* The pairs from → to without those that lead back in a walk from the first item on. */
function cutCycles(count, wires) {
  const next = Array.from({ length: count }, () => []);
  for (const wire of wires) {
    for (const to of wire.to) {
      if (to === wire.from) continue;
      if (wire.up) next[to].push(wire.from);
      else next[wire.from].push(to);
    }
  }
  const state = new Uint8Array(count);
  const pairs = [];
  for (let root = 0; root < count; root += 1) {
    if (state[root]) continue;
    const stack = [[root, 0]];
    state[root] = 1;
    while (stack.length) {
      const top = stack[stack.length - 1];
      const [item, place] = top;
      if (place === next[item].length) {
        state[item] = 2;
        stack.pop();
        continue;
      }
      top[1] += 1;
      const to = next[item][place];
      if (state[to] === 1) pairs.push([to, item]);
      else {
        pairs.push([item, to]);
        if (!state[to]) {
          state[to] = 1;
          stack.push([to, 0]);
        }
      }
    }
  }
  return pairs;
}

/* Longest paths, then each item as near to what it is connected with as its neighbours allow.

`fixed.first` and `fixed.last` are items that stand in the first and the last row of all. */
function rankItems(count, pairs, { first = [], last = [] }) {
  const below = Array.from({ length: count }, () => []);
  const above = Array.from({ length: count }, () => []);
  for (const [from, to] of pairs) {
    below[from].push(to);
    above[to].push(from);
  }
  const order = topological(count, below, above);
  const rank = new Int32Array(count);
  for (const item of order) for (const to of below[item]) rank[to] = Math.max(rank[to], rank[item] + 1);
  const held = new Set([...first, ...last]);
  for (let round = 0; round < 4; round += 1) {
    const sequence = round % 2 ? order : [...order].reverse();
    for (const item of sequence) {
      if (held.has(item)) continue;
      const up = above[item].filter((other) => !held.has(other));
      const down = below[item].filter((other) => !held.has(other));
      if (!down.length && !up.length) continue;
      const low = up.length ? Math.max(...up.map((other) => rank[other])) + 1 : 0;
      const high = down.length ? Math.min(...down.map((other) => rank[other])) - 1 : Infinity;
      if (down.length > up.length && high !== Infinity) rank[item] = Math.max(low, high);
      else if (up.length) rank[item] = Math.min(Math.max(low, 0), high);
    }
  }
  let least = Infinity;
  let most = -Infinity;
  for (let item = 0; item < count; item += 1) {
    if (held.has(item)) continue;
    least = Math.min(least, rank[item]);
    most = Math.max(most, rank[item]);
  }
  if (least === Infinity) [least, most] = [0, 0];
  for (const item of first) rank[item] = least - 1;
  for (const item of last) rank[item] = most + 1;
  const shift = first.length ? least - 1 : least;
  for (let item = 0; item < count; item += 1) rank[item] -= shift;
  return rank;
}

function topological(count, below, above) {
  const missing = above.map((list) => list.length);
  const ready = [];
  for (let item = 0; item < count; item += 1) if (!missing[item]) ready.push(item);
  for (let place = 0; place < ready.length; place += 1) {
    for (const to of below[ready[place]]) {
      missing[to] -= 1;
      if (!missing[to]) ready.push(to);
    }
  }
  return ready;
}

/* Rows of slots; a slot is an item or a bend of a wire on its way. */
function withBends(count, wires, rank) {
  const slots = [];
  const links = [];
  for (let item = 0; item < count; item += 1) slots.push({ item, rank: rank[item] });
  const spans = wires.map((wire) => {
    const ranks = wire.to.map((to) => rank[to]);
    return [Math.min(rank[wire.from], ...ranks), Math.max(rank[wire.from], ...ranks)];
  });
  const bends = spans.reduce((sum, [low, high]) => sum + Math.max(0, high - low - 1), 0);
  const longest = bends > MOST_BENDS ? MOST_BENDS / Math.max(1, wires.length) + 1 : Infinity;
  const chains = wires.map((wire, number) => {
    const [low, high] = spans[number];
    const start = rank[wire.from];
    const chain = new Map();
    if (high - low > longest) return chain;
    for (const toward of [1, -1]) {
      const ends = wire.to.filter((to) => to !== wire.from && (Math.sign(rank[to] - start) || 1) === toward);
      const far = Math.max(0, ...ends.map((to) => (rank[to] - start) * toward));
      for (let step = 1; step < far; step += 1) {
        const row = start + step * toward;
        chain.set(row, slots.length);
        slots.push({ wire: number, rank: row });
        links.push([chain.get(row - toward) ?? wire.from, chain.get(row), number]);
      }
      for (const to of ends) links.push([chain.get(rank[to] - toward) ?? wire.from, to, number]);
    }
    return chain;
  });
  const rows = [];
  slots.forEach((slot, id) => {
    while (rows.length <= slot.rank) rows.push([]);
    rows[slot.rank].push(id);
  });
  return { rank, slots, rows, chains, links, ...neighbours(slots, links) };
}

function neighbours(slots, links) {
  const up = slots.map(() => []);
  const down = slots.map(() => []);
  for (const [one, other] of links) {
    const [upper, lower] = slots[one].rank <= slots[other].rank ? [one, other] : [other, one];
    if (slots[upper].rank === slots[lower].rank) continue;
    down[upper].push(lower);
    up[lower].push(upper);
  }
  return { up, down };
}

/* Sweeps by the mean place of neighbours; the best order found stays. */
function orderRows(graph) {
  const { rows, slots, up, down } = graph;
  const place = new Int32Array(slots.length);
  const number = () => rows.forEach((row) => row.forEach((id, at) => (place[id] = at)));
  number();
  const size = slots.length;
  const sweeps = size > 8000 ? 2 : size > 2000 ? 4 : size > 400 ? 8 : 16;
  let best = rows.map((row) => row.slice());
  let fewest = crossings(rows, down, place);
  for (let sweep = 0; sweep < sweeps && fewest > 0; sweep += 1) {
    const downward = sweep % 2 === 0;
    const sequence = downward ? rows : [...rows].reverse();
    for (const row of sequence) sortRow(row, downward ? up : down, place, sweep % 4 > 1);
    if (size < 3000) swapNeighbours(rows, up, down, place);
    const crossed = crossings(rows, down, place);
    if (crossed < fewest) {
      fewest = crossed;
      best = rows.map((row) => row.slice());
    }
  }
  best.forEach((row, at) => (rows[at] = row));
  number();
  graph.place = place;
}

function sortRow(row, towards, place, reverseTies) {
  const weight = new Map();
  for (const id of row) {
    const near = towards[id];
    const middle = near.length ? near.reduce((sum, other) => sum + place[other], 0) / near.length : null;
    weight.set(id, middle);
  }
  const movable = row.filter((id) => weight.get(id) !== null);
  const ties = reverseTies ? -1 : 1;
  movable.sort((a, b) => weight.get(a) - weight.get(b) || ties * (place[a] - place[b]));
  let next = 0;
  row.forEach((id, at) => {
    if (weight.get(id) !== null) {
      row[at] = movable[next];
      next += 1;
    }
  });
  row.forEach((id, at) => (place[id] = at));
}

/* Swaps neighbours in a row where that takes crossings away. */
function swapNeighbours(rows, up, down, place) {
  for (const row of rows) {
    for (let at = 0; at + 1 < row.length; at += 1) {
      const [left, right] = [row[at], row[at + 1]];
      const now = pairCrossings(left, right, up, place) + pairCrossings(left, right, down, place);
      const then = pairCrossings(right, left, up, place) + pairCrossings(right, left, down, place);
      if (then < now) {
        [row[at], row[at + 1]] = [right, left];
        place[left] = at + 1;
        place[right] = at;
      }
    }
  }
}

function pairCrossings(left, right, towards, place) {
  let count = 0;
  for (const one of towards[left])
    for (const other of towards[right]) if (place[one] > place[other]) count += 1;
  return count;
}

/* All crossings between neighbouring rows, by a tree of sums. */
function crossings(rows, down, place) {
  let total = 0;
  for (let at = 0; at + 1 < rows.length; at += 1) {
    const width = rows[at + 1].length;
    const tree = new Int32Array(width + 1);
    let seen = 0;
    for (const id of rows[at]) {
      const ends = down[id].map((other) => place[other]).sort((a, b) => a - b);
      for (const end of ends) {
        let before = 0;
        for (let k = end + 1; k > 0; k -= k & -k) before += tree[k];
        total += seen - before;
      }
      for (const end of ends) {
        for (let k = end + 1; k <= width; k += k & -k) tree[k] += 1;
        seen += 1;
      }
    }
  }
  return total;
}
