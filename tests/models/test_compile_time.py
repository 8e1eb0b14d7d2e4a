"""Compiling a training step takes time in proportion to its depth, and not much of it."""

import time

from graphgrad.compile import compile
from graphgrad.models import transformer
from graphgrad.training.optimisers import training_step


def seconds_to_compile(layers: int) -> tuple[float, int]:
    """Processor seconds from the settings to the program, and how many nodes it computes."""
    settings = transformer.Settings(layers=layers, width=512, heads=8, inner=2048, dropout=0.1)
    started = time.process_time()
    graph = training_step(transformer.training_graph(settings, 10_000, 10_000), settings)
    program = compile(graph, guards=("loss",), fuse=True).program(batch=32, source=32, target=32)
    assert program.source
    return time.process_time() - started, len(graph)


def test_six_and_six_layers_compile_in_seconds_and_in_proportion():
    seconds_to_compile(1)  # imports and caches
    few, few_nodes = seconds_to_compile(2)
    many, many_nodes = seconds_to_compile(6)
    assert 2.5 < many_nodes / few_nodes < 3
    assert many < 6, "the aim is 3 s on an idle machine; twice that is a mistake somewhere"
    assert many / few < 3 * 1.7
    print(f"2+2 layers {few:.2f} s, 6+6 layers {many:.2f} s, {many_nodes} nodes")
