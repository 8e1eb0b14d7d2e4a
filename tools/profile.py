"""`graphgrad profile`: where the time of a training step goes, by operation, node and kernel."""

from __future__ import annotations

import argparse
import json
import os
from pathlib import Path

from graphgrad.backends.cupy.program import DeviceProgramOfPlan
from graphgrad.errors import ConfigurationError
from graphgrad.files import write_atomically
from graphgrad.models import BUILTIN
from graphgrad.options import BACKENDS
from graphgrad.performance.device_profile import profile_device
from graphgrad.performance.kernel_text import kernel_text
from graphgrad.performance.line_profile import Profile, chrome_trace, profile
from graphgrad.performance.overlap import Overlap
from graphgrad.tools.link_options import LINK_OPTIONS, link_of
from graphgrad.tools.options import PRECISION_OPTION, Option, add_options, assignments_of
from graphgrad.tools.profile_decoding import USES
from graphgrad.tools.profile_ranks import measure_on_ranks, overlap_text
from graphgrad.tools.profiled import profiled
from graphgrad.tools.streams import say

HELP = "time every operation and every node of a training step"
DESCRIPTION = """Runs some training steps of MODEL (a name, the path of a .py file, a recipe
or the folder of a run) and prints the cost of each operation and each node: milliseconds, share,
the least bytes that it reads and writes, GFLOP/s of matrix products, and the line that declared it.
With --ranks it says what the ranks send, how long that takes, and what hides it.

    graphgrad profile transformer
    graphgrad profile transformer --set width=256 --set batch_size=64 --top 40
    graphgrad profile transformer --backend cupy          the launches of a CUDA device
    graphgrad profile transformer --what decoding         one step of greedy translation
    graphgrad profile transformer --precision bf16
    graphgrad profile transformer --ranks 2               what ranks send, and what hides it
    graphgrad profile runs/gpt-001 --ranks 2 --link-delay 1 --link-rate 0.125
    graphgrad profile transformer --trace step.json       for ui.perfetto.dev or chrome://tracing
    graphgrad profile transformer --kernel kernel_3       what a kernel computes, and its text
    graphgrad profile transformer --kernel kernel_3 --assembly
"""


