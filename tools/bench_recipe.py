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


def recipe_text(result: RecipeBench) -> str:
    """The conditions, a line for each contender, and the missing ones, as text."""
    workload = result.workload
    lines = [
        f"{workload.recipe}: the first {workload.updates} updates, {workload.tokens:,} target "
        f"tokens in batches of {result.shapes} shapes; each update timed {result.passes} times",
        f"threads {result.threads}",
    ]
    for name, value in result.dropped:
        lines.append(f"dropped from the environment: {name}={value}")
    lines += [
        "",
        f"{'':<28}{'mean ms':>10}{'ratio':>7}{'best ms':>10}{'ratio':>7}{'processor':>11}"
        f"{'ratio':>7}{'tokens/s':>10}{'memory MB':>11}{'first pass s':>14}",
    ]
    for name, record in result.records.items():
        lines.append(
            f"{f'{name} {record.version}':<28}{record.mean_ms:>10.1f}{record.ratio:>7.2f}"
            f"{record.best_ms:>10.1f}{record.best_ratio:>7.2f}{record.processor_ms:>11.1f}"
            f"{record.processor_ratio:>7.2f}{record.tokens_per_s:>10.0f}{record.peak_mb:>11.0f}{record.first_pass_s:>14.1f}"
        )
    lines += [f"{name:<28}absent: {reason}" for name, reason in result.absent.items()]
    losses = result.records["graphgrad"].losses
    lines += ["", "equal mathematics: without dropout the first losses agree: "]
    lines[-1] += ", ".join(f"{loss:.6g}" for loss in losses)
    if result.busy_elsewhere is not None and result.busy_elsewhere > 0.1:
        lines.append(
            f"note: other programs kept {result.busy_elsewhere:.1f} processors busy; best ms, the "
            "mean over the updates of the fastest timing of each, and processor, the milliseconds "
            "of processor time, say more than mean ms"
        )
    return "\n".join([*lines, ""])
