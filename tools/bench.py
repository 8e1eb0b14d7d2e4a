"""`graphgrad bench`: times the training step of the Transformer, beside other libraries."""

from __future__ import annotations

import argparse
import dataclasses
import itertools
import json
from collections.abc import Callable, Mapping, Sequence

from graphgrad.backends import need_backend
from graphgrad.errors import ConfigurationError
from graphgrad.graph import initial_state
from graphgrad.options import BACKENDS, PRECISIONS
from graphgrad.performance.bench_process import default_threads
from graphgrad.performance.bench_results import Bench
from graphgrad.performance.bench_runner import TIME_LIMIT, Conditions, Contender, bench
from graphgrad.performance.bench_worker import Workload
from graphgrad.performance.cost import flops_of_graph
from graphgrad.tools.bench_peers import PEERS, Race
from graphgrad.tools.bench_recipe import UPDATES, measure_recipe, recipe_model
from graphgrad.tools.bench_text import bench_text, recipe_text
from graphgrad.tools.data_option import DATA_OPTION
from graphgrad.tools.options import Option, add_options
from graphgrad.tools.peers import graphgrad_peer
from graphgrad.tools.streams import say, tell

HELP = "time a training step, beside PyTorch and JAX where they are installed"
DESCRIPTION = """Times a training step of the Transformer (post-norm, dropout 0.1, label smoothing
0.1) or of a GPT, with Adam, in graphgrad and in its peers, other libraries: each in a process of
its own, in turns, with equal threads and in an environment without settings that slow one of them.
First it checks that all compute the same losses. A peer that is not installed is named and left
out.

    graphgrad bench                                       graphgrad, PyTorch and JAX
    graphgrad bench --size base --peers jax --steps 3
    graphgrad bench --size gpt2-124m                      GPT-2, 4 texts of 64 tokens
    graphgrad bench --precision bf16                      beside PyTorch in bf16, also compiled
    graphgrad bench --size small --load                   once more beside busy processes
    graphgrad bench --backend cupy --peers torch,torch-compile,jax
    graphgrad bench --peers none --without fuse           the effect of a pass
    graphgrad bench --recipe multi30k-tiny --data FOLDER --peers torch
    graphgrad bench --size tiny --depth 2,4,8,16,24       the time of more layers

ratio is the median over graphgrad's: 2 is twice as slow. MFU is the share of the peak that the
matrix products of a step reach: the rate of the fastest large product that was measured here in the
same precision, in graphgrad or in a peer. first includes building, compiling and the first step;
memory is the peak of the process on the processor.
"""

SIZES: dict[str, Workload] = {
    "tiny": Workload(64, 256, 4, 2, 1000, 16, 16),
    "small": Workload(256, 1024, 8, 3, 8000, 32, 32),
    "base": Workload(512, 2048, 8, 6, 10000, 32, 32),
    "gpt-1024": Workload(
        *(256, 1024, 4, 4, 8000, 0, 1024), batch=2, model="gpt", context=1024, dropout=0.0
    ),
    "gpt2-124m": Workload(
        *(768, 3072, 12, 12, 50257, 0, 64), batch=4, model="gpt", context=1024, dropout=0.0
    ),
}
STEPS: Mapping[str, int] = {"tiny": 200, "small": 20, "base": 5, "gpt-1024": 10, "gpt2-124m": 5}

