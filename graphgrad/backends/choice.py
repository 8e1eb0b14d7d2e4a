"""The backend that a name stands for: what lowers the plans of one graph, and keeps its state."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from functools import cache
from typing import Protocol

import numpy as np

from graphgrad.backends.cupy.cupy_device import open_device
from graphgrad.backends.cupy.launches import DeviceProgram
from graphgrad.backends.cupy.product_groups import join_products
from graphgrad.backends.cupy.program import DeviceProgramOfPlan
from graphgrad.backends.cupy.shared_memory import SharedMemory, Staging
from graphgrad.backends.cupy.state import JoinedState, ResidentState
from graphgrad.backends.numpy import COMPILES, Rates, lower, threads_of, with_own_products
from graphgrad.backends.program import Program
from graphgrad.backends.ranks_of_plan import need_ranks
from graphgrad.backends.room import Room
from graphgrad.backends.workspaces import Workspaces
from graphgrad.errors import EnvironmentLimitError
from graphgrad.fusion import Group
from graphgrad.memory import UNCHECKED, available_memory
from graphgrad.options import Options
from graphgrad.plan import Plan
from graphgrad.ranks import Beside, Communicator, Lone
from graphgrad.schedule import Schedule

State = Mapping[str, np.ndarray]


class Backend(Room, Protocol):
    """What runs the programs of one graph; they share its memory."""

    def regrouped(self, schedule: Schedule, groups: list[Group], options: Options) -> list[Group]:
        """The groups of a plan, with those joined that are one launch or one kernel here."""

    def lower(self, plan: Plan) -> Program:
        """The program of a plan."""

    def placed(self, state: State) -> State:
        """The state where programs need no copy of it."""

    @property
    def notes(self) -> tuple[str, ...]:
        """What has been found of it by now that its user should know."""

    @property
    def rates(self) -> Rates | None:
        """By which products were given to our own kernels or to a library, if any were."""


class NumpyBackend:
    """The processor."""

    place, unchecked = "this machine", UNCHECKED
    notes: tuple[str, ...] = ()

    def __init__(
        self, communicator: Communicator | None = None, rates: Rates | None = None
    ) -> None:
        self._workspaces, self._given = Workspaces(), rates
        self._ranks = None if communicator is None else Beside(communicator)
        self.rates: Rates | None = None

    def regrouped(self, schedule: Schedule, groups: list[Group], options: Options) -> list[Group]:
        if not (COMPILES and options.fuse and options.products):
            return groups
        threads = threads_of(self._ranks)
        groups, rates = with_own_products(
            schedule, groups, threads, self.rates or self._given, options.epilogues
        )
        self.rates = self.rates or rates
        return groups

    def lower(self, plan: Plan) -> Program:
        return lower(plan, workspaces=self._workspaces, communicator=self._ranks)

    def placed(self, state: State) -> State:
        return state

    def free_bytes(self) -> int | None:
        return available_memory()

    def missing_bytes(self, plan: Plan) -> int:
        """What the arena grows by; the state is the caller's, who has it already."""
        return max(0, plan.arena_bytes - self._workspaces.bytes)


class DeviceBackend:
    """A device with memory of its own, which the programs of all graphs share."""

    unchecked = 0
    rates: Rates | None = None

    def __init__(self, memory: SharedMemory, communicator: Communicator | None = None) -> None:
        self.memory, self._staging = memory, Staging(memory)
        ranks = communicator or Lone()
        lone = isinstance(ranks, Lone)
        self._exchanges = None if lone else memory.device.exchanges(ranks)
        self._size = ranks.size
        self._lowered: tuple[Plan, DeviceProgram] | None = None
        """The plan that was looked at last: it is measured before it is lowered."""

    @property
    def place(self) -> str:
        return self.memory.device.name

    @property
    def notes(self) -> tuple[str, ...]:
        return self.memory.attention.notes

    def regrouped(self, schedule: Schedule, groups: list[Group], options: Options) -> list[Group]:
        if not options.epilogues:
            return groups
        with self.memory.lock:
            return join_products(schedule, groups, self.memory.device.takes)

    def lower(self, plan: Plan) -> Program:
        need_ranks(plan, self._size)
        with self.memory.lock:
            lowered, self._lowered = self._program(plan), None
        return DeviceProgramOfPlan(plan, self.memory, self._staging, lowered, self._exchanges)

    def placed(self, state: State) -> State:
        if isinstance(state, ResidentState) and state.device is self.memory.device:
            return state
        return self.memory.placed(state)

    def free_bytes(self) -> int | None:
        return self.memory.device.free_bytes()

    def missing_bytes(self, plan: Plan) -> int:
        with self.memory.lock:
            return self.memory.missing_bytes(self._program(plan))

    def _program(self, plan: Plan) -> DeviceProgram:
        known = self._lowered
        if known is None or known[0] is not plan:
            self._lowered = known = plan, self.memory.lowered(plan)
        return known[1]


@cache
def device_memory() -> SharedMemory:
    """The memory of the current device, which is opened once."""
    return SharedMemory(open_device())


def need_backend(name: str) -> None:
    """Raises EnvironmentLimitError if this machine lacks what the backend needs."""
    backend_called(name)


def backend_called(
    name: str, communicator: Communicator | None = None, rates: Rates | None = None
) -> Backend:
    """The backend of a name out of `BACKENDS`, for one of several ranks where they have a
    `communicator`.

    Raises EnvironmentLimitError if this machine lacks what it needs.
    """
    if name != "cupy":
        return NumpyBackend(communicator, rates)
    return DeviceBackend(device_memory(), communicator)


def devices_of_ranks(ranks: int) -> list[str]:
    """For each rank of this machine the device that it has to itself, as CUDA_VISIBLE_DEVICES names
    it. Raises EnvironmentLimitError if there are too few."""
    count = device_memory().device.count
    visible = os.environ.get("CUDA_VISIBLE_DEVICES", "")
    names = [name.strip() for name in visible.split(",")] if visible else map(str, range(count))
    found = list(names)[:count]
    if len(found) < ranks:
        raise EnvironmentLimitError(
            f"{ranks} ranks need a device each, and this machine shows {len(found)}",
            fix=f"--ranks {len(found)}, or --backend numpy",
        )
    return found[:ranks]


def read_only(state: State) -> State:
    """The same arrays, which a program that would write to them refuses."""
    if isinstance(state, ResidentState):
        return state.read_only
    views = {name: array.view() for name, array in state.items()}
    for view in views.values():
        view.flags.writeable = False
    return views


def joined(*states: State) -> State:
    """States as one, for programs that read or update arrays of each; the last of a name counts."""
    parts = [state for state in states if isinstance(state, ResidentState)]
    if parts and len(parts) == len(states):
        return JoinedState(parts)
    return {name: array for state in states for name, array in state.items()}


def resident(state: State | None, names: Iterable[str]) -> dict[str, np.ndarray]:
    """Of these names the inputs that a program reads from a state on its device: arrays of their
    shapes and dtypes."""
    if not isinstance(state, ResidentState):
        return {}
    return {name: state.ghost(name) for name in names if name in state}
