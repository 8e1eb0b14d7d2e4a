"""`graphgrad bench`: times the training step of the Transformer, beside other libraries."""

from __future__ import annotations

import argparse
import dataclasses
import itertools
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

from graphgrad.backends import need_backend
from graphgrad.errors import ConfigurationError
from graphgrad.graph import initial_state
from graphgrad.options import BACKENDS, CHOICES
from graphgrad.performance.bench_process import default_threads
from graphgrad.performance.bench_runner import TIME_LIMIT, Bench, Conditions, Contender, bench
from graphgrad.performance.bench_worker import Workload
from graphgrad.performance.cost import flops_of_graph
from graphgrad.text import suggestion
from graphgrad.tools.bench_recipe import UPDATES, measure_recipe, recipe_model, recipe_text
from graphgrad.tools.data_option import DATA_OPTION
from graphgrad.tools.options import Option, add_options
from graphgrad.tools.peers import graphgrad_peer
from graphgrad.tools.streams import say, tell

HELP = "time a training step, beside PyTorch and JAX where they are installed"
DESCRIPTION = """Times the training step of the Transformer (post-norm, dropout 0.1, label smoothing
0.1, Adam, float32) in graphgrad and in its peers, other libraries: each in a process of its own, in
turns, with equal threads and in an environment without settings that slow one of them. First it
checks that all compute the same losses. A peer that is not installed is named and left out.

    graphgrad bench                                       graphgrad, PyTorch and JAX
    graphgrad bench --size base --peers jax --steps 3
    graphgrad bench --backend cupy --peers torch,torch-compile,jax
    graphgrad bench --peers none --without fuse           the effect of a pass
    graphgrad bench --recipe multi30k-tiny --data FOLDER --peers torch
    graphgrad bench --size tiny --depth 2,4,8,16,24       the time of more layers

ratio is the median over graphgrad's: 2 is twice as slow. MFU is the share of the peak (NumPy's
matrix product, measured here; on a device its own) that the matrix products of a step reach. first
includes building, compiling and the first step; memory is the peak of the process on the processor.
"""

SIZES: dict[str, Workload] = {
    "tiny": Workload(64, 256, 4, 2, 1000, 16, 16),
    "small": Workload(256, 1024, 8, 3, 8000, 32, 32),
    "base": Workload(512, 2048, 8, 6, 10000, 32, 32),
}
STEPS: Mapping[str, int] = {"tiny": 200, "small": 20, "base": 5}

GRAPHGRAD = Contender("graphgrad", graphgrad_peer.__file__)


def _peer(name: str, library: str, variant: str = "", slack: float = 1.0) -> Contender:
    file = Path(graphgrad_peer.__file__).with_name(f"{library}_peer.py")
    return Contender(name, str(file), variant, library, slack)


PEERS: Mapping[str, Contender] = {
    "torch": _peer("torch", "torch", "eager"),
    "torch-compile": _peer("torch-compile", "torch", "compile"),
    "torch-bf16": _peer("torch-bf16", "torch", "bf16", slack=1000),
    "jax": _peer("jax", "jax"),
    "pytensor": _peer("pytensor", "pytensor"),
}
RECIPE_PEERS: Mapping[str, Contender] = {
    name: dataclasses.replace(
        PEERS[name], file=str(Path(graphgrad_peer.__file__).with_name("torch_recipe.py"))
    )
    for name in ("torch", "torch-compile", "torch-bf16")
}
DEFAULT_PEERS = "torch,jax"


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
        default=DEFAULT_PEERS,
        help=f"{', '.join(PEERS)} or none (default: {DEFAULT_PEERS})",
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
        "--without",
        metavar="CHOICE",
        action="append",
        default=[],
        help="time it without this pass, or without fuse, rematerialise, product_layouts or "
        "eager_updates, as well; may be repeated",
    ),
    Option("--depth", metavar="N,…", default="", help="layers of encoder and decoder"),
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
        if arguments.backend != "numpy":
            raise ConfigurationError(
                "a recipe is timed on the processor", fix="time a --size on the device"
            )
        return _run_recipe(arguments)
    if arguments.data is not None or arguments.set:
        raise ConfigurationError(
            "--data and --set belong to a recipe", fix="add --recipe NAME, or leave them out"
        )
    contenders = [GRAPHGRAD, *_without(arguments.without), *_peers(arguments.peers)]
    if arguments.backend == "cupy":
        contenders = list(map(_on_device, contenders))
    size = SIZES[arguments.size]
    cases = itertools.product(
        _numbers("--depth", arguments.depth, size.layers),
        _numbers("--batch", arguments.batch, size.batch),
    )
    threads = default_threads() if arguments.threads is None else arguments.threads
    steps = STEPS[arguments.size] if arguments.steps is None else arguments.steps
    _positive("--steps", steps)
    _positive("--time-limit", arguments.time_limit)
    conditions = Conditions(steps, threads, arguments.time_limit)
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
    steps = UPDATES if arguments.steps is None else arguments.steps
    _positive("--steps", steps)
    _positive("--time-limit", arguments.time_limit)
    threads = default_threads() if arguments.threads is None else arguments.threads
    model = recipe_model(arguments.recipe, arguments.data, arguments.set)
    names = _names(arguments.peers)
    if arguments.peers == DEFAULT_PEERS:
        names = [name for name in names if name in RECIPE_PEERS]
    peers = [RECIPE_PEERS[_known("peer with recipes", name, RECIPE_PEERS)] for name in names]
    contenders = [GRAPHGRAD, *_without(arguments.without), *peers]
    conditions = Conditions(steps, threads, arguments.time_limit)
    result = measure_recipe(model, steps, contenders, conditions, _report)
    if arguments.json:
        print(json.dumps(result.to_dict(), indent=2))
    else:
        say(recipe_text(result))
    return 0


