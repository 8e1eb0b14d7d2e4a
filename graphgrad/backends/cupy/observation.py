"""Runs a program of the device action by action, to look at its values or at its times.

Nothing is captured: every launch is started by itself, and the device is asked after each of them,
or has an event before and behind it.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from graphgrad.backends.cupy.launches import Action, Launch, Product
from graphgrad.backends.cupy.program import DeviceProgramOfPlan
from graphgrad.backends.cupy.state import DeviceState
from graphgrad.graph import Node

Arrays = Mapping[str, np.ndarray]
WARM = 2


def nodes_of(action: Action) -> Sequence[Node]:
    """What an action computes."""
    return action.nodes if isinstance(action, Launch | Product) else (action.node,)


def observe(
    program: DeviceProgramOfPlan,
    state: dict[str, np.ndarray],
    feeds: Arrays,
    see: Callable[[Node, np.ndarray], None],
) -> dict[str, np.ndarray]:
    """Runs once; `see` gets the value of every node that is stored, right after the action that
    completes it. The arrays of the state are those after the run. Returns the outputs; raises the
    errors of a run."""
    actions = program.device_program.actions
    last = {node: number for number, action in enumerate(actions) for node in nodes_of(action)}
    kept = [node for step in program.plan.steps for node in step.group.outputs if node in last]
    completed: dict[int, list[Node]] = {}
    for node in kept:
        completed.setdefault(last[node], []).append(node)
    memory = program.memory
    with memory.lock:
        placed = memory.placed({name: state[name] for name in program.graph.states})
        binding = program.received(placed, feeds)
        for number, run in enumerate(binding.runs):
            with memory.device.active():
                run()
            for node in completed.get(number, ()):
                array = binding.array(program.device_program.values[node])
                see(node, memory.device.fetch(array))
        placed.changed(placed)
        try:
            return program.results_of(binding)
        finally:
            for name, value in placed.items():
                state[name] = np.array(value)


def action_seconds(
    program: DeviceProgramOfPlan, state: Arrays, feeds: Arrays, steps: int
) -> tuple[list[float], float]:
    """The median time of each action on the device, by events, and that of a whole step as it is
    trained, results included."""
    memory = program.memory
    placed: DeviceState = memory.placed({name: state[name] for name in program.graph.states})
    whole: list[float] = []
    for number in range(WARM + steps):
        started = time.perf_counter()
        program(placed, **feeds)
        if number >= WARM:
            whole.append(time.perf_counter() - started)
    rounds: list[list[float]] = []
    with memory.lock:
        for _ in range(WARM + steps):
            binding = program.received(placed, feeds)
            rounds.append(memory.device.seconds_of(binding.runs))
        program.results_of(binding)
    medians = [statistics.median(each) for each in zip(*rounds[WARM:], strict=True)]
    return medians, statistics.median(whole)
