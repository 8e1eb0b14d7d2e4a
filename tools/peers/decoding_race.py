"""Translates 1,000 sentences of Multi30k-like lengths by graphgrad and by PyTorch, both with kept
keys and values and the same weights, and prints times and whether the tokens are the same.

    python -m graphgrad.tools.peers.decoding_race [--sentences 1000] [--beam 5] [--repeats 3]

The model has the sizes of `multi30k-tiny`. Its weights are drawn, so its sentences would not end by
themselves: the end is made improbable, and each sentence is stopped at a limit near the length of
its source, as translations are.
"""

from __future__ import annotations

import argparse
import time
from functools import partial
from typing import Any

import numpy as np
import torch

from graphgrad.decoding import Decodable, Decoder, Options, Sentence
from graphgrad.graph import initial_state
from graphgrad.models.transformer import Settings, decoding_step, encoding_graph, training_graph
from graphgrad.performance.bench_worker import Workload
from graphgrad.tools.peers.torch_decoding import Greedy

BEGIN, END, VOCABULARY = 1, 2, 9712
SETTINGS = Settings(layers=4, width=128, heads=4, inner=256)


def sentences_of(count: int) -> list[Sentence]:
    """Lengths as in Multi30k with byte pairs: 14 tokens in the middle, 6 to 40 at the ends."""
    generator = np.random.default_rng(1)
    lengths = np.clip(np.exp(generator.normal(np.log(14), 0.33, count)), 5, 40).astype(int)
    limits = np.clip(lengths * generator.normal(1.0, 0.15, count), 4, 48).astype(int)
    return [
        Sentence([BEGIN], int(limit), [*generator.integers(4, VOCABULARY, length).tolist(), END], n)
        for n, (length, limit) in enumerate(zip(lengths, limits, strict=True))
    ]


def peer_of(state: Any, rows: int) -> Any:
    """PyTorch over batches of sentences sorted by length."""
    sizes = Workload(
        layers=SETTINGS.layers,
        width=SETTINGS.width,
        heads=SETTINGS.heads,
        inner=SETTINGS.inner,
        vocabulary=VOCABULARY,
        source=64,
        target=64,
        label_smoothing=0.0,
    )
    greedy = Greedy(sizes, state, 64)

    def run(sentences: list[Sentence]) -> list[list[int]]:
        order = sorted(range(len(sentences)), key=lambda place: len(sentences[place].source))
        found: list[list[int]] = [[] for _ in sentences]
        for start in range(0, len(order), rows):
            places = order[start : start + rows]
            sources = [sentences[place].source for place in places]
            limits = [sentences[place].limit for place in places]
            for place, tokens in zip(places, greedy(sources, limits, BEGIN, END), strict=True):
                found[place] = tokens
        return found

    return run


def main() -> None:
    """Prints a line for each way."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sentences", type=int, default=1000)
    parser.add_argument("--beam", type=int, default=5)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    graph = training_graph(SETTINGS, VOCABULARY, VOCABULARY, training=False)
    state = initial_state(graph, 0)
    state["decoder.output.dense.b"][[0, 1, END]] = -1e9
    decodable = Decodable(
        partial(decoding_step, settings=SETTINGS, target_vocabulary=VOCABULARY),
        encoding_graph(SETTINGS, VOCABULARY, VOCABULARY),
        END,
        (0, 1),
    )
    sentences = sentences_of(arguments.sentences)
    print(f"{sum(each.limit for each in sentences)} tokens for {len(sentences)} sentences")
    decoder = Decoder(decodable)
    ways = {
        "graphgrad greedy": partial(decoder, state, sentences),
        "torch greedy, batches of 256": partial(peer_of(state, 256), sentences),
        "torch greedy, batches of 64": partial(peer_of(state, 64), sentences),
        f"graphgrad beam {arguments.beam}": partial(
            decoder, state, sentences, Options(beam=arguments.beam)
        ),
    }
    times: dict[str, list[float]] = {name: [] for name in ways}
    busy: dict[str, list[float]] = {name: [] for name in ways}
    found: dict[str, Any] = {}
    for _ in range(arguments.repeats + 1):
        for name, way in ways.items():
            start, used = time.perf_counter(), time.process_time()
            found[name] = way()
            times[name].append(time.perf_counter() - start)
            busy[name].append(time.process_time() - used)
    for name, (first, *others) in times.items():
        print(
            f"{name:<30} first {first:6.2f} s   then {min(others):6.2f} s   "
            f"of processors {min(busy[name][1:]):6.2f} s"
        )
    ours = [list(each[0].tokens) for each in found["graphgrad greedy"]]
    same = sum(a == b for a, b in zip(ours, found["torch greedy, batches of 256"], strict=True))
    print(f"{same} of {len(ours)} sentences are the same, token for token")


if __name__ == "__main__":
    main()
