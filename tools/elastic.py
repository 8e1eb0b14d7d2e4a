"""Starts a training again with one rank less when a rank is lost: `graphgrad train --elastic`.

The command becomes a supervisor, and the training a process of its own, as any rank can be killed,
the first one too. A socket joins the two. The training says by it which folder its run has; and its
end tells each that the other is gone: a training whose supervisor was killed saves and ends.

A training has lost a rank if it ends with the exit code for that, or by a signal that nobody sends
to ask for an end. Anything else (it is finished, interrupted, refused) is the end of the supervisor
too. As every start has one rank less, there is no endless circle.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from types import FrameType
from typing import Any

from graphgrad.errors import ConfigurationError
from graphgrad.tools.options import Option
from graphgrad.tools.ranks import RANKS_LOST
from graphgrad.tools.streams import tell

_ASKED = (signal.SIGINT, signal.SIGTERM, *((signal.SIGHUP,) if sys.platform != "win32" else ()))
"""The signals by which a training is asked to save and end."""
_LONGEST = 4096
"""Bytes of the longest path of a folder."""


def need_elastic(ranks: int, under_mpi: bool) -> None:
    """Raises ConfigurationError where no rank could be spared, or where MPI started the ranks."""
    if under_mpi:
        raise ConfigurationError(
            "mpiexec ends all ranks when one is lost, so --elastic cannot go on with the others",
            fix="start the ranks of one machine with --ranks N --elastic; after mpiexec has ended "
            "go on by mpiexec -n N graphgrad train --resume RUN",
        )
    if ranks < 2:
        raise ConfigurationError(
            f"--elastic goes on with the ranks that are left, and of {ranks} none is",
            fix="--ranks 2 --elastic, for example",
        )


def supervise(arguments: argparse.Namespace, options: Sequence[Option]) -> int:
    """Trains, with one rank less after each loss; the exit code of the last training."""
    words, ranks, folder = words_of(arguments, options), arguments.ranks, ""
    with _Passed() as passed:
        while True:
            code, told = passed.run(words)
            folder = told or folder
            lost = code == RANKS_LOST or (code < 0 and -code not in _ASKED)
            if not lost or passed.asked or not folder or ranks == 1:
                return code if code >= 0 else 128 - code
            how = "lost a rank" if code > 0 else f"was ended by {signal.Signals(-code).name}"
            ranks -= 1
            left = "one rank" if ranks == 1 else f"{ranks} ranks"
            tell(f"graphgrad train: the training {how}; it goes on with {left}")
            words = _further(arguments, folder, ranks)


def _further(arguments: argparse.Namespace, folder: str, ranks: int) -> list[str]:
    """The words of the command that goes on with a run."""
    words = ["--resume", folder, "--ranks", str(ranks), "--time-limit", str(arguments.time_limit)]
    words += ["--link-delay", str(arguments.link_delay)]
    if arguments.link_rate is not None:
        words += ["--link-rate", str(arguments.link_rate)]
    model = getattr(arguments, "model_file", None) or ""
    return [*words, "--model", model] if model else words


def words_of(arguments: argparse.Namespace, options: Sequence[Option]) -> list[str]:
    """The words of a command with these arguments, but for --elastic."""
    words: list[str] = []
    for option in options:
        name = option.names[0]
        key = option.keywords.get("dest", name.removeprefix("--").replace("-", "_"))
        value = getattr(arguments, key)
        if name == "--elastic" or value is None or value is False:
            continue
        if not name.startswith("--"):
            words.append(value)
        elif value is True:
            words.append(name)
        else:
            words += (f"{name}={each}" for each in (value if isinstance(value, list) else [value]))
    return words


class _Passed:
    """Runs one training after another, and passes on the signals that ask for an end."""

    def __init__(self) -> None:
        self.asked = False
        self._process: subprocess.Popen[bytes] | None = None
        self._previous: dict[signal.Signals, Callable[[int, FrameType | None], Any] | int] = {}

    def __enter__(self) -> _Passed:
        if threading.current_thread() is threading.main_thread():
            for number in _ASKED:
                handler = signal.getsignal(number)
                if handler is not None and handler is not signal.SIG_IGN:
                    self._previous[number] = handler
                    signal.signal(number, self._pass_on)
        return self

    def __exit__(self, *error: object) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)

    def _pass_on(self, number: int, frame: FrameType | None) -> None:
        self.asked = True
        if self._process is not None and self._process.poll() is None:
            self._process.send_signal(number)

    def run(self, words: Sequence[str]) -> tuple[int, str]:
        """The exit code of a training, less than 0 for a signal, and the folder of its run."""
        ours, theirs = socket.socketpair()
        with ours:
            with theirs:
                number = theirs.fileno()
                command = [sys.executable, "-m", "graphgrad.tools.main", "train", *words]
                self._process = subprocess.Popen(
                    [*command, "--supervisor", str(number)],
                    pass_fds=(number,),
                    start_new_session=True,  # the terminal's Ctrl-C comes by this process, once
                )
            if self.asked:  # the signal came before there was a process
                self._process.terminate()
            code = self._process.wait()
            ours.setblocking(False)
            told = b""
            with contextlib.suppress(OSError):
                told = ours.recv(_LONGEST)
        return code, os.fsdecode(told)


@contextlib.contextmanager
def supervised(number: int | None, folder: str) -> Iterator[None]:
    """Tells the supervisor the folder of the run, and ends the block when the supervisor is gone,
    as a signal would. Without a number there is no supervisor."""
    if number is None:
        yield
        return
    with socket.socket(fileno=number) as supervisor:
        os.set_inheritable(number, False)
        supervisor.sendall(os.fsencode(folder))
        ended = threading.Event()

        def watch() -> None:
            with contextlib.suppress(OSError):
                supervisor.recv(1)
            if not ended.is_set():
                os.kill(os.getpid(), signal.SIGTERM)

        threading.Thread(target=watch, daemon=True).start()
        try:
            yield
        finally:
            ended.set()
            with contextlib.suppress(OSError):
                supervisor.shutdown(socket.SHUT_RDWR)
