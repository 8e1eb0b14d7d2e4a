"""The history of a run, as other code reads it."""

import numpy as np
import pytest

from graphgrad.errors import ConfigurationError, UnknownNameError
from graphgrad.inspection.history import History, node_of, read_history
from graphgrad.training.history_file import HistoryWriter
from graphgrad.training.run_folder import RunFolder

NAMES, STATISTICS = ("a", "a.delta", "b.c", "b.c.delta", "b.d"), ("mean", "norm")


@pytest.fixture
def folder(tmp_path):
    run = RunFolder.create(tmp_path / "run")
    run.write_json("configuration.json", {})
    writer = HistoryWriter(run.history, NAMES, STATISTICS, 10)
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


def test_the_node_of_a_name():
    assert [node_of(name) for name in NAMES] == ["a", "a", "b.c", "b.c", "b.d"]
    assert node_of("delta") == "delta"