OPTIONS = (
    Option("model", help=f"{', '.join(BUILTIN)}, a .py file, a recipe, or the folder of a run"),
    Option(
        "--set",
        metavar="KEY=VALUE",
        action="append",
        default=[],
        help="change a setting; may be repeated",
    ),
    Option(
        "--backend",
        choices=BACKENDS,
        help="what runs the step: numpy, or cupy for a CUDA device, where each launch is timed by "
        "events (default: numpy)",
    ),
    Option(
        "--what",
        choices=USES,
        default="training",
        help="the step that trains; or what runs when the model is used, as many sentences as "
        "batch_size side by side: the encoder, or a step of greedy decoding (default: %(default)s)",
    ),
    PRECISION_OPTION,
    Option("--steps", metavar="N", type=int, default=5, help="timed steps (default: %(default)s)"),
    Option(
        "--top",
        metavar="N",
        type=int,
        default=20,
        help="how many nodes are listed (default: %(default)s)",
    ),
    Option(
        "--ranks",
        type=int,
        metavar="N",
        default=1,
        help="processes of this machine that compute a part of the batch each: what they send, and "
        "how much of that is hidden (default: 1)",
    ),
    *LINK_OPTIONS,
    Option("--json", action="store_true", help="print one JSON object, with all nodes"),
    Option("--trace", metavar="FILE", help="write one step as a Chrome trace"),
    Option("--kernel", metavar="NAME", help="print a kernel of the program instead of times"),
    Option(
        "--assembly",
        action="store_true",
        help="with --kernel: print its machine code as assembly",
    ),
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the options of the command to its parser."""
    add_options(parser, OPTIONS)


def run(arguments: argparse.Namespace) -> int:
    """Profiles the step and prints the result."""
    if arguments.trace and not Path(arguments.trace).absolute().parent.is_dir():
        raise ConfigurationError(f"--trace {arguments.trace}: there is no such folder")
    if arguments.assembly and not arguments.kernel:
        raise ConfigurationError("--assembly needs a kernel", fix="add --kernel NAME")
    if arguments.kernel:
        say(_kernel(arguments))
        return 0
    sent: Overlap | None = None
    if arguments.ranks == 1:
        found = measure(arguments.model, assignments_of(arguments), arguments.steps, arguments.what)
    else:
        found, sent = _measured_on_ranks(arguments)
    if arguments.trace:
        write_atomically(arguments.trace, json.dumps(chrome_trace(found)))
    if arguments.json:
        more = {} if sent is None else {"ranks": sent.to_dict()}
        print(json.dumps({"model": arguments.model, **found.to_dict(), **more}, indent=1))
    else:
        say(profile_text(found, arguments.top))
        if sent is not None:
            say("\n" + overlap_text(sent, link_of(arguments)))
    return 0


def _measured_on_ranks(arguments: argparse.Namespace) -> tuple[Profile, Overlap]:
    if arguments.what != "training":
        raise ConfigurationError(
            f"--what {arguments.what} is done by one process", fix="leave --ranks out"
        )
    assignments = assignments_of(arguments)
    words = (arguments.model, assignments, arguments.steps, arguments.ranks)
    found, observed = measure_on_ranks(*words, link_of(arguments))
    return found, observed.result(arguments.ranks)


def measure(name: str, assignments: list[str], steps: int, what: str = "training") -> Profile:
    """The profile of the training step that `graphgrad train` runs for this model, or of what runs
    when it is used."""
    program, state, feeds = profiled(name, assignments, what)
    if isinstance(program, DeviceProgramOfPlan):
        return profile_device(program, state, feeds, steps)
    return profile(program, state, lambda step: feeds, steps)


def _kernel(arguments: argparse.Namespace) -> str:
    program, _, _ = profiled(arguments.model, assignments_of(arguments), arguments.what)
    text = kernel_text(program, arguments.kernel)
    return program.assembly(arguments.kernel) if arguments.assembly else text


def profile_text(found: Profile, top: int) -> str:
    """All operations and the slowest nodes, each with its share, as text."""
    seconds = found.seconds or 1.0
    calls = sum(line.calls for line in found.lines)
    columns = f"{'ms':>10}{'share':>7}{'MB':>9}{'GB/s':>7}{'GFLOP/s':>9}"
    lines = [
        f"a step takes {found.whole_seconds * 1e3:.2f} ms; its {calls} lines, timed one by one, "
        f"{found.seconds * 1e3:.2f} ms (medians of {found.steps})",
        "",
        f"{'operation':<22}{'calls':>6}{columns}",
    ]
    for each in found.operations:
        lines.append(
            f"{each.operation:<22}{each.calls:>6}"
            + _figures(each.seconds, seconds, each.bytes, each.gflops)
        )
    nodes = sorted(found.lines, key=lambda line: -line.seconds)[: max(top, 0)]
    lines += ["", f"{'operation':<22}{columns}  node"]
    for line in nodes:
        figures = _figures(line.seconds, seconds, line.bytes, line.gflops)
        origin = f"  ({_shortened(line.origin)})" if line.origin else ""
        lines.append(f"{line.operation:<22}{figures}  {line.name} : {line.type}{origin}")
    return "\n".join(lines)


def _figures(seconds: float, whole: float, size: int, gflops: float) -> str:
    rate = f"{size / seconds / 1e9:>7.1f}" if size and seconds else f"{'':>7}"
    flops = f"{gflops:>9.1f}" if gflops else f"{'':>9}"
    return f"{seconds * 1e3:>10.3f}{seconds / whole:>7.1%}{size / 1e6:>9.2f}{rate}{flops}"


def _shortened(origin: str) -> str:
    """The path relative to the current folder, if it is below it."""
    return origin.removeprefix(os.getcwd() + os.sep)
