"""What acceptance.py checks of a model in use: a curve, decoding, accumulated gradients."""

from __future__ import annotations

import importlib.util
import tempfile
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from acceptance import Row
from acceptance_checks import compiled_for, distance

import graphgrad as gg
from graphgrad.decoding import Decodable, Decoder, Sentence
from graphgrad.models import transformer
from graphgrad.training.optimisers import training_step

STEPS = 60
SENTENCES = 64
END, FORBIDDEN = 2, (0, 1)
ACCUMULATED = 3
"""Batches of a step."""


def dates(device: Any, small: bool = False) -> Iterator[Row]:
    """The loss of the Transformer on `dates`, beside the processor's; without babel, which writes
    the dates, on lines of digits and their reverse."""
    with tempfile.TemporaryDirectory() as folder:
        values: dict[str, Any] = {}
        what = "dates"
        if importlib.util.find_spec("babel") is None:
            values, what = reversed_digits(Path(folder)), "reversed digits (no babel)"
        steps = 2 if small else STEPS
        if small:
            values |= {"layers": 1, "width": 8, "heads": 2, "inner": 8, "batch_size": 2}
        settings = transformer.Settings(steps=steps, **values)
        task = transformer.task(settings, {})
    graph = training_step(task.graph, settings)
    on_cpu, on_device = gg.compile(graph, fuse=True), compiled_for(device, graph)
    state = gg.initial_state(graph, 1)
    placed, far, loss = on_device.on_device(state), 0.0, 0.0
    for step in range(steps):
        feeds = task.feeds(step)
        loss = float(on_cpu(state, feeds)["loss"])
        far = max(far, abs(float(on_device(placed, feeds)["loss"]) - loss) / loss)
    yield Row("dates", f"{what}, {steps} steps, last loss", f"{loss:.4f}")
    yield Row("dates", "largest distance of a loss", f"{far:.2e}", far < 1e-2)


def reversed_digits(folder: Path, lines: int = 2000) -> dict[str, Any]:
    """A corpus of lines of digits and their reverse, as files: the settings that read it."""
    generator = np.random.default_rng(0)
    texts = ["".join(map(str, generator.integers(0, 10, 4 + n % 9))) for n in range(lines)]
    source, target = folder / "source.txt", folder / "target.txt"
    source.write_text("".join(f"{text}\n" for text in texts))
    target.write_text("".join(f"{text[::-1]}\n" for text in texts))
    return {"source": str(source), "target": str(target)}


def decoding(device: Any, small: bool = False) -> Iterator[Row]:
    """Greedy translation of 64 sentences: token for token that of the processor, and its time.

    In float64, as two tokens of a model that has learned nothing may be equally probable in
    float32; the time is that of a larger model in float32.
    """
    sizes: dict[str, Any] = {"layers": 1, "width": 16, "heads": 2, "inner": 16}
    if not small:
        sizes = {"layers": 2, "width": 64, "heads": 4, "inner": 256}
    vocabulary, limit = (30, 6) if small else (1000, 24)
    model, state = translator(vocabulary, dtype="float64", **sizes)
    sentences = sentences_of(vocabulary, limit, 5 if small else SENTENCES)
    found, wanted = (
        [hypotheses[0].tokens for hypotheses in Decoder(model, backend=backend)(state, sentences)]
        for backend in ("cupy", "numpy")
    )
    odd = sum(one != other for one, other in zip(found, wanted, strict=True))
    tokens = sum(map(len, wanted))
    yield Row("decoding", f"{tokens} tokens, sentences that differ", str(odd), not odd)
    if not small:
        vocabulary, sizes = 8000, {"layers": 3, "width": 256, "heads": 8, "inner": 1024}
        model, state = translator(vocabulary, dtype="float32", **sizes)
        sentences = sentences_of(vocabulary, 32, SENTENCES)
    for backend in ("cupy", "numpy"):
        seconds, count = _decoded(Decoder(model, backend=backend), state, sentences)
        value = f"{1000 * seconds:.1f} ms, {count / seconds:,.0f} tokens a second"
        yield Row("decoding", f"{len(sentences)} sentences, {backend}", value)


def _decoded(decoder: Decoder, state: Any, sentences: list[Sentence]) -> tuple[float, int]:
    """The better time of two, and the number of tokens; programs are compiled before, and the
    parameters are where they are read."""
    there = decoder.programs.placed(state)
    seconds, found = [], decoder(there, sentences)
    for _ in range(2):
        started = time.perf_counter()
        found = decoder(there, sentences)
        seconds.append(time.perf_counter() - started)
    return min(seconds), sum(len(hypotheses[0].tokens) for hypotheses in found)


def translator(vocabulary: int, **values: Any) -> tuple[Decodable, dict[str, np.ndarray]]:
    """A Transformer that translates, and parameters that favour no token."""
    settings = transformer.Settings(**values)
    decodable = Decodable(
        partial(transformer.decoding_step, settings=settings, target_vocabulary=vocabulary),
        transformer.encoding_graph(settings, vocabulary, vocabulary),
        END,
        FORBIDDEN,
    )
    graph = transformer.training_graph(settings, vocabulary, vocabulary)
    state = gg.initial_state(graph, 1)
    generator = np.random.default_rng(1)
    for array in state.values():
        array += generator.normal(scale=0.3, size=array.shape).astype(array.dtype)
    return decodable, state


def sentences_of(vocabulary: int, limit: int, count: int) -> list[Sentence]:
    """Sources of many lengths."""
    generator = np.random.default_rng(2)
    lengths = generator.integers(3, 21, count)
    return [
        Sentence([1], limit, generator.integers(3, vocabulary, length).tolist(), number)
        for number, length in enumerate(lengths)
    ]


def accumulation(device: Any, small: bool = False) -> Iterator[Row]:
    """Steps whose gradients are those of several batches, beside the processor's."""
    steps = 1 if small else 2
    for dtype, limit in (("float64", 1e-9), ("float32", 1e-4))[:steps]:
        settings = transformer.Settings(
            **{"layers": 1, "width": 24, "heads": 3, "inner": 20, "label_smoothing": 0.1},
            **{"dropout": 0.1, "steps": 9, "clip_norm": 1.0},
            accumulate=ACCUMULATED,
            dtype=dtype,
        )
        graph = training_step(transformer.training_graph(settings, 23, 19), settings)
        on_cpu, on_device = gg.compile(graph), compiled_for(device, graph)
        wanted = gg.initial_state(graph, 1)
        placed = on_device.on_device(wanted)
        first = {name: wanted[name].copy() for name in graph.parameters}
        generator = np.random.default_rng(0)
        for _ in range(steps * ACCUMULATED):
            feeds = {
                name: generator.integers(0, 19, (3, 5 if name == "source" else 7), "int32")
                for name in graph.inputs
            }
            on_cpu(wanted, feeds)
            on_device(placed, feeds)
        far = distance(placed, wanted)
        moved = any((wanted[name] != value).any() for name, value in first.items())
        what = f"{steps} steps of {ACCUMULATED} batches, {dtype}, distance"
        yield Row("accumulation", what, f"{far:.2e}", far < limit and moved)
