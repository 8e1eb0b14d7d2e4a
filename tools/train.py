"""`graphgrad train`: trains a model into a run folder."""

from __future__ import annotations

import argparse
import dataclasses
import shlex
import shutil
import sys
import tempfile
import textwrap
from pathlib import Path

from graphgrad.checks.lint import warnings_of
from graphgrad.errors import ConfigurationError, RanksError
from graphgrad.models import BUILTIN
from graphgrad.options import BACKENDS
from graphgrad.performance.diagnosis import one_line_warning
from graphgrad.performance.load import busy_note
from graphgrad.ranks import TIME_LIMIT, ranks_of_mpi
from graphgrad.tools.data_option import DATA_OPTION, data_assignments, text_options
from graphgrad.tools.elastic import need_elastic, supervise, supervised
from graphgrad.tools.link_options import LINK_OPTIONS, link_of
from graphgrad.tools.opening import model_of, refuse_model_option, run_of
from graphgrad.tools.options import MODEL_OPTION, PRECISION_OPTION, Option, add_options
from graphgrad.tools.ranks import (
    RANKS_LOST,
    TeamOfRun,
    followed,
    of_mpiexec,
    team_of,
    team_of_mpi,
    told,
)
from graphgrad.tools.streams import abandon, say, tell
from graphgrad.training.fast_run import go_through, small_values
from graphgrad.training.progress import Progress
from graphgrad.training.rounds import need_team
from graphgrad.training.runs import OpenRun, create_run
from graphgrad.training.settings import assigned, meanings_of, with_assignments
from graphgrad.training.text_settings import FILES as LINES
from graphgrad.training.trainer import check_settings, train
from graphgrad.training.trust import is_trusted

FILES = (*LINES, "text")
"""The settings that are options of their own, as they name files."""
HELP = "train a model; the first thing to try is `graphgrad train transformer`"
EXAMPLE_GAP = "Return the number of [MASK] in the list."
DESCRIPTION = """Trains MODEL (a built-in name, or the path of a .py file that declares one) into a
fresh run folder, with progress, samples of what it can do by now, and checkpoints. Ctrl-C saves
once and says how to go on; a run that goes on ends with the same bytes as one that was never
stopped.

    graphgrad train transformer
    graphgrad train transformer --settings
    graphgrad train transformer --source train.en --target train.de --set tokens=bpe
    graphgrad train gpt --text book.txt
    graphgrad train names
    graphgrad train multi30k-tiny --data FOLDER
    graphgrad train shakespeare-char --text input.txt
    graphgrad train feedforward --set activation=sigmoid --set steps=500
    graphgrad train --resume runs/transformer-001
    graphgrad train transformer --precision bf16
    graphgrad train transformer --inspect-every 100 --inspect "encoder.*.attention.*"
"""


