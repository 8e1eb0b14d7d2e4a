"""The training step in graphgrad; the variant says what is not as by default.

It is made of words between colons: the backend, the precision, and the name of a pass that is left
out. "cupy:bf16:fuse" is the step on a device, in bfloat16, without fusion.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from threadpoolctl import threadpool_info

import graphgrad
from graphgrad.backends.cupy.launches import Product
from graphgrad.backends.cupy.observation import action_seconds
from graphgrad.backends.cupy.program import DeviceProgramOfPlan
from graphgrad.compile import Compiled, compile
from graphgrad.graph import Graph, initial_state, input
from graphgrad.models import BUILTIN
from graphgrad.ops import matmul
from graphgrad.ops import max as reduced
from graphgrad.options import BACKENDS, PRECISIONS
from graphgrad.training.accumulation import LOSS_OF_STEP
from graphgrad.training.decay import step_that_decays_matrices
from graphgrad.training.optimisers import training_step
from graphgrad.training.settings import TrainingSettings, with_values

if TYPE_CHECKING:
    from graphgrad.performance.bench_worker import RecipeWorkload, Workload


PEAK = 8192
"""The size of the matrices whose product gives the peak rate of a device."""


@dataclasses.dataclass(frozen=True)
class Variant:
    """How the step is compiled."""

    backend: str = "numpy"
    precision: str = "fp32"
    without: tuple[str, ...] = ()

    @classmethod
    def read(cls, text: str) -> Variant:
        """The variant of its words."""
        words = [word for word in text.split(":") if word]
        backend = next((word for word in words if word in BACKENDS), "numpy")
        precision = next((word for word in words if word in PRECISIONS), "fp32")
        rest = tuple(word for word in words if word not in (*BACKENDS, *PRECISIONS))
        return cls(backend, precision, rest)

    def compiled(self, graph: Graph, guards: Sequence[str] = ()) -> Compiled:
        """The graph, compiled so."""
        return compile(
            graph,
            guards=guards,
            fuse=True,
            without=self.without,
            backend=self.backend,
            precision=self.precision,
        )


def settings_of(workload: Workload, dropout: float, precision: str = "fp32") -> TrainingSettings:
    """The model's settings for this workload."""
    values = {
        **workload.settings(dropout),
        "seed": workload.seed,
        "batch_size": workload.batch,
        "learning_rate": workload.learning_rate,
        "schedule": "constant",
        "warmup": 0,
        "optimiser": "adam",
        "beta1": workload.beta1,
        "beta2": workload.beta2,
        "epsilon": workload.epsilon,
        "clip_norm": 0.0,
        "precision": precision,
    }
    return with_values(BUILTIN[workload.model].Settings(), values)


def sizes_of(workload: Workload) -> dict[str, int]:
    """The sizes of the named dimensions of the step."""
    if workload.model == "gpt":
        return {"batch": workload.batch, "position": workload.target}
    return {"batch": workload.batch, "source": workload.source, "target": workload.target}


def training_graph(workload: Workload, dropout: float, precision: str = "fp32") -> Graph:
    """The graph of a step: the loss and all updates, without outputs that peers do not compute."""
    settings = settings_of(workload, dropout, precision)
    sides = 1 if workload.model == "gpt" else 2
    graph = BUILTIN[workload.model].training_graph(settings, *[workload.vocabulary] * sides)
    graph = training_step(graph.with_outputs({"loss": graph.outputs["loss"]}), settings)
    return graph.with_outputs({"loss": graph.outputs["loss"]})


def facts(variant: str, threads: int) -> dict[str, Any]:
    """The version and the BLAS, with the number of threads that the BLAS uses."""
    blas = [each for each in threadpool_info() if each["user_api"] == "blas"]
    used = max((each["num_threads"] for each in blas), default=threads)
    names = ", ".join(
        sorted({f"{each['internal_api']} {each['version'] or ''}".strip() for each in blas})
    )
    return {
        "version": graphgrad.__version__,
        "threads": used,
        "detail": f"NumPy {np.__version__}, {names or 'another BLAS'}",
    }


def peak_gflops(variant: str) -> float | None:
    """The best rate of a matrix product on the device, of the same numbers as the step's; None for
    the processor."""
    read = Variant.read(variant)
    if read.backend != "cupy":
        return None
    left, right = input("left", (PEAK, PEAK)), input("right", (PEAK, PEAK))
    product = Graph({"sum": reduced(matmul(left, right))})
    program = compile(product, backend="cupy", precision=read.precision).program()
    assert isinstance(program, DeviceProgramOfPlan)
    ones = np.ones((PEAK, PEAK), np.float32)
    seconds, _ = action_seconds(program, {}, {"left": ones, "right": ones}, 5)
    actions = zip(program.device_program.actions, seconds, strict=True)
    return max(2 * PEAK**3 / its / 1e9 for action, its in actions if isinstance(action, Product))


def build(
    variant: str,
    workload: Workload,
    parameters: dict[str, np.ndarray],
    batch: dict[str, np.ndarray],
    dropout: float,
) -> Callable[[], float]:
    """Declares, derives, optimises, plans and lowers the step."""
    read = Variant.read(variant)
    graph = training_graph(workload, dropout, read.precision)
    compiled = read.compiled(graph)
    program = compiled.program(**sizes_of(workload))
    state = compiled.on_device(initial_state(graph, workload.seed, parameters))
    return lambda: float(program(state, **batch)["loss"])


def recipe_graph(recipe: RecipeWorkload, drops: bool) -> Graph:
    """The graph of a recipe's step: the loss of an update and all updates."""
    settings = with_values(BUILTIN[recipe.model].Settings(), recipe.settings)
    if not drops:
        rates = ("dropout", "attention_dropout", "activation_dropout")
        none = {name: 0.0 for name in rates if hasattr(settings, name)}
        settings = dataclasses.replace(settings, **none)
    declare = BUILTIN[recipe.model].training_graph
    graph = declare(settings, *recipe.vocabularies)
    graph = graph.with_outputs({"loss": graph.outputs["loss"]})
    step = training_step if recipe.model == "transformer" else step_that_decays_matrices
    return step(graph, settings)


def build_recipe(
    variant: str,
    recipe: RecipeWorkload,
    parameters: dict[str, np.ndarray],
    batches: dict[str, np.ndarray],
    drops: float,
) -> Callable[[], float]:
    """The step of the run; a program is compiled when a shape is met for the first time."""
    graph = recipe_graph(recipe, drops > 0)
    compiled = Variant.read(variant).compiled(graph, ("loss", "gradient_norm"))
    batches.pop("rates")
    feeds: dict[int, dict[str, np.ndarray]] = {}
    for name, array in batches.items():
        number, _, side = name.partition(".")
        feeds.setdefault(int(number), {})[side] = array
    seed = int(recipe.settings["seed"])
    state = compiled.on_device(initial_state(graph, seed, parameters))
    gathered, done = int(recipe.settings["accumulate"]), 0

    def step() -> float:
        nonlocal done
        results = {}
        for part in range(gathered):
            results = compiled(state, **feeds[done % recipe.updates * gathered + part])
        done += 1
        return float(results["loss" if gathered == 1 else LOSS_OF_STEP])

    return step
