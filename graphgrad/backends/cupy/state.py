"""The state of a graph on a device: it stays there from step to step.

It is a mapping as any state is. An array that is asked for is fetched, once until a step changes
it; it cannot be written to.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import numpy as np

from graphgrad.backends.cupy.device import Device
from graphgrad.plan.arena import aligned


class DeviceState(Mapping[str, np.ndarray]):
    """Arrays by name, in memory of one device."""

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

    def changed(self, names: Iterable[str]) -> None:
        """Forgets what was fetched of these names."""
        for name in names:
            self._fetched.pop(name, None)

    __hash__ = object.__hash__  # each is memory of its own

    def __eq__(self, other: object) -> bool:
        return self is other

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
        """Whether there is an array of this name, and it is such a one."""
        array = self._arrays.get(name)
        return array is not None and (tuple(array.shape), array.dtype) == (shape, dtype)

    def __repr__(self) -> str:
        return f"<state of {len(self)} arrays on {self.device.name}>"