OPTIONS = (
    Option(
        "model",
        nargs="?",
        help=f"{', '.join(BUILTIN)}, a .py file, or a recipe (see `graphgrad recipes`)",
    ),
    Option("--run", metavar="DIR", help="the run folder (default: a fresh one in runs/)"),
    Option("--resume", metavar="DIR", help="go on with the run in this folder"),
    Option(
        "--step",
        metavar="N",
        type=int,
        help="with --resume: go on from the checkpoint of this step and give up "
        "what came after it (default: the newest)",
    ),
    MODEL_OPTION,
    Option(
        "--backend",
        choices=BACKENDS,
        help="what runs the steps: numpy, or cupy for a CUDA device (default: numpy, or what the "
        "run had before)",
    ),
    DATA_OPTION,
    PRECISION_OPTION,
    Option("--source", metavar="FILE", help="lines of text to translate from"),
    Option("--target", metavar="FILE", help="lines to translate to, aligned with them"),
    Option("--pairs", metavar="FILE", help="both in one file, a tab between them"),
    *(
        Option(
            f"--{part}-{name}",
            metavar="FILE",
            help=f"likewise for {part} (default: some pairs are held out)",
        )
        for part in ("validation", "test")
        for name in ("source", "target", "pairs")
    ),
    Option("--text", metavar="FILE", help="a text, or a folder of texts, for gpt and bert"),
    Option(
        "--set",
        metavar="KEY=VALUE",
        action="append",
        default=[],
        help="change a setting; may be repeated; --settings lists them",
    ),
    Option(
        "--settings",
        action="store_true",
        help="list every setting of MODEL with its value and its meaning, and train nothing",
    ),
    Option(
        "--overfit-batch",
        metavar="N",
        nargs="?",
        type=int,
        const=1,
        help="train on the first batch only (or the first N), again and again: whether a model can "
        "learn at all",
    ),
    Option(
        "--fast-dev-run",
        action="store_true",
        help="one step, one look at held-out data, one checkpoint and one use of the model, in a "
        "temporary folder that is removed: whether everything runs",
    ),
    Option(
        "--verify",
        action="store_true",
        help="compare the first step with the plain program, whatever it costs "
        "(without: where it costs under two seconds)",
    ),
    Option(
        "--inspect-every",
        metavar="N",
        help="record figures of values and deltas every N steps, for "
        "`graphgrad inspect RUN --steps`",
    ),
    Option(
        "--inspect",
        metavar="PATTERN",
        action="append",
        default=[],
        help="which nodes to record: a name, or a pattern with * and ?; may be "
        "repeated (default: every node)",
    ),
    Option(
        "--ranks",
        type=int,
        metavar="N",
        default=1,
        help="processes of this machine that compute a part of each batch (default: 1)",
    ),
    Option(
        "--time-limit",
        type=float,
        metavar="SECONDS",
        default=TIME_LIMIT,
        help=f"with --ranks: how long they wait for each other in a step (default: {TIME_LIMIT:g})",
    ),
    Option(
        "--elastic",
        action="store_true",
        help="with --ranks: when one of them is lost, go on with those that are left",
    ),
    Option("--supervisor", type=int, help=argparse.SUPPRESS),
    *LINK_OPTIONS,
    Option(
        "--by",
        metavar="AXIS",
        help="record values that have this axis, such as head, at each index of it",
    ),
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the options of the command to its parser."""
    add_options(parser, OPTIONS)


def run(arguments: argparse.Namespace) -> int:
    """Trains; 0 when finished, 130 when interrupted."""
    if arguments.settings:
        return _list_settings(arguments)
    if arguments.fast_dev_run:
        return _fast_run(arguments)
    if arguments.elastic:
        need_elastic(arguments.ranks, ranks_of_mpi() > 1)
        return supervise(arguments, OPTIONS)
    link = link_of(arguments)
    mpi = of_mpiexec(arguments.ranks, arguments.time_limit)
    if mpi is None:
        ranks, time_limit = arguments.ranks, arguments.time_limit
        return _run(arguments, ranks, lambda run: team_of(run, ranks, time_limit, link))
    if mpi.rank:
        return followed(mpi)
    try:
        with told(mpi):
            return _run(arguments, mpi.size, lambda run: team_of_mpi(run, mpi, link))
    except RanksError as error:
        tell(f"graphgrad train: {error}")
        mpi.abort(RANKS_LOST)
        raise


def _run(arguments: argparse.Namespace, ranks: int, team_of_run: TeamOfRun) -> int:
    """Opens the run and trains it, by the team of ranks that the function gives for it."""
    if arguments.resume is None:
        opened = _created(arguments, ranks)
    else:
        opened = _resumed(arguments, ranks)
        need_team(opened, ranks)
    shown = Progress(opened.settings.steps, opened.step)
    try:
        with supervised(arguments.supervisor, str(opened.folder.path.absolute())):
            return _trained(opened, shown, arguments.verify, team_of_run)
    finally:
        if shown.failure is not None:
            abandon(sys.stdout)
            if not isinstance(shown.failure, BrokenPipeError):
                reason = getattr(shown.failure, "strerror", None) or shown.failure
                tell(f"note: standard output cannot be written: {reason}; the run is not concerned")


def _fast_run(arguments: argparse.Namespace) -> int:
    """Goes once through everything that a run does, and leaves nothing behind."""
    if arguments.resume is not None or arguments.run is not None:
        raise ConfigurationError(
            "--fast-dev-run begins a run of its own in a temporary folder, and removes it",
            fix="leave --resume and --run out",
        )
    with tempfile.TemporaryDirectory(prefix="graphgrad-") as folder:
        arguments.run = str(Path(folder, "run"))
        arguments.set = [*arguments.set, *small_values(model_of(arguments.model or ""))]
        for line in go_through(_created(arguments), BUILTIN, arguments.verify):
            say(line)
    say("everything ran; the temporary folder is removed")
    return 0


def _list_settings(arguments: argparse.Namespace) -> int:
    """Prints every setting of a model with its value and its meaning."""
    if arguments.resume is not None or not arguments.model:
        first = next(iter(BUILTIN))
        raise ConfigurationError(
            "--settings lists the settings of a model", fix=f"graphgrad train {first} --settings"
        )
    model = model_of(arguments.model)
    assignments = [*data_assignments(model, arguments.data), *_assignments(arguments)]
    settings = with_assignments(model.settings, assignments)
    values = {name: _as_typed(value) for name, value in dataclasses.asdict(settings).items()}
    names, texts = (max(map(len, column)) for column in (values, values.values()))
    room = max(shutil.get_terminal_size().columns - names - texts - 4, 30)
    say(f"settings of {model.short_name}, changed by --set NAME=VALUE:\n")
    for name, meaning in meanings_of(settings).items():
        first, *others = textwrap.wrap(meaning, room) or [""]
        say(f"{name:<{names}}  {values[name]:<{texts}}  {first}".rstrip())
        for line in others:
            say(f"{'':<{names + texts + 4}}{line}")
    return 0


def _as_typed(value: object) -> str:
    """A setting as `--set` takes it."""
    return str(value).lower() if isinstance(value, bool) else str(value)


def _trained(opened: OpenRun, shown: Progress, verify: bool, team_of_run: TeamOfRun) -> int:
    """Trains and says what becomes of it; nothing that the output refuses stops the run."""
    folder = shlex.quote(str(opened.folder.path))
    check_settings(opened)
    on_processor = opened.settings.backend == "numpy"
    machine = (one_line_warning(), busy_note()) if on_processor else ()
    likely = [] if opened.step else warnings_of(opened.task.graph)  # said once, at the start
    for line in (*opened.warnings, *machine, *opened.task.notice.splitlines(), *likely):
        if line:
            shown.message(f"note: {line}")
    count = sum(a.size for a in (opened.state[n] for n in opened.task.graph.parameters))
    shown.message(
        f"run {folder}: {opened.model.short_name}, {count:,} parameters, "
        f"steps {opened.step} to {opened.settings.steps}"
    )
    if opened.step == opened.settings.steps:
        further = f"graphgrad train --resume {folder} --set steps={2 * opened.step}"
        shown.message(f"nothing is left to train; to go further: {further}")
    with team_of_run(opened) as team:
        outcome = train(opened, shown, verify, team=team)
    if outcome.ending == "interrupted":
        shown.message(
            f"interrupted after step {outcome.step}; saved. Go on with:\n"
            f"    graphgrad train --resume {folder}{_naming(opened)}"
        )
        return 130
    figures = "  ".join(f"{name} {value:.6g}" for name, value in outcome.figures.items())
    shown.message(f"finished after step {outcome.step}: {figures}\nrun {folder}")
    if opened.task.translate is not None:
        builtin = getattr(opened.settings, "builtin", None)
        text = "TEXT" if builtin is None else f'"{builtin.example}"'
        shown.message(f"try: graphgrad translate {folder} {text}")
    if opened.task.generate is not None:
        shown.message(f"try: graphgrad generate {folder}")
    if opened.task.fill is not None:
        shown.message(f'try: graphgrad fill {folder} "{EXAMPLE_GAP}"')
    return 0


def _naming(opened: OpenRun) -> str:
    """The option that a run needs whose model file is known by no record."""
    model = opened.model
    known = not model.digest or is_trusted(model.name, model.digest)
    return "" if known else f" --model {shlex.quote(model.name)}"


def _created(arguments: argparse.Namespace, ranks: int = 1) -> OpenRun:
    if arguments.step is not None:
        raise ConfigurationError(
            "--step says from which checkpoint a run goes on",
            fix=f"--resume DIR --step {arguments.step}",
        )
    refuse_model_option(arguments.model_file)
    if arguments.run == "":
        raise ConfigurationError(
            "--run '' names no folder", fix="leave --run out for a fresh one in runs/"
        )
    if not arguments.model:
        raise ConfigurationError(
            "train needs a model or --resume DIR", fix=f"graphgrad train {next(iter(BUILTIN))}"
        )
    model = model_of(arguments.model)
    for name in FILES:
        if getattr(arguments, name) and not hasattr(model.settings, name):
            raise ConfigurationError(
                f"the model {model.short_name} reads no "
                f"{'file' if name == 'text' else 'lines'} of text",
                fix=f"leave {_option(name)} out" + text_options(model.settings),
            )
    assignments = [*data_assignments(model, arguments.data), *_assignments(arguments)]
    settings = with_assignments(model.settings, assignments)
    return create_run(model, settings, arguments.run, lambda run: need_team(run, ranks))


def _resumed(arguments: argparse.Namespace, ranks: int) -> OpenRun:
    given = (arguments.model, arguments.run, arguments.data)
    if any(given) or any(getattr(arguments, name) for name in FILES):
        raise ConfigurationError(
            "--resume goes on with a run as it was declared; it takes no model, --run or files",
            fix=f"graphgrad train --resume {arguments.resume}",
        )
    values = assigned([*arguments.set, *_recording(arguments)])
    return run_of(
        arguments.resume,
        values,
        arguments.step,
        told=False,
        model_file=arguments.model_file,
        ranks=max(ranks, 1),
    )


def _assignments(arguments: argparse.Namespace) -> list[str]:
    """`--set` with the data files, whose paths are kept absolute so that a run can move on.

    Links are not followed: that of a pipe (`<(zcat …)`, /dev/stdin) leads to no file.
    """
    files = [f"{key}={Path(path).absolute()}" for key in FILES if (path := getattr(arguments, key))]
    return [*arguments.set, *_recording(arguments), *files]


def _option(name: str) -> str:
    return f"--{name.replace('_', '-')}"


def _recording(arguments: argparse.Namespace) -> list[str]:
    """Options that are settings, so that a run that goes on keeps them."""
    for name in ("inspect", "by"):
        if getattr(arguments, name) and arguments.inspect_every is None:
            raise ConfigurationError(
                f"--{name} says what to record, and nothing says how often",
                fix="add --inspect-every 100",
            )
    every = [] if arguments.inspect_every is None else [f"inspect_every={arguments.inspect_every}"]
    some = arguments.overfit_batch
    overfit = [] if some is None else [f"overfit_batches={some}"]
    device = [] if arguments.backend is None else [f"backend={arguments.backend}"]
    if arguments.precision is not None:
        device.append(f"precision={arguments.precision}")
    return [
        *overfit,
        *device,
        *every,
        *([f"inspect={','.join(arguments.inspect)}"] if arguments.inspect else []),
        *([f"inspect_by={arguments.by}"] if arguments.by else []),
    ]
