"""Casts from 16 bits behind reshapes and transposes: the same bits, moved in 16 bits."""

from __future__ import annotations

import numpy as np

import graphgrad as gg
from graphgrad import Graph
from graphgrad.ops import cast, reshape, transpose
from graphgrad.ops.evaluate import evaluate
from graphgrad.passes import DEVICE_PASSES, FUSING_PASSES, decompose, turn, widen_late


def test_a_value_of_16_bits_is_widened_behind_what_moves_it() -> None:
    x = gg.input("x", (2, 3, 4), "float16")
    wide = cast(x, "float32")
    y = reshape(transpose(wide, (1, 0, 2)), (3, 8))
    graph = Graph({"y": y, "z": gg.exp(wide), "w": transpose(gg.exp(wide))})
    late = widen_late(graph)
    assert late["y"].operation is cast and late["y"].heads[0].operation is reshape
    assert late["y"].heads[0].heads[0].operation is transpose
    assert late["z"] is graph["z"] and late["w"] is graph["w"]
    feeds = {"x": np.random.default_rng(0).normal(size=(2, 3, 4)).astype("float16")}
    found, wanted = evaluate(late, feeds), evaluate(graph, feeds)
    for name in graph.outputs:
        assert found[late[name]].tobytes() == wanted[graph[name]].tobytes()
    assert widen_late(late) is late


def test_a_device_has_the_passes_of_fusion_and_two_more() -> None:
    own = (turn, widen_late)
    assert tuple(each for each in DEVICE_PASSES if each not in own) == FUSING_PASSES
    places = [DEVICE_PASSES.index(each) for each in (turn, decompose, widen_late)]
    assert places == sorted(places)


def test_what_is_rounded_and_whole_numbers_stay_where_they_are() -> None:
    x = gg.input("x", (2, 3))
    halves = transpose(cast(x, "float16"))
    whole = transpose(cast(cast(x, "float16"), "int32"))
    graph = Graph({"halves": halves, "whole": whole})
    assert widen_late(graph) is graph
