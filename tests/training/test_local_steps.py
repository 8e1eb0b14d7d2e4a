"""Ranks that train apart for some steps, and join by an outer step."""

import threading

import numpy as np
import pytest

import graphgrad as gg
from graphgrad.errors import ConfigurationError, DeclarationError
from graphgrad.models import BUILTIN
from graphgrad.ops import dropout_mask
from graphgrad.philox import fill_dropout_mask
from graphgrad.ranks import Lone, threads
from graphgrad.tools.main import main
from graphgrad.training.local_steps import FIRST, local_graph, need_equal_counts
from graphgrad.training.rounds import Rounds, need_team
from graphgrad.training.runs import open_run
from graphgrad.training.team import part_of

VALUES = {"dtype": "float64", "local_steps": 3, "steps": 6, "outer_learning_rate": 0.6}
VALUES |= {"outer_momentum": 0.8, "evaluate_every": 3, "checkpoint_every": 3}


def begun(folder, model="attention", **values):
    words = [f"--set={name}={value}" for name, value in (VALUES | {"steps": 3} | values).items()]
    assert main(["train", model, "--run", str(folder), *words]) == 0
    return folder


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run after a round of one rank; velocities and moments are not 0."""
    return begun(tmp_path_factory.mktemp("local") / "run")


def in_team(path, size, batches):
    """The states of all ranks of a team after so many batches."""
    states = [None] * size

    def work(rank, communicator):
        opened = open_run(path, BUILTIN)
        team = Rounds(opened, communicator)
        if rank:
            team.follow(opened)
        else:
            for number in range(batches):
                team.run(opened.state, opened.task.feeds(opened.next_batch + number))
            team.end()
        states[rank] = {name: value.copy() for name, value in opened.state.items()}

    every = [threading.Thread(target=work, args=each) for each in enumerate(threads(size, 30.0))]
    for each in every:
        each.start()
    for each in every:
        each.join()
    return states


def by_numpy(path, size, rounds):
    """The state after some rounds: each rank's steps by themselves, the outer one in NumPy."""
    opened = open_run(path, BUILTIN)
    step = gg.compile(opened.graph)
    state = {name: np.array(value) for name, value in opened.state.items()}
    number = opened.next_batch
    axes = dict.fromkeys(opened.graph.inputs, 0)
    for _ in range(rounds):
        apart = []
        for rank in range(size):
            own = {name: value.copy() for name, value in state.items()}
            for each in range(3):
                step(own, part_of(opened.task.feeds(number + each), axes, rank, size))
            apart.append(own)
        number += 3
        for name in state:
            mean = sum(own[name] for own in apart) / size
            if (velocity := f"outer.velocity.{name}") in state:
                moved = state[name] - mean
                state[velocity] = 0.8 * state[velocity] + moved
                state[name] = state[name] - 0.6 * (0.8 * state[velocity] + moved)
            elif not name.startswith("outer.velocity."):
                state[name][...] = mean
    return state


@pytest.mark.parametrize("size", [1, 2, 3])
def test_a_round_is_steps_apart_and_one_of_nesterov(run, size):
    wanted = by_numpy(run, size, 2)
    states = in_team(run, size, 6)
    for name, value in wanted.items():
        np.testing.assert_allclose(states[0][name], value, rtol=1e-12, atol=1e-14, err_msg=name)
        assert all(np.array_equal(other[name], states[0][name]) for other in states[1:])


def test_a_rank_draws_the_masks_of_its_examples():
    x = gg.input("x", ("batch", 5))
    graph = gg.Graph({"y": x * dropout_mask(7, 2, x.shape, rate=0.4, stream=3)})
    local = local_graph(graph)
    assert FIRST in local.inputs and local_graph(gg.Graph({"y": x * 2.5})).inputs.keys() == {"x"}
    whole = np.empty((6, 5), np.float32)
    fill_dropout_mask(whole, 7, 2, 3, 0.4)
    ones = np.ones((2, 5), np.float32)
    found = gg.compile(local)({}, {"x": ones, FIRST: 4})
    assert np.array_equal(found["y"], whole[4:])


def test_an_interrupt_waits_for_the_end_of_the_round(run):
    opened = open_run(run, BUILTIN, {"steps": 9})
    team = Rounds(opened, Lone())
    feeds = opened.task.feeds(opened.next_batch)
    seen = []
    for _ in range(3):
        team.run(opened.state, feeds)
        seen.append(team.whole)
    assert seen == [False, False, True]


def test_a_run_that_was_stopped_between_rounds_ends_with_the_same_bytes(tmp_path):
    ends = []
    for name, stops in (("once", ["9"]), ("twice", ["3", "9"])):
        begun(tmp_path / name, steps=stops[0])
        for steps in stops[1:]:
            assert main(["train", "--resume", str(tmp_path / name), f"--set=steps={steps}"]) == 0
        ends.append(open_run(tmp_path / name, BUILTIN).state)
    assert all(np.array_equal(value, ends[1][name]) for name, value in ends[0].items())


@pytest.mark.parametrize(
    ("values", "problem"),
    [
        ({"steps": 7}, "steps 7 is not a multiple of local_steps 3"),
        ({"evaluate_every": 4}, "evaluate_every 4 is not a multiple"),
        ({"inspect_every": 3}, "one on all ranks"),
        ({"outer_momentum": 1.0}, "outer_momentum"),
        ({"local_steps": 0}, "local_steps"),
    ],
)
def test_settings_that_contradict_rounds_are_refused(values, problem):
    with pytest.raises(ConfigurationError, match=problem):
        gg.training.TrainingSettings(**(VALUES | values))


def test_a_state_on_which_ranks_would_not_agree_is_refused():
    x, seen = gg.input("x", ("batch", 2)), gg.state("seen", (), 0, "int32")
    largest = gg.cast(gg.max(x), "int32")
    graph = gg.Graph({"y": gg.sum(x)}, {seen: seen + largest})
    with pytest.raises(DeclarationError, match="'seen' of int32 depends on the batch"):
        need_equal_counts(graph)


def test_a_run_keeps_its_rounds(run, tmp_path):
    with pytest.raises(ConfigurationError, match="keeps its local_steps"):
        open_run(run, BUILTIN, {"local_steps": 1})
    opened = open_run(run, BUILTIN)
    need_team(opened, 2)
    with pytest.raises(ConfigurationError, match="no part for each"):
        need_team(opened, 99)
