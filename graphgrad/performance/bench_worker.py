"""Runs one contender of a bench in a process: answers each request with one line of JSON.

A contender is a file with these functions, loaded by its path:

    facts(variant, threads) -> dict             its `version`; how many `threads` it really uses
    peak_gflops(variant) -> float | None        the rate of a large product in its precision;
                                                without it that of NumPy in float32 is measured
    build(variant, workload, parameters, batch, dropout) -> step
                                                step() trains on the batch once: the loss before it
    build_recipe(variant, recipe, parameters, batches, drops) -> step
                                                step() makes the next update of a recipe's run; only
                                                for `bench --recipe`

This file imports nothing of the package and is run as a script, so a library is timed, and its
memory is measured, without graphgrad in its process. The code is the same for every contender.

The output of a library is redirected to standard error, so that it does not mix with the answers.
"""

from __future__ import annotations

import importlib.util
import json
import os
import sys
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
from safetensors.numpy import load_file

Arrays = dict[str, np.ndarray]
Step = Callable[[], float]

PEAK_SIZE = 2048
"""The peak is measured by the float32 product of two matrices of this size."""
PEAK_SECONDS = 0.5
"""The time of that measurement, which is repeated at least three times."""
CHECK, TIMING = "check.", "timing."
"""Prefixes of the names of the two batches in the file of the arrays."""
PARAMETER = "parameter."
"""The prefix of the names of the parameters in that file."""


