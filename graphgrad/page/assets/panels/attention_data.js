/* Reads the section "attention": numbers and masks by head, tokens by example. */

import { visible } from "../core/elements.js";
import { bitsOf, floatsOf } from "../core/packed.js";

export const SHOWN_TOKEN = 14; // characters of a token beside a picture; its title has all

/* Caches decoded arrays. */
const decoded = new Map();

function arraysOf(map, number) {
  const key = `${map.weights} ${number}`;
  if (!decoded.has(key)) {
    const example = map.examples[number];
    const mask = example.mask === null ? null : bitsOf(example.mask);
    decoded.set(key, {
      weights: floatsOf(example.weights),
      deltas: example.deltas === null ? null : floatsOf(example.deltas),
      allowed: mask ?? (() => true),
    });
  }
  return decoded.get(key);
}

/* One head of one example: numbers and masks by query and key. */
export function headOf(map, number, head) {
  const { queries, keys } = map.examples[number];
  const { weights, deltas, allowed } = arraysOf(map, number);
  const start = head * queries * keys;
  const place = (query, key) => start + query * keys + key;
  return { queries, keys, place, allowed: (query, key) => allowed(place(query, key)),
    weights: weights.subarray(start, start + queries * keys),
    deltas: deltas?.subarray(start, start + queries * keys) ?? null };
}

export function largest(numbers) {
  let found = 0;
  for (const number of numbers) if (Math.abs(number) > found) found = Math.abs(number);
  return found;
}

export function tokensOf(section, number, input, count) {
  const known = input === null ? null : section.examples[number]?.[input];
  return Array.from({ length: count }, (_, place) => (known?.[place] ?? String(place)));
}

export function tokenText(token) {
  return token === " " ? "␣" : visible(token);
}

/* What an example is called: a sentence that was typed, or its number in the batch. */
export function exampleName(section, number) {
  const typed = section.texts ?? [];
  if (number < typed.length) return `“${visible(typed[number])}”`;
  return String(section.example ?? number - typed.length);
}
