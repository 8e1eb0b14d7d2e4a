"""The training step in graphgrad; the variant is the name of a pass that is left out.

In front of it, with a colon, the backend: "cupy:fuse", or "cupy:" for the step with all passes.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
from threadpoolctl import threadpool_info

import graphgrad
from graphgrad.backends.cupy.launches import Product
from graphgrad.backends.cupy.observation import action_seconds
from graphgrad.backends.cupy.program import DeviceProgramOfPlan
from graphgrad.compile import compile
from graphgrad.graph import Graph, initial_state, input
from graphgrad.models import BUILTIN, transformer
from graphgrad.ops import matmul
from graphgrad.ops import max as reduced
from graphgrad.training.accumulation import LOSS_OF_STEP
from graphgrad.training.decay import step_that_decays_matrices
from graphgrad.training.optimisers import training_step
from graphgrad.training.settings import with_values

if TYPE_CHECKING:
    from graphgrad.performance.bench_worker import RecipeWorkload, Workload


PEAK = 8192
"""The size of the matrices whose product gives the peak rate of a device."""


def settings_of(workload: Workload, dropout: float) -> transformer.Settings:
    """The Transformer's settings for this workload."""
    return transformer.Settings(
        seed=workload.seed,
        batch_size=workload.batch,
        layers=workload.layers,
        width=workload.width,
        heads=workload.heads,
        inner=workload.inner,
        dropout=dropout,
        label_smoothing=workload.label_smoothing,
        learning_rate=workload.learning_rate,
        schedule="constant",
        warmup=0,
        optimiser="adam",
        beta1=workload.beta1,
        beta2=workload.beta2,
        epsilon=workload.epsilon,
        clip_norm=0.0,
    )


def forward_graph(workload: Workload, dropout: float) -> Graph:
    """The graph of the loss."""
    settings = settings_of(workload, dropout)
    graph = transformer.training_graph(settings, workload.vocabulary, workload.vocabulary)
    return graph.with_outputs({"loss": graph.outputs["loss"]})


def training_graph(workload: Workload, dropout: float) -> Graph:
    """The graph of a step: the loss and all updates, without outputs that peers do not compute."""
    graph = training_step(forward_graph(workload, dropout), settings_of(workload, dropout))
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
    if not variant.startswith("cupy:"):
        return None
    left, right = input("left", (PEAK, PEAK)), input("right", (PEAK, PEAK))
    product = Graph({"sum": reduced(matmul(left, right))})
    program = compile(product, backend="cupy").program()
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
    graph = training_graph(workload, dropout)
    backend, _, left_out = variant.rpartition(":")
    without = [left_out] if left_out else []
    compiled = compile(graph, fuse=True, without=without, backend=backend or "numpy")
    program = compiled.program(batch=workload.batch, source=workload.source, target=workload.target)
    kept = {name: array.copy() for name, array in parameters.items()}
    state = compiled.on_device(initial_state(graph, workload.seed, kept))
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
    compiled = compile(
        graph,
        guards=("loss", "gradient_norm"),
        fuse=True,
        without=[variant] if variant else [],
    )
    batches.pop("rates")
    feeds: dict[int, dict[str, np.ndarray]] = {}
    for name, array in batches.items():
        number, _, side = name.partition(".")
        feeds.setdefault(int(number), {})[side] = array
    kept = {name: array.copy() for name, array in parameters.items()}
    state = initial_state(graph, int(recipe.settings["seed"]), kept)
    gathered, done = int(recipe.settings["accumulate"]), 0

    def step() -> float:
        nonlocal done
        results = {}
        for part in range(gathered):
            results = compiled(state, **feeds[done % recipe.updates * gathered + part])
        done += 1
        return float(results["loss" if gathered == 1 else LOSS_OF_STEP])

    return step
