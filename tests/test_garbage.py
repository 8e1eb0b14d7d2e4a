"""The collector rests while a function runs, and only then; and nothing is left for it to find."""

from __future__ import annotations

import gc
import weakref

import pytest

import graphgrad as gg
from graphgrad.garbage import gc_paused
from graphgrad.training.optimisers import training_step
from graphgrad.training.settings import TrainingSettings


@gc_paused
def enabled(fails: bool = False) -> bool:
    """Whether the collector works, asked inside."""
    if fails:
        raise ValueError("on purpose")
    return gc.isenabled()


@pytest.mark.parametrize("before", [True, False])
def test_the_collector_is_afterwards_as_it_was(before):
    try:
        if not before:
            gc.disable()
        assert not enabled() and gc.isenabled() == before
        with pytest.raises(ValueError, match="on purpose"):
            enabled(fails=True)
        assert gc.isenabled() == before
    finally:
        gc.enable()


def model() -> gg.Graph:
    w = gg.parameter("w", (3, 2))
    return gg.Graph({"loss": gg.mean((gg.input("x", ("batch", 3)) @ w) ** 2.0, name="loss")})


def test_lines_are_the_users_own():
    step = training_step(model(), TrainingSettings())
    origin = step["optimiser.count"].origin
    assert origin is not None and origin.file == __file__


def test_compiling_leaves_nothing_for_the_collector():
    gc.collect()
    gc.disable()
    try:
        step = training_step(model(), TrainingSettings())
        compiled = gg.compile(step)
        program = compiled.program(batch=4)
        graphs = [weakref.ref(each) for each in (step, compiled.graph, program.graph)]
        del step, compiled, program
        assert [each() for each in graphs] == [None] * 3
    finally:
        gc.enable()
