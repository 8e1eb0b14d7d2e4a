/* Places along the rows: every slot as near to its neighbours above and below as the order allows.

A row is placed by least squares under the distances that its widths need (neighbours that collide
move as one block), and rows are swept up and down until lines are straight. Bends pull hardest, so
a long line runs straight past the boxes. */

export const GAP = 18;
const LINE_GAP = 9;

/* {x: by slot, width} for the widths of slots; a slot's x is its middle. `portOf(item, wire, start)`
says how far from its middle a line begins or ends at an item. */
export function coordinates(graph, widthOf, gap = GAP, portOf = () => 0) {
  const { rows, slots } = graph;
  const { up, down } = linkedSlots(graph, portOf);
  const x = new Float64Array(slots.length);
  const width = slots.map((slot) => (slot.wire === undefined ? widthOf(slot.item) : 0));
  const gapBetween = (a, b) => {
    const lines = slots[a].wire !== undefined && slots[b].wire !== undefined;
    return (width[a] + width[b]) / 2 + (lines ? LINE_GAP : gap);
  };
  for (const row of rows) {
    row.forEach((id, at) => (x[id] = at ? x[row[at - 1]] + gapBetween(row[at - 1], id) : 0));
    const middle = row.length ? (x[row[0]] + x[row[row.length - 1]]) / 2 : 0;
    for (const id of row) x[id] -= middle;
  }
  const isBend = (id) => slots[id].wire !== undefined;
  const pull = (id, lists) => {
    let sum = 0;
    let weight = 0;
    for (const list of lists) {
      for (const { other, shift } of list[id]) {
        const strength = isBend(id) && isBend(other) ? 8 : isBend(id) || isBend(other) ? 2 : 1;
        sum += strength * (x[other] + shift);
        weight += strength;
      }
    }
    return weight ? [sum / weight, Math.min(weight, 40)] : [x[id], 0.01];
  };
  const rounds = slots.length > 4000 ? 4 : slots.length > 800 ? 8 : 14;
  for (let round = 0; round < rounds; round += 1) {
    const last = round >= rounds - 4;
    const downward = round % 2 === 0;
    const lists = last ? [up, down] : [downward ? up : down];
    for (const row of downward ? rows : [...rows].reverse()) placeRow(row, x, pull, lists, gapBetween);
  }
  straightenLines(graph, x, gapBetween);
  straighten(rows, up, down, x, gapBetween);
  let least = Infinity;
  let most = -Infinity;
  slots.forEach((_, id) => {
    least = Math.min(least, x[id] - width[id] / 2);
    most = Math.max(most, x[id] + width[id] / 2);
  });
  if (least === Infinity) [least, most] = [0, 0];
  for (let id = 0; id < x.length; id += 1) x[id] -= least;
  return { x, width: most - least };
}

/* For each slot what it is linked with above and below, and where that wants it: `shift` from there. */
function linkedSlots({ slots, links }, portOf) {
  const up = slots.map(() => []);
  const down = slots.map(() => []);
  for (const [one, other, wire] of links) {
    const shift =
      (slots[one].wire === undefined ? portOf(one, wire, true) : 0) -
      (slots[other].wire === undefined ? portOf(other, wire, false) : 0);
    const below = slots[one].rank < slots[other].rank;
    if (slots[one].rank === slots[other].rank) continue;
    (below ? down : up)[one].push({ other, shift: -shift });
    (below ? up : down)[other].push({ other: one, shift });
  }
  return { up, down };
}

/* Blocks of slots that touch move together to the mean of where they want to be. */
function placeRow(row, x, pull, lists, gapBetween) {
  const blocks = [];
  let offset = 0;
  row.forEach((id, at) => {
    if (at) offset += gapBetween(row[at - 1], id);
    const [wanted, weight] = pull(id, lists);
    let block = { start: at, sum: weight * (wanted - offset), weight };
    while (blocks.length && blocks.at(-1).sum / blocks.at(-1).weight >= block.sum / block.weight) {
      const before = blocks.pop();
      block = { start: before.start, sum: before.sum + block.sum, weight: before.weight + block.weight };
    }
    blocks.push(block);
  });
  offset = 0;
  let current = 0;
  row.forEach((id, at) => {
    if (at) offset += gapBetween(row[at - 1], id);
    if (current + 1 < blocks.length && blocks[current + 1].start === at) current += 1;
    x[id] = blocks[current].sum / blocks[current].weight + offset;
  });
}

/* The bends of a line go to their mean place, as far as their neighbours in each row let them. */
function straightenLines({ rows, place, chains }, x, gapBetween) {
  for (let round = 0; round < 3; round += 1) {
    for (const chain of chains) {
      const bends = [...chain.values()];
      if (bends.length < 2) continue;
      const mean = bends.reduce((sum, id) => sum + x[id], 0) / bends.length;
      for (const [row, id] of chain) {
        const [low, high] = freedom(rows[row], place[id], x, gapBetween);
        x[id] = Math.min(high, Math.max(low, mean));
      }
    }
  }
}

function freedom(row, at, x, gapBetween) {
  const low = at ? x[row[at - 1]] + gapBetween(row[at - 1], row[at]) : -Infinity;
  const high = at + 1 < row.length ? x[row[at + 1]] - gapBetween(row[at], row[at + 1]) : Infinity;
  return [low, Math.max(low, high)];
}

/* What is nearly below its only neighbour goes exactly below it, where there is room. */
function straighten(rows, up, down, x, gapBetween) {
  const settle = (row, at, target) => {
    const [low, high] = freedom(row, at, x, gapBetween);
    if (target >= low && target <= high) x[row[at]] = target;
  };
  for (const [sequence, towards] of [
    [rows, up],
    [[...rows].reverse(), down],
    [rows, up],
  ]) {
    for (const row of sequence) {
      row.forEach((id, at) => {
        if (towards[id].length !== 1) return;
        const [{ other, shift }] = towards[id];
        const target = x[other] + shift;
        if (Math.abs(target - x[id]) < 14) settle(row, at, target);
      });
    }
  }
}
