"""Evaluation by several ranks: the figures of one process, to the last digit."""

import dataclasses
import json
import threading

import numpy as np
import pytest

import graphgrad as gg
from graphgrad.errors import RanksError
from graphgrad.models import BUILTIN
from graphgrad.ranks import threads
from graphgrad.training import spread as spread_file
from graphgrad.training.progress import Progress
from graphgrad.training.runs import create_run, open_run
from graphgrad.training.settings import with_assignments
from graphgrad.training.spread import ALONE, OverRanks
from graphgrad.training.task import load_model, quietly
from graphgrad.training.team import Team
from graphgrad.training.trainer import train

SMALL = {"layers": 1, "width": 16, "heads": 2, "batch_size": 4, "dropout": 0.0}
MODELS = {
    "transformer": {**SMALL, "inner": 16, "validation_size": 13, "maximum_length": 40},
    "gpt": {**SMALL, "context": 16},
    "bert": {**SMALL, "inner": 16, "context": 16},
}


def together(size, work):
    """What `work(rank, communicator)` gives on each rank; raises what it raises."""
    found, ranks = [None] * size, threads(size, 30.0)

    def run(rank):
        try:
            found[rank] = work(rank, ranks[rank])
        except BaseException as error:
            ranks[rank].fail(str(error))
            found[rank] = error

    running = [threading.Thread(target=run, args=(rank,)) for rank in range(size)]
    for each in running:
        each.start()
    for each in running:
        each.join()
    for each in found:
        if isinstance(each, BaseException):
            raise each
    return found


@pytest.mark.parametrize("size", [1, 2, 3])
def test_results_are_in_order_and_each_is_computed_once(size, monkeypatch):
    monkeypatch.setattr(spread_file, "PIECE", 7)
    items = [0.1 * n for n in range(8)]
    done = []

    def work(rank, communicator):
        over = OverRanks(communicator, 5)
        assert over.parts == size

        def once(item):
            done.append(item)
            return [item / 3.0, "ü" * int(10 * item)]

        return [list(over(once, items)), list(over(once, [])), list(over(once, [1.0]))]

    wanted = [[each / 3.0, "ü" * int(10 * each)] for each in items]
    for found in together(size, work):
        assert found == [wanted, [], [[1.0 / 3.0, "ü" * 10]]]
    assert sorted(done) == sorted([*items, 1.0])
    assert list(ALONE(lambda item: item + 1, [1, 2])) == [2, 3]


@pytest.mark.parametrize("model", MODELS)
def test_figures_are_those_of_one_process(model):
    settings = dataclasses.replace(BUILTIN[model].Settings(), **MODELS[model])
    task = BUILTIN[model].task(settings, {})
    state = gg.initial_state(task.graph, 0)

    def work(rank, communicator):
        return task.spread(state, quietly, True, OverRanks(communicator, 5))

    alone = task.validate(state)
    assert len(alone) > 1 and all(np.isfinite(value) for value in alone.values())
    for found in together(2, work):
        assert found == alone


def test_ranks_evaluate_while_they_train(tmp_path):
    """The metrics and the figures of two ranks, which each evaluate a part, are those of one."""
    found = load_model("gpt", BUILTIN)
    text = tmp_path / "text.txt"
    text.write_text("".join(f"{n} times {n} is {n * n}.\n" for n in range(200)), encoding="utf-8")
    words = [
        f"text={text}",
        "steps=4",
        "evaluate_every=2",
        "checkpoint_every=4",
        "context=16",
        "width=16",
    ]
    words += ["heads=2", "layers=1", "batch_size=4", "dropout=0", "fuse=false", "dtype=float64"]
    asked = []
    for name in ("one", "two"):
        create_run(found, with_assignments(found.settings, words), tmp_path / name)
    train(open_run(tmp_path / "one", BUILTIN), Progress(4, 0))

    def work(rank, communicator):
        run = open_run(tmp_path / "two", BUILTIN)
        spread = run.task.spread

        def counted(state, stages, quick, over):
            asked.append((rank, quick))
            return spread(state, stages, quick, over)

        run = dataclasses.replace(run, task=dataclasses.replace(run.task, spread=counted))
        team = Team(run, communicator)
        if rank:
            return team.follow(run)
        outcome = train(run, Progress(4, 0), team=team)
        team.end()
        return outcome.step

    assert together(2, work) == [4, 4]
    assert sorted(asked) == sorted(
        [(rank, quick) for rank in (0, 1) for quick in (True,) * 2 + (False,)]
    )
    one, two = (
        json.loads((tmp_path / name / "evaluation.json").read_text()) for name in ("one", "two")
    )
    assert one.keys() == two.keys()
    for name in ("loss", "sampled_loss", "bits_per_byte"):
        assert two[name] == pytest.approx(one[name], rel=1e-10)


def test_an_evaluation_that_is_interrupted_lets_the_others_go(tmp_path):
    found = load_model("gpt", BUILTIN)
    words = ["steps=2", "context=16", "width=16", "heads=2", "layers=1", "fuse=false"]
    create_run(found, with_assignments(found.settings, words), tmp_path / "run")

    def interrupted(state, stages, quick, over):
        raise KeyboardInterrupt

    def work(rank, communicator):
        run = open_run(tmp_path / "run", BUILTIN)
        team = Team(run, communicator)
        if rank:
            return team.follow(run)
        task = dataclasses.replace(run.task, spread=interrupted)
        with pytest.raises(KeyboardInterrupt):
            team.sharing(dataclasses.replace(run, task=task)).task.measure({}, None, quietly, True)
        return team.end()

    with pytest.raises(RanksError):
        together(2, work)
