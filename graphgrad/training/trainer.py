"""Trains a run: one program call per step, with checkpoints, metrics, evaluation and interrupts.

The state determines a run completely: parameters, moments, step count, seed. The result of a step
depends only on the state and the step's number (batches and dropout are functions of it), so an
interrupted run that is resumed from a checkpoint ends with the same bytes as one that was never
interrupted, on the same machine with the same threads.

A step whose loss or gradient is not finite changes nothing, and the run stops. No checkpoint is
saved of the state that led to it, so resuming starts from an earlier one; resumed with
`checkpoint_every=1`, the run reaches the same step again with the state saved. Parameters that are
not finite are not saved either (an update can overflow without an effect on the loss of its step):
the run stops at that step, which is not recorded.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from graphgrad.backends import read_only
from graphgrad.compile import Compiled, compile
from graphgrad.decoding import Options
from graphgrad.errors import ConfigurationError, RanksError
from graphgrad.figures.recording import Recorder, recorded_names
from graphgrad.graph import Graph
from graphgrad.training.ahead import Ahead
from graphgrad.training.announcement import announcement
from graphgrad.training.best import HELD_OUT, Validations
from graphgrad.training.checkpoint import remove_after, save_checkpoint, tidy_checkpoints
from graphgrad.training.configuration import bindings, read_configuration, write_configuration
from graphgrad.training.doubts import UNSHOWN, Observer, doubts_of
from graphgrad.training.history_file import HistoryWriter
from graphgrad.training.interrupt import InterruptGuard
from graphgrad.training.kept_rates import KeptRates
from graphgrad.training.metrics_file import METRICS
from graphgrad.training.optimisers import STEP
from graphgrad.training.progress import Progress
from graphgrad.training.runs import OpenRun, require_unchanged
from graphgrad.training.settings import TrainingSettings
from graphgrad.training.stepping import Programs, need_finite, one_step
from graphgrad.training.team import GUARDS, Team
from graphgrad.training.tensorboard import FOLDER, EventWriter
from graphgrad.training.trust import trust
from graphgrad.training.verification import verify_first_step
from graphgrad.training.waiting import Waiting

EVALUATION = "evaluation.json"


@dataclass(frozen=True)
class Outcome:
    """How a training ended: `finished`, or `interrupted` with a checkpoint to resume from."""

    ending: str
    step: int
    figures: Mapping[str, float]


def train(
    run: OpenRun,
    progress: Progress | None = None,
    verify: bool = False,
    measured: bool = True,
    team: Team | None = None,
) -> Outcome:
    """Trains to the last step or until it is interrupted; in both cases a checkpoint is saved.

    Before training, the first step is compared with the plain program if that costs little, or with
    `verify` in any case (see verification.py). With the setting `inspect_every`, figures are
    recorded into the run's history. Without `measured` it ends with no evaluation. The ranks of a
    `team` compute the steps together.
    """
    run = run if team is None else team.sharing(run)
    settings, task, done = run.settings, run.task, int(run.state[STEP])
    check_settings(run)
    rates = KeptRates.read(run.folder)
    recorder = _recorder(run.graph, settings, rates) if settings.inspect_every else None
    first = task.feeds(run.next_batch)  # errors in the data are raised before anything is written
    compiled = compile(
        run.graph,
        guards=GUARDS,
        fuse=settings.fuse,
        backend=settings.backend,
        precision=settings.precision,
        product_rates=rates.rates,
    )
    verified = ""
    if done < settings.steps and (settings.fuse or verify):
        first = first if team is None else team.part(first)
        verified = verify_first_step(_figures_alone(run, compiled), first, run.state, verify)
    shown = progress or Progress(settings.steps, done)
    for line in filter(None, (*_announced(run, compiled, team), rates.note)):
        shown.message(line)
    with run.folder.lock():
        require_unchanged(run)
        if done < settings.steps:
            _keep_configuration(run)
        validations = _remove_later_steps(run, done, shown)
        programs = _programs(run, compiled, recorder, team, rates)
        run = dataclasses.replace(run, state=compiled.on_device(run.state))
        _log_start(run, verified, team)
        with shown, InterruptGuard() as interrupt:
            step = _steps(run, programs, shown, interrupt, validations)
            stopped = step < settings.steps and _is_stale(run, validations)
            if stopped:
                shown.message(_why_stopped(run, validations, step))
            if measured and (step == settings.steps or stopped):
                shown.message("evaluating on held-out data")
        if step < settings.steps and not stopped:
            run.folder.log(f"interrupted after step {step}")
            return Outcome("interrupted", step, {})
        return _ended(run, shown, step) if measured else Outcome("finished", step, {})


def _announced(run: OpenRun, compiled: Compiled, team: Team | None) -> list[str]:
    """What is said before a training."""
    if team is None:
        return announcement(run, compiled)
    return [*announcement(run, team.compiled, team.communicator.size), *team.about()]


def _log_start(run: OpenRun, verified: str, team: Team | None) -> None:
    """Writes to the log what a training begins with, and what its ranks send."""
    begun = f"training from step {int(run.state[STEP])} to {run.settings.steps}"
    for line in filter(None, (verified, *(() if team is None else team.about()), begun)):
        run.folder.log(line)


def _figures_alone(run: OpenRun, compiled: Compiled) -> Compiled:
    """The program whose first step is verified: without updates where this rank has only its share
    of what they read."""
    if run.shards is None or not run.shards.rows:
        return compiled
    graph, options = compiled.source_graph, compiled.options
    outputs = {name: graph.outputs[name] for name in GUARDS}
    return compile(graph.with_outputs(outputs, {}), fuse=options.fuse, precision=options.precision)


def _ended(run: OpenRun, shown: Progress, step: int) -> Outcome:
    """The end of a run, with the figures of its last state on the test data."""
    try:
        figures = _figures(run, shown, quick=False)
    except KeyboardInterrupt:
        return Outcome("interrupted", step, {})
    _keep_configuration(run)  # where no step was left to train, not before all went well
    written = {"step": step, **json_figures(figures), **_signatures(run)}
    run.folder.write_json(EVALUATION, written)
    run.folder.log(f"finished: {figures}")
    return Outcome("finished", step, figures)


def _recorder(graph: Graph, settings: TrainingSettings, rates: KeptRates) -> Recorder:
    """What records the figures of a run, computed as its steps are."""
    options = settings.fuse, settings.backend, settings.inspect_by, settings.precision
    return Recorder(graph, settings.inspect_patterns, *options, rates.rates)


def _why_stopped(run: OpenRun, validations: Validations, step: int) -> str:
    """Why the run ends before its last step; also written to the log."""
    metric, count = validations.metric, validations.without_improvement()
    (best,) = validations.best(1)
    text = (
        f"stopped early after step {step}: the held-out {metric} of step {best}, "
        f"{validations[best]:.4g}, was not improved in {count} validations (patience "
        f"{run.settings.patience})"
    )
    run.folder.log(text)
    return text


def _figures(run: OpenRun, shown: Progress, quick: bool) -> dict[str, float]:
    """The figures on held-out data, of some of it if `quick`; who waits is told how long."""
    task, state = run.task, read_only(run.weights)
    if task.measure is not None:
        return task.measure(state, Options(), Waiting(say=shown.message), quick)
    if not quick:
        return task.evaluate(state)
    return task.validate(state) if task.validate is not None else {}


def _keep_configuration(run: OpenRun) -> None:
    """Writes the configuration if it has changed since the run was made."""
    if read_configuration(run.folder) != run.configuration:
        write_configuration(run.folder, run.configuration)
    trust(run.model)


def _remove_later_steps(run: OpenRun, done: int, shown: Progress) -> Validations:
    """Removes checkpoints, metrics and history of steps after `done`, which will be repeated.

    Returns the validations up to there.
    """
    if run.gives_up:
        remove_after(run.folder.checkpoints, done)
        run.folder.log("\n".join(run.warnings))
    run.folder.truncate(done)
    metric = run.settings.best_metric
    needed = metric != TrainingSettings.best_metric or run.settings.patience > 0
    validations = Validations(metric, run.folder.metrics(), needed)
    keep, best = run.settings.keep_last, validations.best(run.settings.keep_best)
    tidy_checkpoints(run.folder.checkpoints, run.checkpoint, done, keep, best)
    if missing := run.folder.metrics_missing(done):
        shown.message(f"note: {METRICS} has no record of {missing}")
        run.folder.log(f"note: {METRICS} has no record of {missing}")
    return validations


def check_settings(run: OpenRun) -> None:
    """Raises ConfigurationError for settings with which the run cannot be resumed.

    Raises UnknownNameError for names to record that the run does not have.
    """
    settings, done = run.settings, int(run.state[STEP])
    if done > settings.steps:
        raise ConfigurationError(
            f"the run has done {done} steps already, and steps is {settings.steps}",
            run.folder.path,
            f"set steps to more than {done}",
        )
    if settings.inspect_every:
        recorded_names(run.graph, settings.inspect_patterns, settings.inspect_by)


def _programs(
    run: OpenRun,
    compiled: Compiled,
    recorder: Recorder | None,
    team: Team | None,
    rates: KeptRates,
) -> Programs:
    settings = run.settings
    ahead = Ahead(compiled, run.task.feeds, settings.steps * settings.accumulate, team)
    events = None
    if settings.tensorboard:
        events = EventWriter(run.folder.path / FOLDER, int(run.state[STEP]))
    if recorder is None:
        computing = compiled if team is None else team.compiled
        return Programs(computing, ahead, events=events, rates=rates)
    history = HistoryWriter(
        run.folder.history,
        recorder.names,
        recorder.figures,
        run.settings.inspect_every,
        run.folder.identity,
        recorder.deltas,
    )
    return Programs(compiled, ahead, recorder, history, events, rates)


def _steps(
    run: OpenRun,
    programs: Programs,
    shown: Progress,
    interrupt: InterruptGuard,
    validations: Validations,
) -> int:
    """Trains and saves; returns the number of the last step done."""
    settings, step, saved = run.settings, int(run.state[STEP]), True
    observer = Observer(run.task.knowing_nothing, settings.warmup)
    while _goes_on(run, programs, step, interrupt, validations):
        with _saved_if_ranks_are_lost(run, step, validations, programs.ahead.whole):
            done = one_step(run, programs, step, interrupt)
        saved = False
        if done is None:
            break
        record, step = done.record, step + 1
        last, unit = step == settings.steps, run.task.unit
        ranks = settings.keep_best > 0 or settings.patience > 0
        looking = ranks if last else step % settings.evaluate_every == 0
        asked = interrupt.requested and programs.ahead.whole
        saving = last or asked or step % settings.checkpoint_every == 0
        if saving or looking:
            need_finite(run, step)
        shown.update(step, record["loss"], record["learning_rate"], record[unit], unit)
        observer.step(record["loss"])
        problem = None
        if looking:
            figures, added = _show(run, shown, step, validations)
            record |= added
            try:
                validations.add(step, figures)
            except ConfigurationError as error:
                problem = error
            _doubt(run, shown, [*doubts_of(figures), *observer.doubts(step, validations)])
            saving |= step in validations.best(settings.keep_best) or problem is not None
            saving |= _is_stale(run, validations)
        run.folder.append_metrics(record, durable=saving)
        if programs.events is not None:
            programs.events.add(record)
        if programs.history is not None and done.figures is not None:
            programs.history.append(step, done.figures, durable=saving)
        if saving:
            _save(run, step, validations)
            saved = True
        if problem is not None:
            raise problem
    if not saved:
        need_finite(run, step)
        _save(run, step, validations)
    return step


def _goes_on(
    run: OpenRun,
    programs: Programs,
    step: int,
    interrupt: InterruptGuard,
    validations: Validations,
) -> bool:
    """Whether a further step follows; an interrupt waits until all ranks have the same state."""
    interrupted = interrupt.requested and programs.ahead.whole
    return step < run.settings.steps and not interrupted and not _is_stale(run, validations)


def _is_stale(run: OpenRun, validations: Validations) -> bool:
    """Whether held-out data show no improvement for so long that training ends."""
    patience = run.settings.patience
    return bool(patience) and validations.without_improvement() >= patience


def json_figures(figures: Mapping[str, float]) -> dict[str, float | None]:
    """The figures with None in place of those that are not finite, for JSON."""
    return {name: value if math.isfinite(value) else None for name, value in figures.items()}


def _show(
    run: OpenRun, progress: Progress, step: int, validations: Validations
) -> tuple[Mapping[str, float], dict[str, Any]]:
    """What the model can do by now: figures on held-out data, and examples.

    Returns the figures, and what the metrics say of them.
    """
    with _saved_if_ranks_are_lost(run, step, validations, whole=True):
        figures = _figures(run, progress, quick=True)
    if figures:
        shown = {name: value for name, value in figures.items() if name not in UNSHOWN}
        text = "  ".join(f"{name} {value:.4g}" for name, value in shown.items())
        progress.message(f"step {step}  held-out: {text}")
        run.folder.log(f"step {step} held-out: {text}")
    samples = list(run.task.examples(read_only(run.weights)))
    for line in samples:
        progress.message(f"    {line}")
        run.folder.log(line)
    named = {f"{HELD_OUT}{name}": value for name, value in figures.items() if name != "examples"}
    said = {"samples": samples} if samples else {}
    return figures, named | said | _signatures(run)


def _doubt(run: OpenRun, shown: Progress, doubts: Iterable[str]) -> None:
    for doubt in doubts:
        shown.message(f"note: {doubt}")
        run.folder.log(f"note: {doubt}")


def _signatures(run: OpenRun) -> dict[str, Any]:
    """How figures are computed that have several definitions, where there are any."""
    signatures = dict(run.task.signatures())
    return {"signatures": signatures} if signatures else {}


@contextmanager
def _saved_if_ranks_are_lost(
    run: OpenRun, step: int, validations: Validations, whole: bool
) -> Iterator[None]:
    """Saves the state of the step before if it is that of all ranks that are left, and nothing of
    it has been lost with one."""
    try:
        yield
    except RanksError:
        if run.others is not None:
            run.folder.log("a rank is lost, and its share of the state: the last checkpoint counts")
        elif whole:
            _save(run, step, validations)
        raise


def _save(run: OpenRun, step: int, validations: Validations) -> None:
    details = bindings(run.configuration, run.settings, run.task.graph)
    keep, best = run.settings.keep_last, validations.best(run.settings.keep_best)
    if run.others is not None:
        run.others.save(run, step, details, keep, best)
        return
    save_checkpoint(run.folder.checkpoints, step, run.state, details, keep, best)
