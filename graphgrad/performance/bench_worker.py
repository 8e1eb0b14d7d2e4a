"""The process that a bench times one engine in: reads requests, answers with one line of JSON each.

An engine is a file with two functions, loaded by its path:

    facts(variant, threads) -> dict             its `version`; how many `threads` it really uses
    build(variant, workload, parameters, batch, dropout) -> step
                                                step() trains on the batch once: the loss before it

So a library is timed and its memory is measured with nothing of graphgrad in its process: this file
imports nothing of the package and is run as a script, and every engine is asked by the same code.

What a library prints goes to the standard error, so that it cannot get between the answers.
"""

from __future__ import annotations

import importlib.util
import json
import os
import sys
import time
import traceback
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
from safetensors.numpy import load_file

try:
    import resource
except ImportError:  # Windows
    resource = None  # type: ignore[assignment]

Arrays = dict[str, np.ndarray]
Step = Callable[[], float]

PEAK_SIZE = 2048
"""The peak is measured by the float32 product of two matrices of this size."""
PEAK_SECONDS = 0.5
"""How long it is measured, at least three times."""
CHECK, TIMING = "check.", "timing."
"""What the names of the two batches in the file of the arrays start with."""
PARAMETER = "parameter."
"""What the names of the parameters in that file start with."""


@dataclass(frozen=True)
class Workload:
    """A training step: sizes of the encoder–decoder and of the batch, and what is done with it.

    The model is post-norm, the optimiser Adam with β₂ = 0.98 and ε = 1e-8 at a constant rate,
    without clipping, all in float32. `source` and `target` are lengths in tokens.
    """

    width: int
    inner: int
    heads: int
    layers: int
    vocabulary: int
    source: int
    target: int
    batch: int = 32
    dropout: float = 0.1
    label_smoothing: float = 0.1
    learning_rate: float = 1e-3
    beta1: float = 0.9
    beta2: float = 0.98
    epsilon: float = 1e-8
    seed: int = 0

    @property
    def tokens(self) -> int:
        """Target tokens of a batch."""
        return self.batch * self.target

    def to_dict(self) -> dict[str, Any]:
        """The fields as JSON's own types."""
        return asdict(self)


REQUESTS = ("prepare", "check", "first", "steps", "peak")


class Session:
    """One engine with its workload; the methods that `REQUESTS` names are what can be asked."""

    def __init__(self, engine: ModuleType, variant: str) -> None:
        self.engine, self.variant = engine, variant
        self.step: Step | None = None

    def prepare(self, workload: Mapping[str, Any], arrays: str, threads: int) -> dict[str, Any]:
        """Loads weights and batches; the facts of the engine."""
        self.workload = Workload(**workload)
        self.arrays: Arrays = load_file(arrays)
        return dict(self.engine.facts(self.variant, threads))

    def check(self, steps: int) -> dict[str, Any]:
        """The losses of the first steps without dropout, on the batch with padding."""
        step = self._built(CHECK, 0.0)
        return {"losses": [step() for _ in range(steps)]}

    def first(self) -> dict[str, Any]:
        """Builds for timing and runs one step: the seconds of both together."""
        started = time.perf_counter()
        self.step = self._built(TIMING, self.workload.dropout)
        self.arrays = {}  # the engine has its own; the memory that is measured is the step's
        loss = self.step()
        return {"seconds": time.perf_counter() - started, "loss": loss}

    def steps(self, count: int) -> dict[str, Any]:
        """Seconds of each of the next steps, the last loss, and the most memory held so far."""
        assert self.step is not None, "`first` comes before `steps`"
        seconds, loss = [], 0.0
        for _ in range(count):
            started = time.perf_counter()
            loss = self.step()
            seconds.append(time.perf_counter() - started)
        return {"seconds": seconds, "loss": loss, "peak_bytes": peak_bytes()}

    def peak(self) -> dict[str, Any]:
        """The best GFLOP/s of NumPy's matrix product in this process."""
        return {"gflops": matrix_product_peak()}

    def _built(self, batch: str, dropout: float) -> Step:
        parameters, inputs = (
            {
                name.removeprefix(prefix): array
                for name, array in self.arrays.items()
                if name.startswith(prefix)
            }
            for prefix in (PARAMETER, batch)
        )
        step: Step = self.engine.build(self.variant, self.workload, parameters, inputs, dropout)
        return step


def matrix_product_peak(size: int = PEAK_SIZE) -> float:
    """GFLOP/s of the fastest of some float32 products [size, size], written into one array."""
    left, right, out = np.random.default_rng(0).random((3, size, size), dtype=np.float32)
    seconds: list[float] = []
    while sum(seconds) < PEAK_SECONDS or len(seconds) < 3:
        started = time.perf_counter()
        np.matmul(left, right, out=out)
        seconds.append(time.perf_counter() - started)
    return 2 * size**3 / min(seconds) / 1e9


def peak_bytes() -> int:
    """The most memory that this process has held; 0 where the system does not say.

    Linux counts in the resource usage what the parent held when it started the process, and in
    VmHWM it does not.
    """
    try:
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    except OSError:
        pass
    if resource is None:
        return 0
    held = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return held if sys.platform == "darwin" else held * 1024


def load_engine(path: str) -> ModuleType:
    """The engine declared by the file."""
    spec = importlib.util.spec_from_file_location(f"bench_engine_{Path(path).stem}", path)
    assert spec is not None and spec.loader is not None, path
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


def serve(path: str, variant: str) -> int:
    """Answers requests until there are no more, or one fails."""
    with os.fdopen(os.dup(sys.stdout.fileno()), "w") as answers:
        os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
        session: Session | None = None
        for line in sys.stdin:
            request = json.loads(line)
            try:
                session = session or Session(load_engine(path), variant)
                asked = REQUESTS[REQUESTS.index(request.pop("request"))]
                answer = getattr(session, asked)(**request)
            except Exception as problem:  # whatever a library raises is the answer
                traceback.print_exc()
                answer = {"failure": f"{type(problem).__name__}: {problem}"}
            print(json.dumps(answer), file=answers, flush=True)
            if "failure" in answer:
                return 1
    return 0


if __name__ == "__main__":
    sys.exit(serve(*sys.argv[1:3]))
