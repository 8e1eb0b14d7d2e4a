"""Runs the launches of a program once more under sanitisers, in a process of their own.

Each address that a launch is given points into memory of its own, which has as many bytes as the
program says that the kernel may reach: one byte further, or an address that is not aligned, ends
the process with a message.
"""

from __future__ import annotations

import subprocess
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from cpu_device import Bound, compiled, source_of

from graphgrad.backends.cupy.launches import Launch, Pointer

FLAGS = (
    "-fsanitize=address,undefined",
    "-fno-sanitize-recover=all",
    "-fsanitize-sections=cuda_shared",
    "-g1",
    "-O0",
)
Block = tuple[Any, int, int]
"""Memory, first byte, end."""


def sanitised_program(kernels: Mapping[str, str]) -> Path:
    """The program of these kernels under sanitisers."""
    source = source_of(kernels) + '#include "cuda_cpu_main.h"\n'
    return compiled(source, *FLAGS, shared=False)


class Recorded(Bound):
    """A program, not joined, that runs as ever and records its launches with what they found and
    left."""

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.launches = 0
        self.input: list[bytes] = []
        self.wanted: list[bytes] = []

    def act(self, action: Any, seed: int) -> None:
        if not isinstance(action, Launch):
            super().act(action, seed)
            return
        blocks = _blocks(word for word in action.words if isinstance(word, Pointer))
        for word in action.words:
            self.word(word)  # so that all tables are there
        self.launches += 1
        self._record(action, blocks, seed)
        super().act(action, seed)
        self.wanted += [self._content(block) for block in blocks]

    def _record(self, action: Launch, blocks: list[Block], seed: int) -> None:
        name = action.kernel.encode()
        self.input += [_word(len(name)), _filled(name)]
        self.input += map(_word, (action.grid, action.block, seed, len(blocks)))
        for block in blocks:
            content = self._content(block)
            self.input += [_word(len(content)), _filled(content)]
        self.input.append(_word(len(action.words)))
        for word in action.words:
            place, value = (-1, word) if not isinstance(word, Pointer) else _within(word, blocks)
            self.input += [_word(place), _word(value)]

    def _content(self, block: Block) -> bytes:
        memory, start, end = block
        return self.memory[memory].view(np.uint8)[start:end].tobytes()


def run_sanitised(program: Path, recorded: Recorded, folder: Path) -> bytes:
    """What the launches left in memory; AssertionError with the sanitiser's words."""
    given, left = folder / "launches", folder / "left"
    given.write_bytes(_word(recorded.launches) + b"".join(recorded.input))
    done = subprocess.run([str(program), str(given), str(left)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-4000:]
    return left.read_bytes()


def _blocks(pointers: Iterable[Pointer]) -> list[Block]:
    """The stretches of memory that pointers reach, those that overlap as one."""
    found: list[Block] = []
    for pointer in pointers:
        block = (pointer.memory, pointer.offset, pointer.offset + pointer.reach)
        for other in [each for each in found if each[0] == block[0]]:
            if other[1] < block[2] and block[1] < other[2]:
                found.remove(other)
                block = (block[0], min(block[1], other[1]), max(block[2], other[2]))
        found.append(block)
    return found


def _within(pointer: Pointer, blocks: list[Block]) -> tuple[int, int]:
    for place, (memory, start, end) in enumerate(blocks):
        inside = start <= pointer.offset and pointer.offset + pointer.reach <= end
        if memory == pointer.memory and inside:
            return place, pointer.offset - start
    raise AssertionError(pointer)


def _word(number: int) -> bytes:
    return int(number).to_bytes(8, "little", signed=number < 0)


def _filled(content: bytes) -> bytes:
    return content + bytes(-len(content) % 8)
