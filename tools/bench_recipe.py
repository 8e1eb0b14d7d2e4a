"""`graphgrad bench --recipe`: the updates of a recipe's run at their real lengths."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Mapping, Sequence

import numpy as np

from graphgrad.errors import ConfigurationError
from graphgrad.graph import initial_state
from graphgrad.performance.bench_recipe import RecipeBench, bench_recipe
from graphgrad.performance.bench_runner import Conditions, Contender
from graphgrad.performance.bench_worker import RecipeWorkload
from graphgrad.tools.data_option import data_assignments
from graphgrad.tools.opening import model_of
from graphgrad.tools.peers import graphgrad_peer
from graphgrad.training.settings import TrainingSettings, with_assignments
from graphgrad.training.task import Feeds, ModelFile

UPDATES = 12
RATE = 1e-3
"""The constant rate of the updates: that of a warm-up would hide a wrong update from the check."""
MODELS = ("transformer", "gpt")
_TABLES = (("encoder.embedding", "embedding"), ("decoder.embedding", "embedding"))


def recipe_model(name: str, data: str | None, changes: Sequence[str]) -> ModelFile:
    """The recipe's model with its data. Raises ConfigurationError where no peer has the model."""
    model = model_of(name)
    if model.name not in MODELS:
        raise ConfigurationError(
            f"no peer has the model of {name}",
            fix=f"choose a recipe of {' or '.join(MODELS)} (see `graphgrad recipes`)",
        )
    settings = with_assignments(model.settings, [*data_assignments(model, data), *changes])
    return dataclasses.replace(model, settings=settings)


def measure_recipe(
    model: ModelFile,
    updates: int,
    contenders: Sequence[Contender],
    conditions: Conditions,
    report: Callable[[str], None],
) -> RecipeBench:
    """Times the contenders on the first updates of the recipe's run."""
    report(f"{model.short_name}: reads the data")
    task = model.task(model.settings, {})
    batches = [task.feeds(number) for number in range(updates * model.settings.accumulate)]
    settings = dataclasses.replace(
        model.settings, learning_rate=RATE, schedule="constant", warmup=0
    )
    sizes = {name: leaf.type.sizes[0] for name, leaf in task.graph.parameters.items()}
    tables = [next(sizes[name] for name in names if name in sizes) for names in _tables(sizes)]
    workload = RecipeWorkload(
        model.short_name,
        model.name,
        dataclasses.asdict(settings),
        [int(size) for size in tables],
        updates,
        sum(task.count(feeds) for feeds in batches),
    )
    graph = graphgrad_peer.recipe_graph(workload, drops=True)
    state = initial_state(graph, settings.seed)
    parameters = {name: state[name] for name in graph.parameters}
    return bench_recipe(
        workload, parameters, _arrays(batches, settings, updates), contenders, conditions, report
    )


def _tables(sizes: Mapping[str, object]) -> Iterable[tuple[str, ...]]:
    """The names that the embeddings of each side can have; of GPT there is one side."""
    encoder, decoder = _TABLES
    return _TABLES if any(name in sizes for name in encoder) else (decoder,)


def _arrays(
    batches: Sequence[Feeds], settings: TrainingSettings, updates: int
) -> dict[str, np.ndarray]:
    """The batches and the rates, as `RecipeWorkload` names them."""
    named = {
        f"{number}.{name}": np.ascontiguousarray(array)
        for number, feeds in enumerate(batches)
        for name, array in feeds.items()
    }
    return {**named, "rates": np.full(updates, settings.learning_rate, np.float32)}
