"""The backend that a name stands for: what lowers the plans of one graph, and keeps its state."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

import numpy as np

from graphgrad.backends.cupy.cupy_device import open_device
from graphgrad.backends.cupy.device import Device
from graphgrad.backends.cupy.product_groups import join_products
from graphgrad.backends.cupy.program import DeviceProgramOfPlan
from graphgrad.backends.cupy.shared_memory import SharedMemory
from graphgrad.backends.cupy.state import DeviceState
from graphgrad.backends.numpy import lower
from graphgrad.backends.program import Program
from graphgrad.backends.workspaces import Workspaces
from graphgrad.fusion import Group
from graphgrad.plan import Plan
from graphgrad.schedule import Schedule

State = Mapping[str, np.ndarray]


class Backend(Protocol):
    """What runs the programs of one graph; they share its memory."""

    def regrouped(self, schedule: Schedule, groups: list[Group]) -> list[Group]:
        """The groups of a plan, with those joined that are one launch here."""

    def lower(self, plan: Plan, sizes: Mapping[str, int]) -> Program:
        """The program of a plan for these sizes of the named dimensions."""

    def placed(self, state: State) -> State:
        """The state where programs need no copy of it."""


class NumpyBackend:
    """The processor."""

    def __init__(self) -> None:
        self._workspaces = Workspaces()

    def regrouped(self, schedule: Schedule, groups: list[Group]) -> list[Group]:
        return groups

    def lower(self, plan: Plan, sizes: Mapping[str, int]) -> Program:
        return lower(plan, workspaces=self._workspaces)

    def placed(self, state: State) -> State:
        return state


class DeviceBackend:
    """A device with memory of its own."""

    def __init__(self, device: Device) -> None:
        self.memory = SharedMemory(device)

    def regrouped(self, schedule: Schedule, groups: list[Group]) -> list[Group]:
        return join_products(schedule, groups, self.memory.device.takes)

    def lower(self, plan: Plan, sizes: Mapping[str, int]) -> Program:
        return DeviceProgramOfPlan(plan, self.memory, sizes)

    def placed(self, state: State) -> State:
        return DeviceState(self.memory.device, state)


def need_backend(name: str) -> None:
    """Raises EnvironmentLimitError if this machine lacks what the backend needs."""
    backend_called(name)


def backend_called(name: str) -> Backend:
    """The backend of a name out of `BACKENDS`.

    Raises EnvironmentLimitError if this machine lacks what it needs.
    """
    return DeviceBackend(open_device()) if name == "cupy" else NumpyBackend()