def measure(
    workload: Workload,
    contenders: Sequence[Contender],
    conditions: Conditions,
    report: Callable[[str], None] | None = None,
) -> Bench:
    """Times the contenders on a workload, from the initial weights of graphgrad."""
    graph = graphgrad_peer.training_graph(workload, workload.dropout)
    sizes = {"batch": workload.batch, "source": workload.source, "target": workload.target}
    state = initial_state(graph, workload.seed)
    parameters = {name: state[name] for name in graph.parameters}
    return bench(
        workload,
        parameters,
        flops_of_graph(graph, sizes),
        contenders,
        conditions,
        report or _report,
    )


def bench_text(size: str, result: Bench) -> str:
    """The conditions, one line per contender, and the missing ones, as text."""
    workload = result.workload
    lines = [
        f"{size}: width {workload.width}, inner {workload.inner}, heads {workload.heads}, layers "
        f"{workload.layers}+{workload.layers}, vocabulary {workload.vocabulary}, batch "
        f"{workload.batch}, tokens {workload.source} to {workload.target}",
        f"threads {result.threads}, steps {result.steps}, {result.gflop:.4g} GFLOP a step, peak "
        f"{result.peak_gflops:.0f} GFLOP/s",
    ]
    for name, value in result.dropped:
        lines.append(f"dropped from the environment: {name}={value}")
    lines += [
        "",
        f"{'':<32}{'median ms':>10}{'min ms':>10}{'first s':>9}{'memory MB':>11}"
        f"{'tokens/s':>10}{'MFU':>7}{'ratio':>7}",
    ]
    for name, record in result.records.items():
        shown = f"{name} {record.version}" if name in ("graphgrad", *PEERS) else name
        lines.append(
            f"{shown:<32}{record.median_ms:>10.1f}{record.min_ms:>10.1f}{record.first_step_s:>9.1f}"
            f"{record.peak_mb:>11.0f}{record.tokens_per_s:>10.0f}{record.mfu:>7.1%}"
            f"{record.ratio:>7.2f}"
        )
    lines += [f"{name:<32}absent: {reason}" for name, reason in result.absent.items()]
    lines += ["", *_notes(result)]
    return "\n".join(lines)


def _notes(result: Bench) -> Iterable[str]:
    losses = result.records["graphgrad"].losses
    yield (
        "equal mathematics: without dropout the first losses agree: "
        + ", ".join(f"{loss:.6g}" for loss in losses)
    )
    for name, record in result.records.items():
        if record.threads != result.threads:
            yield f"note: {name} uses {record.threads} threads and not {result.threads}"
    if result.busy_elsewhere is not None and result.busy_elsewhere > 0.1:
        yield (
            f"note: other programs kept {result.busy_elsewhere:.1f} processors busy; "
            "the minimum says more than the median"
        )
    yield ""


def _peers(text: str) -> list[Contender]:
    return [PEERS[_known("peer", name, PEERS)] for name in _names(text)]


def _names(text: str) -> list[str]:
    names = [name.strip() for name in text.split(",") if name.strip() not in ("", "none")]
    return list(dict.fromkeys(names))


def _without(names: Iterable[str]) -> list[Contender]:
    return [
        dataclasses.replace(
            GRAPHGRAD, name=f"graphgrad without {name}", variant=_known("choice", name, CHOICES)
        )
        for name in dict.fromkeys(names)
    ]


def _on_device(contender: Contender) -> Contender:
    """The contender on the CUDA device."""
    libraries = {
        "": f"cupy:{contender.variant}",
        "torch": f"cuda:{contender.variant}",
        "jax": "cuda",
    }
    if contender.requires not in libraries:
        raise ConfigurationError(
            f"{contender.name} does not run on a device here",
            fix=f"--peers {', '.join(n for n, p in PEERS.items() if p.requires in libraries)}",
        )
    return dataclasses.replace(contender, variant=libraries[contender.requires])


def _known(what: str, name: str, names: Iterable[str]) -> str:
    known = list(dict.fromkeys(names))
    if name in known:
        return name
    raise ConfigurationError(
        f"there is no {what} called {name!r}",
        "",
        suggestion(name, known, "choose of"),
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
