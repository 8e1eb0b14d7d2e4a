"""A program that runs on a device, called as any program is.

Given a state of arrays on the processor, it copies them to the device and back: right, and slow.
Given one that stays on the device (`Compiled.on_device`), it copies the inputs there and the
outputs back, and nothing else.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from graphgrad.backends.cupy.backend import lower
from graphgrad.backends.cupy.binding import Binding, layout_of
from graphgrad.backends.cupy.launches import Guard
from graphgrad.backends.cupy.shared_memory import SharedMemory
from graphgrad.backends.cupy.state import DeviceState
from graphgrad.backends.program import Program
from graphgrad.errors import DataError, DeclarationError, EnvironmentLimitError, NonFiniteError
from graphgrad.graph import Node
from graphgrad.memory import size_text
from graphgrad.plan import Plan

LARGEST = 3
"""How many values are named where memory runs out."""


class DeviceProgramOfPlan(Program):
    """The program of a plan in shared memory; `sizes` are those of the named dimensions."""

    def __init__(self, plan: Plan, memory: SharedMemory, sizes: Mapping[str, int]) -> None:
        self.device_program = lower(plan, workspace=memory.device.workspace_bytes)
        super().__init__(plan, str(self.device_program), self.device_program.kernels, {})
        self.memory, self._sizes = memory, sizes
        self._guards = [each for each in self.device_program.actions if isinstance(each, Guard)]
        with memory.lock:
            self._need_memory()

    @property
    def peak_bytes(self) -> int:
        """Bytes on the device while it runs: the block, constants and state."""
        kept = self.plan.peak_bytes - self.plan.arena_bytes
        return layout_of(self.device_program).size + kept

    def _results(
        self, inputs: Sequence[np.ndarray], state: Mapping[str, np.ndarray]
    ) -> Sequence[np.ndarray]:
        with self.memory.lock:
            if isinstance(state, DeviceState):
                return self._stepped(inputs, self._resident(state))
            arrays = dict(zip(self.graph.states, self._checked_state(state), strict=True))
            staged = self.memory.staged(arrays)
            results = self._stepped(inputs, staged)
            for name in self._updated:
                np.copyto(arrays[name], staged[name])
            return results

    def _resident(self, state: DeviceState) -> DeviceState:
        if state.device is not self.memory.device:
            raise DeclarationError(
                "the state is on another device than the program",
                fix="place it with on_device of the graph that was compiled",
            )
        for name, node in self.graph.states.items():
            if not state.fits(name, node.type.sizes, node.dtype):
                raise DeclarationError(
                    f"the state on the device has no {name!r} of {node.type}",
                    fix="place a state of this graph there: compiled.on_device(state)",
                )
        return state

    def binding(self, state: DeviceState) -> Binding:
        """The program with memory, over a state on the device."""
        return self.memory.binding(self.device_program, state)

    def _stepped(self, inputs: Sequence[np.ndarray], state: DeviceState) -> Sequence[np.ndarray]:
        binding = self.binding(state)
        for name, value in zip(self.graph.inputs, inputs, strict=True):
            if name in binding.inputs:
                self.memory.device.write(binding.inputs[name], value)
        binding.start()
        state.changed(self._updated)
        numbers, flags = binding.read()
        if flags.any():
            self._refuse(binding, numbers, flags)
        outputs = self.device_program.outputs.values()
        return [binding.value(array, numbers) for array in outputs]

    def _refuse(self, binding: Binding, numbers: np.ndarray, flags: np.ndarray) -> None:
        """The error of a run that met a bad index or a number that is not finite."""
        for node, refused in zip(self.device_program.refusals, flags[1:], strict=True):
            if refused:
                raise DataError(
                    f"{node.operation.name}: an index lies outside [0, {_size_of(node)})",
                    node.origin,
                    "encode the data with the vocabulary that the model was built for",
                )
        for guard in self._guards:
            value = binding.value(guard.value, numbers)
            if not np.isfinite(value):
                raise NonFiniteError(
                    f"{self.graph.name_of(guard.node)} is {value.item()}; no parameter was changed",
                    guard.node.origin,
                )

    def _need_memory(self) -> None:
        """EnvironmentLimitError where the device has not what the program will take."""
        free, needed = (
            self.memory.device.free_bytes(),
            self.memory.missing_bytes(self.device_program),
        )
        if free is None or needed <= free:
            return
        whole, fixed = layout_of(self.device_program).size, self.device_program.workspace_bytes
        raise EnvironmentLimitError(
            f"the program needs {size_text(whole)} on {self.memory.device.name}, and "
            f"{size_text(free + self.memory.block_bytes)} can be had; the largest values are "
            f"{', '.join(map(self._listed, self._largest()))}",
            fix=self._fitting((free + self.memory.block_bytes - fixed) / (whole - fixed)),
        )

    def _largest(self) -> list[Node]:
        kept = {place.root for place in self.plan.places.values() if place.kind == "arena"}
        return sorted(kept, key=lambda node: -node.type.nbytes)[:LARGEST]

    def _listed(self, node: Node) -> str:
        return f"{self.graph.name_of(node)} ({node.type}, {size_text(node.type.nbytes)})"

    def _fitting(self, share: float) -> str:
        """What to do where this share of the memory is there."""
        batch = self._sizes.get("batch", 0)
        fits = int(batch * share * 0.95)
        if fits:
            return f"a batch of about {fits} instead of {batch}"
        return "a smaller batch, shorter inputs or a smaller model"


def _size_of(node: Node) -> object:
    """What an index of the node has to be below."""
    if "size" in node.attributes:
        return node.attributes["size"]
    axis = node.attributes.get("axis", 0)
    return node.heads[0].shape[axis]
