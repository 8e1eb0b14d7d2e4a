"""Compares every way of compiling on random graphs: `python tests/compare_ways.py --graphs 2000`.

Each graph has views and reductions everywhere, deltas and updates. It is evaluated node by node, by
the plain program, with kernels of all sizes, and without single choices of the compiler, in turn.
The cases vary in precision, in size (small, or large enough for kernels of the default size) and in
their inputs: ordinary numbers, or some that are infinite, NaN, tiny, huge, or negative zero.
"""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
from random_graphs import Case, assert_same_values, grow_case

import graphgrad as gg
from graphgrad.options import CHOICES

HARD = (np.inf, -np.inf, np.nan, -0.0, 1e-38, -1e30)
STABILISING = ("stabilise",)
"""Passes that may make a value finite for which the declared formula overflows."""


def case_of(seed: int) -> tuple[Case, bool]:
    """The case of a seed, and whether its inputs have extreme values."""
    large, extreme = seed % 5 == 4, seed % 7 == 3
    dtype = "float32" if seed % 3 == 2 and not extreme else "float64"
    case = grow_case(seed, 6 + seed % (9 if large else 20), dtype, large)
    return (with_hard_values(case, seed), True) if extreme else (case, False)


def with_hard_values(case: Case, seed: int) -> Case:
    """The graph without deltas, with some extreme values in its inputs."""
    generator = np.random.default_rng(seed)
    feeds = {name: array.copy() for name, array in case.feeds.items()}
    for array in feeds.values():
        places = generator.random(array.shape) < 0.05
        array[places] = generator.choice(HARD, int(places.sum()))
    outputs = {name: node for name, node in case.graph.outputs.items() if name.startswith("out")}
    graph = gg.Graph(outputs)
    needed = {name: feeds[name] for name in graph.inputs}
    return replace(case, graph=graph, feeds=needed)


def ways_of(seed: int, extreme: bool, large: bool) -> Iterator[Mapping[str, Any]]:
    """Plain, fused, and fused without each of two choices."""
    always = STABILISING if extreme else ()
    fused: dict[str, Any] = {"fuse": True, "smallest_kernel": None if large else 1}
    yield {"without": always}
    yield {**fused, "without": always}
    for number in (2 * seed, 2 * seed + 1):
        yield {**fused, "without": (*always, CHOICES[number % len(CHOICES)])}


def compare(seed: int) -> list[str]:
    """The differences of each way of compiling; empty if all agree."""
    case, extreme = case_of(seed)
    with np.errstate(all="ignore"):
        expected = case.values()
    found = []
    for way in ways_of(seed, extreme, seed % 5 == 4):
        compiled = gg.compile(case.graph, **way)
        try:
            assert_same_values(case.ran(compiled), expected, f"seed {seed} {dict(way)}")
        except AssertionError as error:
            found.append(str(error))
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--graphs", type=int, default=2000)
    parser.add_argument("--first", type=int, default=0, help="the first seed")
    options = parser.parse_args()
    counts = Counter(agree=0, differ=0)
    for seed in range(options.first, options.first + options.graphs):
        found = compare(seed)
        counts["differ" if found else "agree"] += 1
        for text in found:
            print(text, flush=True)
        if (seed + 1) % 100 == 0:
            print(f"{dict(counts)}", flush=True)
    print(f"{counts['agree']} graphs agree in every way, {counts['differ']} do not")
    raise SystemExit(bool(counts["differ"]))


if __name__ == "__main__":
    main()
