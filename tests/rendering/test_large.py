"""20,000 nodes one after another, and 3,000 in one sum, as text and as JSON in seconds."""

import json
import time

import pytest

from graphgrad.backprop import derive
from graphgrad.formats import render
from graphgrad.graph import Graph, input, scope
from graphgrad.ops import concatenate, sum, tanh

SECONDS = 10.0


def deep() -> Graph:
    y = input("x", ("batch", 3))
    for number in range(5_000):
        with scope(f"layer.{number // 100}.{number % 100}"):
            y = tanh(y, name="z")
    return derive(Graph({"loss": sum(y, name="loss")}), "loss")


def wide() -> Graph:
    x = input("x", 3)
    parts = [tanh(x * float(number + 1), name=f"y{number}") for number in range(1_000)]
    return derive(Graph({"loss": sum(concatenate(parts), name="loss")}), "loss")


@pytest.mark.parametrize("declare", [deep, wide])
def test_large_graphs_are_text_and_json_in_seconds(declare: object) -> None:
    assert callable(declare)
    graph = declare()
    assert len(graph) > 8_000
    started = time.perf_counter()
    assert len(render(graph, "txt").splitlines()) > 2_000
    middle = time.perf_counter()
    assert len(json.loads(render(graph, "json"))["nodes"]) == len(graph)
    ended = time.perf_counter()
    assert middle - started < SECONDS and ended - middle < SECONDS
