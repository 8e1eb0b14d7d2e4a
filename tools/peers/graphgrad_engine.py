"""graphgrad in the bench; the variant is the name of a pass that is left out."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
from threadpoolctl import threadpool_info

import graphgrad
from graphgrad.compile import compile
from graphgrad.graph import Graph, initial_state
from graphgrad.models import transformer
from graphgrad.training.optimisers import training_step

if TYPE_CHECKING:
    from graphgrad.performance.bench_worker import Workload


def settings_of(workload: Workload, dropout: float) -> transformer.Settings:
    """The Transformer's settings that mean this workload."""
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
    """The graph of a step: the loss and all updates, and nothing that a peer does not compute."""
    graph = training_step(forward_graph(workload, dropout), settings_of(workload, dropout))
    return graph.with_outputs({"loss": graph.outputs["loss"]})


def facts(variant: str, threads: int) -> dict[str, Any]:
    """Version and BLAS; the threads are those that the BLAS chose."""
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


def build(
    variant: str,
    workload: Workload,
    parameters: dict[str, np.ndarray],
    batch: dict[str, np.ndarray],
    dropout: float,
) -> Callable[[], float]:
    """Declares, derives, optimises, plans and lowers the step."""
    graph = training_graph(workload, dropout)
    compiled = compile(graph, fuse=True, without=[variant] if variant else [])
    program = compiled.program(batch=workload.batch, source=workload.source, target=workload.target)
    kept = {name: array.copy() for name, array in parameters.items()}
    state = initial_state(graph, workload.seed, kept)
    return lambda: float(program(state, **batch)["loss"])
