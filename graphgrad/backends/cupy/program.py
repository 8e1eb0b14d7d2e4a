"""A program that runs on a device, called as any program is.

Given a state of arrays on the processor, it copies them to the device and back: right, and slow.
Given one that stays on the device (`Compiled.on_device`), it copies the inputs there and the
outputs back, and nothing else; an input that is not given is read from such a state where it has
one of its name.

`prepare` has inputs copied while another run goes on, `start` gives a run to the device, and
`results` waits for it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from weakref import WeakSet

import numpy as np
from numpy.typing import ArrayLike

from graphgrad.backends.cupy.binding import Binding, layout_of
from graphgrad.backends.cupy.device import Exchanges
from graphgrad.backends.cupy.input_ring import Sent
from graphgrad.backends.cupy.launches import DeviceProgram, Guard
from graphgrad.backends.cupy.shared_memory import SharedMemory, Staging
from graphgrad.backends.cupy.state import ResidentState
from graphgrad.backends.program import Prepared, Program, Started
from graphgrad.errors import DataError, DeclarationError, NonFiniteError
from graphgrad.graph import Node
from graphgrad.plan import Plan

TWICE = 2
"""What a kernel refuses an index with that names a place a second time."""

Arrays = Mapping[str, np.ndarray]


@dataclass(frozen=True, eq=False)
class SentInputs(Prepared):
    """Inputs that were copied, or are being copied, to the device."""

    sent: Sent | None


class DeviceProgramOfPlan(Program):
    """The program of a plan in the memory that all programs of a device share."""

    def __init__(
        self,
        plan: Plan,
        memory: SharedMemory,
        staging: Staging,
        lowered: DeviceProgram | None = None,
        exchanges: Exchanges | None = None,
    ) -> None:
        self._exchanges = exchanges
        self.device_program = lowered or memory.lowered(plan)
        super().__init__(plan, str(self.device_program), self.device_program.kernels, {})
        self.memory, self._staging = memory, staging
        self._layout = layout_of(self.device_program)
        self._fitting: WeakSet[ResidentState] = WeakSet()
        """The states that the program was called with, which are known to fit."""
        self._guards = [each for each in self.device_program.actions if isinstance(each, Guard)]

    @property
    def peak_bytes(self) -> int:
        """Bytes on the device while it runs: the block, constants and state."""
        return self._layout.size + self.plan.peak_bytes - self.plan.arena_bytes

    def binding(self, state: ResidentState) -> Binding:
        """The program with memory, over a state on the device."""
        return self.memory.binding(self.device_program, state, self._exchanges)

    # ------------------------------------------------------------ runs

    def __call__(
        self, state: Arrays | None = None, /, **inputs: ArrayLike
    ) -> dict[str, np.ndarray]:
        with self.memory.lock:
            if isinstance(state, ResidentState):
                return self._begun(self._prepared(inputs, state), state).results()
            return self._on_arrays(self._prepared(inputs), state or {})

    def prepare(self, /, **inputs: ArrayLike) -> SentInputs:
        with self.memory.lock:
            return self._prepared(inputs)

    def start(self, state: Arrays | None, prepared: Prepared) -> Started:
        assert isinstance(prepared, SentInputs)
        with self.memory.lock:
            if isinstance(state, ResidentState):
                return self._begun(prepared, state)
            return Started(self._on_arrays(prepared, state or {}))

    def _prepared(
        self, inputs: Mapping[str, ArrayLike], state: ResidentState | None = None
    ) -> SentInputs:
        elsewhere = [
            name for name, *_ in self._inputs if name not in inputs and name in (state or ())
        ]
        arrays = self._checked_inputs(inputs, elsewhere)
        return SentInputs(self, arrays, self._sent(arrays))

    def _sent(self, inputs: Arrays) -> Sent | None:
        """Has inputs copied to the device; None if the program reads none."""
        places = self._layout.inputs
        its = [
            (places[name] - self._layout.inputs_begin, inputs[name])
            for name in places.keys() & inputs
        ]
        return self.memory.ring.send(its, self._layout.input_bytes) if its else None

    def _begun(self, prepared: SentInputs, state: ResidentState) -> _Run:
        """Gives a run to the device."""
        binding = self._received(prepared, state)
        binding.start()
        self.memory.started(binding)
        state.changed(self._updated)
        run = _Run(self, binding)
        self.memory.begin(run)
        return run

    def received(self, state: ResidentState, feeds: Arrays) -> Binding:
        """The program with inputs, ready to be run action by action."""
        return self._received(self._prepared(feeds, state), state)

    def _received(self, prepared: SentInputs, state: ResidentState) -> Binding:
        """Has the inputs of a run moved to where its kernels read them."""
        if state not in self._fitting:
            self._need_fitting(state)
            self._fitting.add(state)
        memory = self.memory
        memory.begin(None)
        binding, sent = self.binding(state), prepared.sent
        if sent is not None:
            if not memory.ring.holds(sent):  # inputs that were prepared later took the slot
                sent = self._sent(prepared.inputs)
                assert sent is not None
            binding.receive(memory.ring, sent)
        for name in binding.layout.inputs.keys() - prepared.inputs.keys():
            its_memory, start = state.place(name)
            binding.move_input(name, its_memory, start, self.graph.inputs[name].type.nbytes)
        return binding

    def _on_arrays(self, prepared: SentInputs, state: Arrays) -> dict[str, np.ndarray]:
        """A run over a state that the caller keeps on the processor."""
        arrays = dict(zip(self.graph.states, self._checked_state(state), strict=True))
        staged = self._staging.of(arrays)
        results = self._begun(prepared, staged).results()
        for name in self._updated:
            np.copyto(arrays[name], staged[name])
        return results

    def _need_fitting(self, state: ResidentState) -> None:
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
            if name in self._updated and not state.may_change(name):
                raise DeclarationError(
                    f"state {name!r} cannot be written to",
                    fix="to run without updates, compile graph.with_outputs(outputs, {})",
                )
        for name, node in self.graph.inputs.items():
            if name in state and not state.fits(name, node.type.sizes, node.dtype):
                raise DeclarationError(f"the state on the device has no {name!r} of {node.type}")

    # ------------------------------------------------------------ results

    def results_of(self, binding: Binding) -> dict[str, np.ndarray]:
        """The outputs of the last run, when it is done; raises the error of a run that failed."""
        numbers, flags = binding.read()
        if flags.any():
            self._refuse(binding, numbers, flags)
        outputs = self.device_program.outputs
        return {name: binding.value(outputs[name], numbers) for name in self.graph.outputs}

    def _refuse(self, binding: Binding, numbers: np.ndarray, flags: np.ndarray) -> None:
        """The error of a run that met a bad index or a number that is not finite."""
        for node, refused in zip(self.device_program.refusals, flags[1:], strict=True):
            if refused == TWICE:
                raise DataError(
                    f"{node.operation.name}: two rows have one place",
                    node.origin,
                    "give each its own",
                )
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


class _Run(Started):
    """A run on the device. Its results are read when they are asked for, or before another run
    takes their memory; so is the error of a run that failed."""

    def __init__(self, program: DeviceProgramOfPlan, binding: Binding) -> None:
        super().__init__({})
        self._program, self._binding = program, binding
        self._problem: Exception | None = None
        self._done = False

    def read(self) -> None:
        if self._done:
            return
        self._done = True
        self._program.memory.was_read(self)
        try:
            self._results = self._program.results_of(self._binding)
        except (DataError, NonFiniteError) as problem:
            self._problem = problem

    def results(self) -> dict[str, np.ndarray]:
        with self._program.memory.lock:
            self.read()
        if self._problem is not None:
            raise self._problem
        return self._results


def _size_of(node: Node) -> Any:
    """What an index of the node has to be below."""
    if "size" in node.attributes:
        return node.attributes["size"]
    axis = node.attributes.get("axis", 0)
    return node.heads[0].shape[axis]
