"""The history of a run, as other code reads it."""

import numpy as np
import pytest

from graphgrad.errors import ConfigurationError, UnknownNameError
from graphgrad.reports.history import History, read_history
from graphgrad.training.history_file import HistoryWriter
from graphgrad.training.run_folder import RunFolder

NAMES, STATISTICS = ("a", "a.delta", "b.c", "b.c.delta", "b.d"), ("mean", "norm")
DELTAS = {"a.delta": "a", "b.c.delta": "b.c"}


@pytest.fixture
def folder(tmp_path):
    run = RunFolder.create(tmp_path / "run")
    run.write_json("configuration.json", {})
    writer = HistoryWriter(run.history, NAMES, STATISTICS, 10, deltas=DELTAS)
    for step in (1, 10, 20):
        writer.append(step, np.arange(10.0).reshape(5, 2) + step)
    return run


def test_it_has_steps_names_statistics_and_values(folder):
    history = read_history(folder)
    assert (history.steps, history.names, history.statistics) == ((1, 10, 20), NAMES, STATISTICS)
    assert history.values.shape == (3, 5, 2) and history.values.dtype == np.float64
    assert history.values.flags.writeable
    np.testing.assert_array_equal(history.of("b.c.delta", "norm"), [8, 17, 27])


def test_patterns_choose_nodes_with_their_deltas(folder):
    history = read_history(folder)
    assert history.chosen([]).names == NAMES
    assert history.chosen(["b.*"]).names == NAMES[2:]
    found = history.chosen(["b.d", "a"])
    assert found.names == ("a", "a.delta", "b.d")
    np.testing.assert_array_equal(found.of("b.d", "mean"), history.of("b.d", "mean"))
    assert history.chosen(["*.delta"]).names == ("a.delta", "b.c.delta")
    with pytest.raises(UnknownNameError, match=r"'b.cc'[\s\S]*did you mean 'b.c'"):
        history.chosen(["b.cc"])


def test_a_statistic_that_is_not_there_is_named():
    history = History((1,), ("a",), ("mean",), np.zeros((1, 1, 1)))
    with pytest.raises(ConfigurationError, match=r"'norm' is not recorded[\s\S]*mean"):
        history.of("a", "norm")


def test_a_run_that_recorded_nothing_says_how_to(tmp_path):
    run = RunFolder.create(tmp_path / "run")
    with pytest.raises(UnknownNameError, match=r"recorded no figures[\s\S]*--inspect-every"):
        read_history(run)


def test_the_node_of_a_name_is_what_the_file_says(folder):
    history = read_history(folder)
    assert history.deltas == DELTAS
    assert [history.node_of(name) for name in NAMES] == ["a", "a", "b.c", "b.c", "b.d"]
    assert history.chosen(["b.c"]).deltas == {"b.c.delta": "b.c"}


def test_a_node_that_is_called_like_a_delta_is_none(tmp_path):
    run = RunFolder.create(tmp_path / "run")
    run.write_json("configuration.json", {})
    names = ("wheel", "wheel.delta", "wheel.delta_2")
    writer = HistoryWriter(run.history, names, ("norm",), 1, deltas={"wheel.delta_2": "wheel"})
    writer.append(1, np.ones((3, 1)))
    history = read_history(run)
    assert [history.node_of(name) for name in names] == ["wheel", "wheel.delta", "wheel"]
    assert history.chosen(["wheel"]).names == ("wheel", "wheel.delta_2")
