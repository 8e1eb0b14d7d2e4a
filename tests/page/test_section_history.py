"""The section `history`: the recorded numbers, thinned where there are too many."""

import base64
from dataclasses import dataclass

import numpy as np
import pytest

from graphgrad.backprop import derive
from graphgrad.graph import Graph, input, normal, parameter
from graphgrad.ops import matmul, sum, tanh
from graphgrad.page.section_history import history_section, thinned


@dataclass
class Recorded:
    steps: tuple[int, ...]
    names: tuple[str, ...]
    statistics: tuple[str, ...]
    values: np.ndarray
    deltas: dict[str, str]


def recorded(
    steps: int, names: tuple[str, ...] = ("x", "w", "w.delta", "z", "z.delta")
) -> Recorded:
    values = np.random.default_rng(0).standard_normal((steps, len(names), 3))
    values[:, 0, 2] = np.nan
    numbers = tuple(range(10, 10 * steps + 10, 10))
    deltas = {name: name.removesuffix(".delta") for name in names if name.endswith(".delta")}
    return Recorded(numbers, names, ("mean", "norm", "update_ratio"), values, deltas)


def unpacked(section: dict) -> np.ndarray:
    shape = len(section["names"]), len(section["statistics"]), len(section["steps"])
    return np.frombuffer(base64.b64decode(section["values"]), "<f4").reshape(shape)


def test_everything_is_there_where_it_fits() -> None:
    history = recorded(7)
    section = history_section(history)
    assert section is not None
    np.testing.assert_array_equal(
        unpacked(section), history.values.transpose(1, 2, 0).astype(np.float32)
    )
    assert section["steps"] == [10, 20, 30, 40, 50, 60, 70] and section["steps_recorded"] == 7
    assert section["depth"] == ["w", "z"]
    assert section["deltas"] == [["w", "w.delta"], ["z", "z.delta"]]


def test_steps_are_thinned_before_names() -> None:
    history = recorded(1000)
    section = history_section(history, budget=5 * 3 * 6 * 50)
    assert section is not None
    assert len(section["steps"]) == 50 and len(section["names"]) == 5
    assert (section["steps"][0], section["steps"][-1]) == (10, 10000)
    places = [step // 10 - 1 for step in section["steps"]]
    np.testing.assert_array_equal(
        unpacked(section), history.values[places].transpose(1, 2, 0).astype(np.float32)
    )
    small = history_section(history, budget=2 * 3 * 6 * 40)
    assert small is not None and small["names"] == ["x", "w"] and len(small["steps"]) == 40
    assert small["names_recorded"] == 5 and len(small["values"]) <= 2 * 3 * 6 * 40


@pytest.mark.parametrize(("count", "most"), [(5, 9), (9, 9), (100, 7), (10_000, 400)])
def test_thinning_keeps_the_first_and_the_last(count: int, most: int) -> None:
    places = thinned(count, most)
    assert places[0] == 0 and places[-1] == count - 1 and len(places) == min(count, most)
    assert places == sorted(set(places))
    gaps = np.diff(places)
    assert gaps.max() - gaps.min() <= 1


def test_the_graph_gives_depth_and_parameters() -> None:
    x, w = input("x", ("batch", 2), "float32"), parameter("w", (2, 2), normal(1.0))
    z = tanh(matmul(x, w, name="a"), name="z")
    graph = derive(Graph({"loss": sum(z, name="loss")}), "loss")
    section = history_section(recorded(3, ("z.delta", "z", "w", "w.delta", "gone")), graph)
    assert section is not None
    assert section["depth"] == ["w", "z"] and section["parameters"] == ["w"]


def test_nothing_recorded_is_no_section() -> None:
    assert history_section(Recorded((), ("a",), ("mean",), np.zeros((0, 1, 1)), {})) is None
