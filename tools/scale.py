"""`graphgrad scale`: what many ranks would reach, from a measured step and a model of the link."""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from threadpoolctl import threadpool_limits

from graphgrad.backends import Program
from graphgrad.compile import compile
from graphgrad.errors import ConfigurationError
from graphgrad.graph import initial_state
from graphgrad.loops.threads import usable_cores
from graphgrad.models import BUILTIN
from graphgrad.passes.split_batch import split_batch
from graphgrad.performance.bench_runner import batches_of
from graphgrad.performance.bench_worker import TIMING
from graphgrad.performance.line_profile import profile
from graphgrad.performance.processor import read_processor
from graphgrad.performance.scaling import LINKS, WAYS, Step, step_of
from graphgrad.ranks import Link, Lone
from graphgrad.tools.bench import SIZES
from graphgrad.tools.link_options import LINK_OPTIONS, link_of
from graphgrad.tools.options import PRECISION_OPTION, Option, add_options, assignments_of
from graphgrad.tools.peers.graphgrad_peer import settings_of, sizes_of
from graphgrad.tools.profile_ranks import measure_on_ranks
from graphgrad.tools.profiled import profiled
from graphgrad.tools.streams import say
from graphgrad.training.optimisers import training_step
from graphgrad.training.team import GUARDS

HELP = "compute what many ranks would reach, over Ethernet or NVLink"
DESCRIPTION = """Times the step of MODEL (a name, the path of a .py file, a recipe, the folder of a
run, or a size of `graphgrad bench`) on this machine, and computes from its lines and a model of the
link what N ranks would reach, each with a batch of its own: without overlap, with it, with ZeRO-1
and with DiLoCo. The formulas are in `graphgrad guide ranks`. With --measure ranks of this machine
take the step over an imitated link, beside what the model says of them.

    graphgrad scale base
    graphgrad scale transformer --ranks 8,64 --link ethernet-10
    graphgrad scale base --step-ms 24.4 --link nvlink --link 20:5
    graphgrad scale transformer --measure 1,2,4 --link-delay 1 --link-rate 0.25
"""

