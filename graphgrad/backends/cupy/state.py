"""The state of a graph on a device: it stays there from step to step.

It is a mapping as any state is. An array that is asked for is fetched, once until a step changes
it; it cannot be written to. All programs of a device read the same arrays: those of a training
step, of its evaluation and of decoding.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from graphgrad.backends.cupy.device import Device, Memory
from graphgrad.plan.arena import aligned


class ResidentState(Mapping[str, np.ndarray]):
    """Arrays on one device, by name."""

    device: Device

    @property
    def key(self) -> object:
        """What programs are bound to: states with one key have the same addresses."""
        return self

    @property
    def read_only(self) -> ResidentState:
        """The same arrays, for programs that change none of them."""
        return ReadOnlyState(self)

    @abstractmethod
    def ghost(self, name: str) -> np.ndarray:
        """An array of the shape and dtype of this name's, without its numbers."""

    @abstractmethod
    def place(self, name: str) -> tuple[Memory, int]:
        """The memory of an array, and how many bytes into it the array begins."""

    @abstractmethod
    def fits(self, name: str, shape: tuple[int, ...], dtype: np.dtype) -> bool:
        """Whether there is an array of this name, and it is such a one."""

    @abstractmethod
    def changed(self, names: Iterable[str]) -> None:
        """Forgets what was fetched of these names."""

    @abstractmethod
    def may_change(self, name: str) -> bool:
        """Whether a program may write to the array of this name."""

    __hash__ = object.__hash__  # each is memory of its own

    def __eq__(self, other: object) -> bool:
        return self is other

    def __repr__(self) -> str:
        return f"<state of {len(self)} arrays on {self.device.name}>"


class DeviceState(ResidentState):
    """Arrays by name, in memory of their own."""

    def __init__(self, device: Device, values: Mapping[str, np.ndarray]) -> None:
        self.device = device
        self.offsets: dict[str, int] = {}
        size = 0
        for name, value in values.items():
            self.offsets[name] = size
            size += aligned(value.nbytes)
        self.memory = device.allocate(max(size, 1))
        self._arrays = {name: self._placed(name, value) for name, value in values.items()}
        self._fetched: dict[str, np.ndarray] = {}
        self.write(values)

    def _placed(self, name: str, value: np.ndarray) -> Any:
        strides = np.empty(value.shape, value.dtype).strides
        offset = self.offsets[name]
        return self.device.array(self.memory, offset, value.dtype, value.shape, strides)

    def write(self, values: Mapping[str, np.ndarray]) -> None:
        """Takes over these numbers, of some names or all."""
        for name, value in values.items():
            self.device.write(self._arrays[name], value)
        self.changed(values)

    def ghost(self, name: str) -> np.ndarray:
        array = self._arrays[name]
        return np.broadcast_to(np.zeros((), array.dtype), array.shape)

    def place(self, name: str) -> tuple[Memory, int]:
        return self.memory, self.offsets[name]

    def changed(self, names: Iterable[str]) -> None:
        for name in names:
            self._fetched.pop(name, None)

    def may_change(self, name: str) -> bool:
        return True

    def __getitem__(self, name: str) -> np.ndarray:
        if name not in self._fetched:
            value = self.device.fetch(self._arrays[name])
            value.flags.writeable = False
            self._fetched[name] = value
        return self._fetched[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._arrays)

    def __len__(self) -> int:
        return len(self._arrays)

    def fits(self, name: str, shape: tuple[int, ...], dtype: np.dtype) -> bool:
        array = self._arrays.get(name)
        return array is not None and (tuple(array.shape), array.dtype) == (shape, dtype)


class ReadOnlyState(ResidentState):
    """The arrays of a state, which no program may change by this name of them."""

    def __init__(self, state: ResidentState) -> None:
        self.state, self.device = state, state.device

    @property
    def key(self) -> object:
        return self.state.key

    @property
    def read_only(self) -> ResidentState:
        return self

    def ghost(self, name: str) -> np.ndarray:
        return self.state.ghost(name)

    def place(self, name: str) -> tuple[Memory, int]:
        return self.state.place(name)

    def fits(self, name: str, shape: tuple[int, ...], dtype: np.dtype) -> bool:
        return self.state.fits(name, shape, dtype)

    def changed(self, names: Iterable[str]) -> None:
        self.state.changed(names)

    def may_change(self, name: str) -> bool:
        return False

    def __getitem__(self, name: str) -> np.ndarray:
        return self.state[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self.state)

    def __len__(self) -> int:
        return len(self.state)


class JoinedState(ResidentState):
    """Several states of one device as one: parameters, and what a decoder keeps of its past."""

    def __init__(self, parts: Sequence[ResidentState]) -> None:
        self.parts, self.device = tuple(parts), parts[0].device
        self._of = {name: part for part in self.parts for name in part}

    def ghost(self, name: str) -> np.ndarray:
        return self._of[name].ghost(name)

    def place(self, name: str) -> tuple[Memory, int]:
        return self._of[name].place(name)

    def fits(self, name: str, shape: tuple[int, ...], dtype: np.dtype) -> bool:
        return name in self._of and self._of[name].fits(name, shape, dtype)

    def changed(self, names: Iterable[str]) -> None:
        for name in names:
            self._of[name].changed([name])

    def may_change(self, name: str) -> bool:
        return self._of[name].may_change(name)

    def __getitem__(self, name: str) -> np.ndarray:
        return self._of[name][name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._of)

    def __len__(self) -> int:
        return len(self._of)
