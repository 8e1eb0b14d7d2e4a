"""What the binder asks of a device: memory, copies, kernels, products, captured launches.

cupy_device.py answers with CuPy; the tests have a device that is this processor
(tests/cpu_device.py), so what binds and runs a program on it is the code that runs on a GPU.

A device has two streams. All work is done by the first one, in the order of the calls. The second
one copies inputs to the device meanwhile, from memory of the processor that does not move; events
say what one stream waits for in the other. The host waits for the device in `fetch` alone, or where
it asks an event.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any, Protocol

import numpy as np

from graphgrad.backends.cupy.launches import Gemm, Product
from graphgrad.graph import Operation
from graphgrad.ranks import Communicator

Extra = Mapping[str, Any]
"""The arrays of an epilogue by name; None for what it has not."""
Space = tuple[int, int]
"""The address of memory and its size."""
Computation = Callable[..., object]
"""What computes an operation: array module, result, heads, attributes."""
Run = Callable[[], object]
"""Work on a device that is ready to be started, as often as one likes."""


class Memory(Protocol):
    """Bytes on a device, free when nobody holds them."""

    @property
    def address(self) -> int:
        """Where they begin, at a multiple of 256."""


class Event(Protocol):
    """A point of a stream: all that was given to it before."""

    def done(self) -> bool:
        """Whether the stream has passed it."""

    def wait(self) -> None:
        """Returns when the stream has passed it."""


class Module(Protocol):
    """Kernels on a device."""

    def prepared(self, kernel: str, grid: int, block: int, words: Sequence[int]) -> Run:
        """A launch of the kernel of this name."""


class Exchanges(Protocol):
    """What a rank's program exchanges with those of other ranks."""

    @property
    def computations(self) -> Mapping[Operation, Computation]:
        """How each collective is computed."""

    def settle(self, event: Event) -> None:
        """Returns when the stream has passed an event. Raises RanksError where another rank does
        not come to its exchanges."""


class Device(Protocol):
    """One device, with a stream for all work and one for copies of inputs."""

    @property
    def name(self) -> str:
        """What it is called."""

    @property
    def count(self) -> int:
        """How many devices this process sees."""

    @property
    def kind(self) -> str:
        """What it is and its driver: what was found on one device holds for all of a kind. Empty
        where nothing has to be found out."""

    @property
    def has_tensor_cores(self) -> bool:
        """Whether it has the instructions of tensor cores that kernels use (tensor_cores.cuh)."""

    @property
    def array_module(self) -> Any:
        """What computes an operation that has no kernel."""

    @property
    def captures_products(self) -> bool:
        """Whether a matrix product can be part of what is captured."""

    def free_bytes(self) -> int | None:
        """How much memory can be had; None where that is unknown."""

    def allocate(self, size: int) -> Memory:
        """Memory of its own. EnvironmentLimitError where there is too little."""

    def array(
        self,
        memory: Memory,
        offset: int,
        dtype: np.dtype,
        shape: tuple[int, ...],
        strides: tuple[int, ...],
    ) -> Any:
        """An array of the array module, over memory that is there."""

    def write(self, array: Any, values: np.ndarray) -> None:
        """Copies numbers to the device; `values` may change as soon as it returns."""

    def fetch(self, array: Any) -> np.ndarray:
        """The numbers of an array, when all work so far is done."""

    def load(self, kernels: Mapping[str, str], names: Mapping[str, Sequence[str]]) -> Module:
        """Compiles kernels; `names` are those of the nodes that each computes."""

    def takes(self, gemm: Gemm) -> bool:
        """Whether a product with this epilogue is one launch here."""

    def workspace_bytes(self, gemm: Gemm) -> int:
        """How much memory a product needs while it runs."""

    def product(
        self, action: Product, out: Any, heads: Sequence[Any], extra: Extra, workspace: Space
    ) -> Run:
        """A matrix product of these arrays; `extra` are those of its epilogue by name."""

    def active(self) -> AbstractContextManager[None]:
        """In its context, runs are started, or captured."""

    def captured(self, run: Run) -> Run:
        """All work that a function gives to the device, as one that is launched by one call.
        RuntimeError where something of it cannot be captured."""

    def pinned(self, size: int) -> np.ndarray:
        """Bytes of the processor which the second stream copies from while the host goes on."""

    def send(self, target: Memory, source: np.ndarray) -> None:
        """Copies pinned bytes to the begin of a memory, on the second stream."""

    def move(self, target: Memory, to: int, source: Memory, start: int, size: int) -> None:
        """Copies bytes within the device, as work."""

    def sent(self) -> Event:
        """The point of the second stream behind all copies so far."""

    def reached(self) -> Event:
        """The point of the first stream behind all work so far."""

    def work_after(self, event: Event) -> None:
        """What is given to the first stream from now on waits for an event."""

    def copies_after(self, event: Event) -> None:
        """What is given to the second stream from now on waits for an event."""

    def exchanges(self, host: Communicator) -> Exchanges:
        """Connects this device with those of the other ranks. EnvironmentLimitError where that
        cannot be."""

    def seconds_of(self, runs: Sequence[Run]) -> list[float]:
        """Runs these once, in order; the time that each takes on the device."""

    def wait(self) -> None:
        """Returns when all work and all copies so far are done."""