@dataclass(frozen=True)
class Workload:
    """A training step: the model, its sizes and those of the batch, and its settings.

    `transformer` is the encoder–decoder, with norms behind each part; `source` and `target` are
    lengths in tokens. `gpt` is the decoder alone: `target` is the length of its texts, `source` 0,
    and `context` counts the positions that it has learned. The optimiser is Adam with β₂ = 0.98 and
    ε = 1e-8 at a constant rate, without clipping; parameters and moments are float32.
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
    model: str = "transformer"
    context: int = 0

    @property
    def tokens(self) -> int:
        """Target tokens of a batch."""
        return self.batch * self.target

    def settings(self, dropout: float) -> dict[str, Any]:
        """The settings of the model, by the names that recipes have for them."""
        common = {
            "width": self.width,
            "inner": self.inner,
            "heads": self.heads,
            "layers": self.layers,
            "bias": True,
            "dropout": dropout,
        }
        if self.model == "gpt":
            own = {"context": self.context, "activation": "gelu_tanh", "tie": True}
            return {**common, **own, "positions": "learned", "norm": "layer"}
        return {
            **common,
            "source": "",
            "norm": "post",
            "positions": "sinusoidal",
            "activation": "relu",
            "label_smoothing": self.label_smoothing,
            "share_embeddings": False,
            "tie": False,
            "output_bias": True,
        }

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return asdict(self)


@dataclass(frozen=True)
class RecipeWorkload:
    """The first updates of a recipe's run: its model and settings, and the batches themselves.

    The arrays of batch n are named `n.source` and so on; the rates of the updates are `rates`.
    After the last update the first one's batches come again.
    """

    recipe: str
    model: str
    settings: Mapping[str, Any]
    vocabularies: Sequence[int]
    """How many tokens there are, in the source and in the target, or in the text."""
    updates: int
    tokens: int
    """Target tokens of all updates, padding not counted."""

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return asdict(self)


REQUESTS = ("prepare", "check", "first", "steps", "peak")


class Session:
    """One contender with its workload; `REQUESTS` are the methods that can be requested."""

    def __init__(self, contender: ModuleType, variant: str) -> None:
        self.contender, self.variant = contender, variant
        self.step: Step | None = None

    def prepare(self, workload: Mapping[str, Any], arrays: str, threads: int) -> dict[str, Any]:
        """Loads weights and batches; returns the facts about the contender."""
        kind = RecipeWorkload if "recipe" in workload else Workload
        self.workload: Workload | RecipeWorkload = kind(**workload)
        self.arrays: Arrays = load_file(arrays)
        return dict(self.contender.facts(self.variant, threads))

    def check(self, steps: int) -> dict[str, Any]:
        """The losses of the first steps without dropout, on the batch with padding."""
        step = self._built(CHECK, 0.0)
        return {"losses": [step() for _ in range(steps)]}

    def first(self) -> dict[str, Any]:
        """Builds for timing and runs one step; returns the seconds of both together."""
        started = time.perf_counter()
        self.step = self._built(TIMING, getattr(self.workload, "dropout", 1.0))
        self.arrays = {}  # the contender has copies; only the memory of the step is measured
        loss = self.step()
        return {"seconds": time.perf_counter() - started, "loss": loss}

    def steps(self, count: int) -> dict[str, Any]:
        """Seconds of each of the next steps, the processor time of all of them and all threads,
        the last loss, and the peak of memory so far."""
        assert self.step is not None, "`first` comes before `steps`"
        seconds, loss, before = [], 0.0, time.process_time()
        for _ in range(count):
            started = time.perf_counter()
            loss = self.step()
            seconds.append(time.perf_counter() - started)
        return {
            "seconds": seconds,
            "processor_seconds": time.process_time() - before,
            "loss": loss,
            "peak_bytes": peak_bytes(),
        }

    def peak(self) -> dict[str, Any]:
        """The best GFLOP/s of a matrix product: the contender's, or NumPy's in this process."""
        own = getattr(self.contender, "peak_gflops", lambda variant: None)(self.variant)
        return {"gflops": matrix_product_peak() if own is None else own}

    def _built(self, batch: str, dropout: float) -> Step:
        parameters, inputs = (
            {
                name.removeprefix(prefix): array
                for name, array in self.arrays.items()
                if name.startswith(prefix)
            }
            for prefix in (PARAMETER, batch)
        )
        recipe = isinstance(self.workload, RecipeWorkload)
        build = self.contender.build_recipe if recipe else self.contender.build
        step: Step = build(self.variant, self.workload, parameters, inputs, dropout)
        return step


def matrix_product_peak(size: int = PEAK_SIZE) -> float:
    """GFLOP/s of the fastest of several float32 products [size, size], written into one array."""
    left, right, out = np.random.default_rng(0).random((3, size, size), dtype=np.float32)
    seconds: list[float] = []
    while sum(seconds) < PEAK_SECONDS or len(seconds) < 3:
        started = time.perf_counter()
        np.matmul(left, right, out=out)
        seconds.append(time.perf_counter() - started)
    return 2 * size**3 / min(seconds) / 1e9


def peak_bytes() -> int:
    """The most memory that this process has had; 0 if the system does not report it.

    On Linux, VmHWM is read: the resource usage would include the memory of the parent process.
    """
    try:
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    except OSError:
        pass
    if importlib.util.find_spec("resource") is None:  # Windows
        return 0
    resource = importlib.import_module("resource")
    size: int = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return size if sys.platform == "darwin" else size * 1024


def load_contender(path: str) -> ModuleType:
    """Loads the file that declares a contender."""
    spec = importlib.util.spec_from_file_location(f"bench_contender_{Path(path).stem}", path)
    assert spec is not None and spec.loader is not None, path
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


def serve(path: str, variant: str) -> int:
    """Answers requests until the input ends or a request fails."""
    with os.fdopen(os.dup(sys.stdout.fileno()), "w") as answers:
        os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
        session: Session | None = None
        for line in sys.stdin:
            request = json.loads(line)
            try:
                session = session or Session(load_contender(path), variant)
                method = REQUESTS[REQUESTS.index(request.pop("request"))]
                answer = getattr(session, method)(**request)
            except Exception as problem:  # any error of a library is an answer
                traceback.print_exc()
                answer = {"failure": f"{type(problem).__name__}: {problem}"}
            print(json.dumps(answer), file=answers, flush=True)
            if "failure" in answer:
                return 1
    return 0


if __name__ == "__main__":
    sys.exit(serve(*sys.argv[1:3]))