OPTIONS = (
    Option("model", help="a model, a recipe, a run, or a size of the bench, such as base"),
    Option(
        "--ranks",
        metavar="N,…",
        default="8,64,1024",
        help="the numbers of ranks (default: %(default)s)",
    ),
    Option(
        "--link",
        metavar="LINK",
        action="append",
        default=[],
        help=f"{', '.join(LINKS)}, or MICROSECONDS:GB/S; may be repeated (default: all)",
    ),
    Option(
        "--step-ms",
        metavar="MS",
        type=float,
        help="what the step takes on the machine that is meant (default: what it takes here)",
    ),
    Option(
        "--every",
        metavar="H",
        type=int,
        default=500,
        help="the steps between two exchanges of DiLoCo (default: %(default)s)",
    ),
    Option("--steps", metavar="N", type=int, default=3, help="timed steps (default: %(default)s)"),
    Option(
        "--measure",
        metavar="N,…",
        default="",
        help="let so many ranks of this machine take the step, on parts of one batch",
    ),
    *LINK_OPTIONS,
    PRECISION_OPTION,
    Option(
        "--set",
        metavar="KEY=VALUE",
        action="append",
        default=[],
        help="change a setting; may be repeated",
    ),
    Option("--json", action="store_true", help="print one JSON object"),
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the options of the command to its parser."""
    add_options(parser, OPTIONS)


def run(arguments: argparse.Namespace) -> int:
    """Prints the table."""
    if arguments.every < 1:
        raise ConfigurationError(
            f"--every {arguments.every} is no number of steps", fix="1 or more"
        )
    if arguments.step_ms is not None and not 0.0 < arguments.step_ms < 1e9:
        raise ConfigurationError(f"--step-ms {arguments.step_ms:g} is no time of a step")
    found: dict[str, Any] = {"model": arguments.model}
    if arguments.measure:
        found |= _measured(arguments, _numbers("--measure", arguments.measure))
        text = _measured_text(found)
    else:
        ranks, links = _numbers("--ranks", arguments.ranks), _links(arguments.link)
        step = _step(arguments)
        found |= _computed(step, ranks, links, arguments.every)
        text = _computed_text(found, step)
    say(json.dumps(found, indent=1) if arguments.json else text)
    return 0


def _numbers(option: str, text: str) -> list[int]:
    words = text.split(",")
    if not all(word.isdecimal() and 0 < int(word) < 10**6 for word in words):
        raise ConfigurationError(f"{option} {text} are no numbers of ranks", fix=f"{option} 2,4")
    return [int(word) for word in words]


def _links(names: Sequence[str]) -> dict[str, Link]:
    """The links of some names, all that are known where there is none."""
    found: dict[str, Link] = {}
    for name in names or LINKS:
        if name in LINKS:
            found[name] = LINKS[name]
            continue
        try:
            latency, rate = map(float, name.split(":"))
            found[name] = Link(latency / 1e6, rate * 1e9)
        except ValueError:
            raise ConfigurationError(
                f"there is no link {name!r}",
                fix=f"{', '.join(LINKS)}, or MICROSECONDS:GB/S such as 30:1.25",
            ) from None
    return found


def _step(arguments: argparse.Namespace) -> Step:
    """The step as it is measured on this machine, on one rank."""
    program, state, feeds = _of_one_rank(arguments)
    found = profile(program, state, lambda step: feeds, arguments.steps)
    step = step_of(program, found)
    return step if arguments.step_ms is None else step.scaled(arguments.step_ms / 1e3)


def _of_one_rank(
    arguments: argparse.Namespace,
) -> tuple[Program, Mapping[str, np.ndarray], Mapping[str, np.ndarray]]:
    if arguments.model not in SIZES:
        return profiled(arguments.model, assignments_of(arguments), communicator=Lone())
    if arguments.set:
        raise ConfigurationError(
            f"{arguments.model} is a size of the bench, whose settings are given",
            fix="leave --set out, or name a model",
        )
    workload = SIZES[arguments.model]
    precision = arguments.precision or "fp32"
    settings = settings_of(workload, workload.dropout, precision)
    sides = 1 if workload.model == "gpt" else 2
    graph = BUILTIN[workload.model].training_graph(settings, *[workload.vocabulary] * sides)
    graph = split_batch(training_step(graph, settings))
    compiled = compile(graph, guards=GUARDS, fuse=True, precision=precision)
    feeds = {
        name.removeprefix(TIMING): array
        for name, array in batches_of(workload).items()
        if name.startswith(TIMING)
    }
    program = compiled.program(**sizes_of(workload))
    return program, initial_state(graph, workload.seed), feeds


def _computed(
    step: Step, ranks: Sequence[int], links: Mapping[str, Link], every: int
) -> dict[str, Any]:
    rows = [
        {
            "link": name,
            "ranks": count,
            **{way: step.seconds(way, count, link, every) for way in WAYS},
        }
        for name, link in links.items()
        for count in ranks
    ]
    kept = [
        {"ranks": count, **{way: step.state_bytes_of(way, count) for way in WAYS}}
        for count in ranks
    ]
    return {
        "processor": read_processor()[0],
        "cores": usable_cores(),
        "compute_seconds": step.compute,
        "bytes": step.bytes,
        "collectives": len(step.sizes),
        "every": every,
        "rows": rows,
        "state_bytes": kept,
    }


def _computed_text(found: Mapping[str, Any], step: Step) -> str:
    compute = found["compute_seconds"]
    lines = [
        f"{found['model']}: one rank computes for {compute * 1e3:.4g} ms a step "
        f"({found['processor']}, {found['cores']} cores); a step adds up "
        f"{found['bytes'] / 1e6:.1f} MB in {found['collectives']} collectives",
        "ms a step, and the share of what as many single ranks would do; DiLoCo exchanges every "
        f"{found['every']} steps",
        "",
        f"{'link':<14}{'ranks':>6}" + "".join(f"{way:>20}" for way in WAYS),
    ]
    for row in found["rows"]:
        lines.append(
            f"{row['link']:<14}{row['ranks']:>6}"
            + "".join(f"{row[way] * 1e3:>13.4g}{compute / row[way]:>7.1%}" for way in WAYS)
        )
    lines += ["", f"{'MB of state a rank keeps':<20}"]
    for row in found["state_bytes"]:
        lines.append(
            f"{'':<14}{row['ranks']:>6}" + "".join(f"{row[way] / 1e6:>20.1f}" for way in WAYS)
        )
    return "\n".join(lines)


def _measured(arguments: argparse.Namespace, ranks: Sequence[int]) -> dict[str, Any]:
    link, cores = link_of(arguments), max(1, usable_cores() // max(ranks))
    with threadpool_limits(cores, "blas"):  # as ranks beside each other have them
        rows = [_row(arguments, count, link) for count in ranks]
    return {"link_delay": link.latency, "link_rate": link.rate, "rows": rows}


def _row(arguments: argparse.Namespace, count: int, link: Link) -> dict[str, Any]:
    """The seconds of a step by so many ranks: simulated from the lines that they take without the
    link, and measured with it. Both are sums of medians of lines, from which other load of the
    machine is absent."""
    words = arguments.model, assignments_of(arguments), arguments.steps
    if count == 1:
        program, state, feeds = profiled(*words[:2], communicator=Lone())
        seconds = profile(program, state, lambda step: feeds, arguments.steps).seconds
        return {"ranks": 1, **{name: [seconds, seconds] for name in WAYS[:2]}}
    found, observed = measure_on_ranks(*words, count, Link())
    step = Step(observed.lines_of(found), frozenset(), observed.sizes, 0, 0)
    row: dict[str, Any] = {"ranks": count}
    for way, without in zip(WAYS, ("overlap", ""), strict=False):
        measured, _ = measure_on_ranks(*words, count, link, without)
        row[way] = [step.seconds(way, count, link, 1), measured.seconds]
    return row


def _measured_text(found: Mapping[str, Any]) -> str:
    rate = found["link_rate"] / 1e9
    lines = [
        f"{found['model']}: ms a step on parts of one batch, over an imitated link of "
        f"{found['link_delay'] * 1e3:g} ms a message and {rate:g} GB/s",
        "",
        f"{'':>6}" + "".join(f"{way:>24}" for way in WAYS[:2]),
        f"{'ranks':>6}" + f"{'simulated':>14}{'measured':>10}" * 2,
    ]
    for row in found["rows"]:
        times = "".join(f"{row[w][0] * 1e3:>14.2f}{row[w][1] * 1e3:>10.2f}" for w in WAYS[:2])
        lines.append(f"{row['ranks']:>6}{times}")
    return "\n".join(lines)