_DEFAULT_STEPS = ", ".join(f"{steps} for {size}" for size, steps in STEPS.items())
OPTIONS = (
    Option(
        "--recipe",
        metavar="NAME",
        help="time the updates of this recipe's run, batch by batch at their real lengths",
    ),
    DATA_OPTION,
    Option(
        "--set",
        metavar="KEY=VALUE",
        action="append",
        default=[],
        help="with --recipe: change a setting; may be repeated",
    ),
    Option("--size", choices=SIZES, default="small", help="default: small"),
    Option(
        "--peers",
        metavar="NAMES",
        help=f"{', '.join(PEERS)} or none (default: torch and jax, in the precision of graphgrad "
        "where they have it)",
    ),
    Option(
        "--precision",
        choices=PRECISIONS,
        help="what graphgrad's matrix products read (default: fp32, or that of the recipe)",
    ),
    Option(
        "--steps",
        metavar="N",
        type=int,
        help=f"timed steps of each library (default: {_DEFAULT_STEPS}; {UPDATES} of a recipe)",
    ),
    Option(
        "--backend",
        choices=BACKENDS,
        default="numpy",
        help="where graphgrad and its peers run: numpy for the processor, cupy for the CUDA device "
        "(default: numpy)",
    ),
    Option("--threads", metavar="N", type=int, help="default: one per core"),
    Option(
        "--load",
        action="store_true",
        help="time the steps once more beside as many busy processes as threads",
    ),
    Option(
        "--without",
        metavar="CHOICE",
        action="append",
        default=[],
        help="time it without this pass, or without fuse, rematerialise, product_layouts or "
        "eager_updates, as well; may be repeated",
    ),
    Option("--depth", metavar="N,…", default="", help="layers of encoder and decoder, or of a GPT"),
    Option("--batch", metavar="N,…", default="", help="examples in a batch"),
    Option(
        "--time-limit",
        metavar="SECONDS",
        type=float,
        default=TIME_LIMIT,
        help="for one answer of a library's process (default: %(default)g)",
    ),
    Option("--json", action="store_true", help="print one JSON object"),
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the options of the command to its parser."""
    add_options(parser, OPTIONS)


def run(arguments: argparse.Namespace) -> int:
    """Times and prints."""
    need_backend(arguments.backend)
    if arguments.recipe is not None:
        return _run_recipe(arguments)
    if arguments.data is not None or arguments.set:
        raise ConfigurationError(
            "--data and --set belong to a recipe", fix="add --recipe NAME, or leave them out"
        )
    size = SIZES[arguments.size]
    race = Race(arguments.backend, arguments.precision or "fp32", size.model == "transformer")
    contenders = race.contenders(arguments.peers, arguments.without)
    cases = itertools.product(
        _numbers("--depth", arguments.depth, size.layers),
        _numbers("--batch", arguments.batch, size.batch),
    )
    conditions = _conditions(arguments, STEPS[arguments.size], race)
    found = []
    for layers, batch in cases:
        workload = dataclasses.replace(size, layers=layers, batch=batch)
        result = measure(workload, contenders, conditions)
        found.append({"size": arguments.size, **result.to_dict()})
        if not arguments.json:
            say(bench_text(arguments.size, result))
    if arguments.json:
        print(json.dumps(found[0] if len(found) == 1 else {"cases": found}, indent=2))
    return 0


def _run_recipe(arguments: argparse.Namespace) -> int:
    """Times the updates of a recipe and prints the result."""
    if arguments.depth or arguments.batch:
        raise ConfigurationError(
            "a recipe has its own layers and batches",
            fix="leave --depth and --batch out, or --set layers=…",
        )
    if arguments.load:
        raise ConfigurationError(
            "--load belongs to a --size: its steps are equal, a recipe's updates are not",
            fix="leave --load or --recipe out",
        )
    changes = arguments.set
    if arguments.precision is not None:
        changes = [*changes, f"precision={arguments.precision}"]
    model = recipe_model(arguments.recipe, arguments.data, changes)
    race = Race(arguments.backend, model.settings.precision, every_model=False)
    contenders = race.contenders(arguments.peers, arguments.without)
    conditions = _conditions(arguments, UPDATES, race)
    result = measure_recipe(model, conditions.steps, contenders, conditions, _report)
    if arguments.json:
        print(json.dumps(result.to_dict(), indent=2))
    else:
        say(recipe_text(result))
    return 0


def _conditions(arguments: argparse.Namespace, steps: int, race: Race) -> Conditions:
    """The conditions that the options say; `steps` is the default."""
    steps = steps if arguments.steps is None else arguments.steps
    _positive("--steps", steps)
    _positive("--time-limit", arguments.time_limit)
    threads = default_threads() if arguments.threads is None else arguments.threads
    return Conditions(steps, threads, arguments.time_limit, race.on_device, arguments.load)


def measure(
    workload: Workload,
    contenders: Sequence[Contender],
    conditions: Conditions,
    report: Callable[[str], None] | None = None,
) -> Bench:
    """Times the contenders on a workload, from the initial weights of graphgrad."""
    graph = graphgrad_peer.training_graph(workload, workload.dropout)
    state = initial_state(graph, workload.seed)
    parameters = {name: state[name] for name in graph.parameters}
    return bench(
        workload,
        parameters,
        flops_of_graph(graph, graphgrad_peer.sizes_of(workload)),
        contenders,
        conditions,
        report or _report,
    )


def _numbers(option: str, text: str, default: int) -> list[int]:
    numbers = []
    for part in text.split(",") if text else [str(default)]:
        if not part.strip().isdecimal():
            raise ConfigurationError(
                f"{option} {text!r}: {part!r} is not a number", fix=f"write {option} 2,4,8"
            )
        _positive(option, int(part))
        numbers.append(int(part))
    return numbers


def _positive(option: str, number: float) -> None:
    if not number > 0:
        raise ConfigurationError(f"{option} must be greater than 0, not {number:g}")


def _report(line: str) -> None:
    tell(line)
