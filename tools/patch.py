"""`graphgrad patch`: which values of a run make the difference between two texts."""

from __future__ import annotations

import argparse
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from graphgrad.backprop import derive
from graphgrad.data.vocabulary import PAD
from graphgrad.errors import ConfigurationError, UnknownNameError
from graphgrad.files import write_atomically
from graphgrad.formats import render
from graphgrad.graph import Graph
from graphgrad.interpret import NamedArray, activation_patching, attribution
from graphgrad.interpret.attribution import Attribution
from graphgrad.page import build_page
from graphgrad.page.section_effects import effects_section
from graphgrad.passes import sizes_of
from graphgrad.rendering import View
from graphgrad.rendering.annotations import effects_of
from graphgrad.strict_json import format_json
from graphgrad.text import printable
from graphgrad.tools.opening import need_text, prompts_of, run_of
from graphgrad.tools.options import CHECKPOINT_OPTION, MODEL_OPTION, OneOf, Option, add_options
from graphgrad.tools.streams import say, tell, write_document
from graphgrad.tools.tables import Table, print_csv, print_table
from graphgrad.training.runs import OpenRun

HELP = "find the values of a run that make the difference between two texts"
DESCRIPTION = """Computes the loss of one answer after a clean and after a corrupt text, and for
every value u between the inputs and the loss the estimated effect Σ (u_clean - u_corrupt) · δ_u: by
how much the loss of the corrupt text would change if u were that of the clean one. All estimates
come from one run; --exact runs the model once for each value that is shown, with the clean value in
place of its own. The answer is the model's own to the clean text, unless --target gives one.

    graphgrad patch runs/transformer-001 --clean "de: 14. Juni 1992" --corrupt "de: 14. Juli 1992"
    graphgrad patch runs/gpt-001 --clean "def f(self" --corrupt "def f(other" --target ","
    graphgrad patch runs/transformer-001 --clean … --corrupt … --by head --exact
    graphgrad patch runs/transformer-001 --clean … --corrupt … -o effects.svg
"""
_LIMIT = 20
_AS_TEXT = 60
_PAGE, _TREE = ".html", ".txt"


OPTIONS = (
    Option("run", help="a run folder"),
    MODEL_OPTION,
    CHECKPOINT_OPTION,
    Option("--clean", metavar="TEXT", required=True, help="the text with the right answer"),
    Option("--corrupt", metavar="TEXT", required=True, help="the text to compare with"),
    Option("--target", metavar="TEXT", help="the answer (default: the model's to the clean text)"),
    Option(
        "--node",
        metavar="PATTERN",
        action="append",
        default=[],
        help="only these values: a name, or a pattern with * and ?; may be repeated",
    ),
    Option(
        "--by",
        metavar="AXIS",
        action="append",
        default=[],
        help="an effect for each index of an axis, such as head, query or source; may be repeated",
    ),
    Option("--exact", action="store_true", help="patch each shown value in a run of its own, too"),
    Option("--limit", type=int, metavar="N", default=_LIMIT, help="the N largest (%(default)s)"),
    Option(
        "--output",
        "-o",
        metavar="FILE",
        help="draw the effects on the graph: svg, png, pdf, or a page, html",
    ),
    OneOf(
        Option("--json", action="store_true", help="print one JSON object"),
        Option("--csv", action="store_true", help="print comma-separated values with all digits"),
    ),
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the options of the command to its parser."""
    add_options(parser, OPTIONS)


@dataclass(frozen=True)
class Row:
    """A value, or its part at some index, with its effects."""

    name: str
    place: Mapping[str, int]
    estimate: float
    effect: float = math.nan

    @property
    def label(self) -> str:
        """`u[head=3]`."""
        where = ", ".join(f"{axis}={index}" for axis, index in self.place.items())
        return f"{self.name}[{where}]" if where else self.name


@dataclass(frozen=True)
class _Inputs:
    """What is compared: the graph of the loss with its state, and the inputs of two runs."""

    graph: Graph
    state: Mapping[str, np.ndarray]
    clean: Mapping[str, np.ndarray]
    corrupt: Mapping[str, np.ndarray]
    answer: str


def run(arguments: argparse.Namespace) -> int:
    """Computes the effects, prints the largest, and draws them if a file is given."""
    if arguments.limit < 1:
        raise ConfigurationError(f"--limit {arguments.limit} shows nothing", fix="--limit 20")
    if Path(arguments.output or "").suffix.lower() == _TREE:
        raise ConfigurationError(
            "a tree as text has no place for effects", fix="leave --output out, or -o effects.svg"
        )
    opened = run_of(arguments.run, model_file=arguments.model_file, checkpoint=arguments.checkpoint)
    inputs = _inputs(opened, arguments)
    patterns = arguments.node or ["*"]
    found = attribution(inputs.graph, inputs.clean, inputs.corrupt, inputs.state, patterns)
    if not found.effects:
        raise ConfigurationError(
            "no chosen value is computed from the parameters and needed for the loss",
            fix="choose others by --node",
        )
    rows = sorted(_rows(found, arguments.by), key=lambda row: -_size(row.estimate))
    if not rows:
        known = dict.fromkeys(axis for effect in found.effects for axis in effect.elements.axes)
        raise UnknownNameError(
            f"no chosen value has {' and '.join(f'an axis {axis!r:.40}' for axis in arguments.by)}",
            fix=f"axes: {', '.join(known)}",
        )
    shown = rows[: arguments.limit]
    if arguments.exact:
        shown = _exact(inputs, shown, arguments.by)
    if arguments.json:
        write_document(format_json(_document(arguments, inputs, found, shown), "effects") + "\n")
    elif arguments.csv:
        print_csv(_table(found, shown, arguments.exact))
    else:
        _print(arguments, inputs, found, shown)
    if arguments.output:
        _draw(arguments, inputs, found)
    return 0


def _size(estimate: float) -> float:
    """Of an estimate in the order of rows; one that is not a number is last."""
    return -1.0 if math.isnan(estimate) else abs(estimate)


def _inputs(opened: OpenRun, arguments: argparse.Namespace) -> _Inputs:
    prompts = prompts_of(opened, "gg.attribution")
    need_text("--clean", arguments.clean)
    need_text("--corrupt", arguments.corrupt)
    answer = arguments.target
    if answer is None:
        answer = prompts.answer(opened.state, arguments.clean)
    feeds = prompts.feeds([arguments.clean, arguments.corrupt], answer)
    clean, corrupt = ({name: rows[n : n + 1] for name, rows in feeds.items()} for n in (0, 1))
    if all(np.array_equal(clean[name], corrupt[name]) for name in clean):
        raise ConfigurationError(
            "the two texts are the same tokens: there is no difference to explain",
            fix="change a word of one of them",
        )
    for ids in feeds.values():
        one, other = (ids != PAD).sum(axis=1) if ids.ndim == 2 else (0, 0)
        if one != other:
            tell(
                f"note: the texts have {one} and {other} tokens: positions behind the difference "
                "do not correspond, and effects at positions of the text count that, too"
            )
    return _Inputs(prompts.graph, opened.state, clean, corrupt, answer)


def _rows(found: Attribution, by: list[str]) -> Iterator[Row]:
    for effect in found.effects:
        if not by:
            yield Row(effect.name, {}, effect.estimate)
            continue
        if not set(by) <= set(effect.elements.axes):
            continue
        sums: NamedArray = effect.elements.by(*by, figure="sum")
        for index in np.ndindex(*sums.shape):
            place = dict(zip(sums.axes, index, strict=True))
            yield Row(effect.name, place, float(sums.array[index]))


def _exact(inputs: _Inputs, rows: list[Row], by: list[str]) -> list[Row]:
    """The rows with the effects of a run for each; values that they share run once each."""
    names = list(dict.fromkeys(row.name for row in rows))
    found = activation_patching(inputs.graph, inputs.clean, inputs.corrupt, inputs.state, names, by)
    effects = {(run.name, tuple(run.place.items())): run.effect for run in found.runs}
    return [
        Row(row.name, row.place, row.estimate, effects[row.name, tuple(row.place.items())])
        for row in rows
    ]


def _share(effect: float, found: Attribution) -> float:
    """An effect as a share of L_clean - L_corrupt."""
    whole = found.clean - found.corrupt
    return effect / whole if whole else math.nan


def _table(found: Attribution, rows: list[Row], exact: bool) -> Table:
    headings: tuple[str, ...] = ("value", "estimate", "share")
    if exact:
        headings = (*headings, "exact", "share of exact")
    cells: list[tuple[Any, ...]] = []
    for row in rows:
        line = (row.label, row.estimate, _share(row.estimate, found))
        cells.append((*line, row.effect, _share(row.effect, found)) if exact else line)
    return Table(headings, cells)


def _print(
    arguments: argparse.Namespace, inputs: _Inputs, found: Attribution, rows: list[Row]
) -> None:
    answer = printable(inputs.answer, _AS_TEXT)
    say(f"loss of '{answer}' after the clean text   {found.clean:.4g}")
    say(f"loss of '{answer}' after the corrupt text {found.corrupt:.4g}")
    if found.clean >= found.corrupt:
        tell("note: the answer is no less probable after the corrupt text; shares are of a rise")
    say("")
    print_table(_table(found, rows, arguments.exact))


def _document(
    arguments: argparse.Namespace, inputs: _Inputs, found: Attribution, rows: list[Row]
) -> dict[str, Any]:
    def number(value: float) -> float | None:
        return value if math.isfinite(value) else None

    return {
        "run": arguments.run,
        "clean": arguments.clean,
        "corrupt": arguments.corrupt,
        "target": inputs.answer,
        "loss": {"clean": number(found.clean), "corrupt": number(found.corrupt)},
        "effects": [
            {
                "node": row.name,
                "place": dict(row.place),
                "estimate": number(row.estimate),
                **({"exact": number(row.effect)} if arguments.exact else {}),
            }
            for row in rows
        ],
    }


def _draw(arguments: argparse.Namespace, inputs: _Inputs, found: Attribution) -> None:
    """Draws the forward graph with the estimate of each value."""
    effects = {effect.name: effect.estimate for effect in found.effects}
    caption = (
        f"loss of '{printable(inputs.answer, _AS_TEXT)}': {found.clean:.4g} after "
        f"'{printable(arguments.clean, _AS_TEXT)}', {found.corrupt:.4g} after "
        f"'{printable(arguments.corrupt, _AS_TEXT)}'",
        "in each box Σ (clean - corrupt) · δ: blue lowers the loss of the corrupt text, red "
        "raises it",
    )
    path = Path(arguments.output)
    graph = inputs.graph.with_outputs({"loss": inputs.graph["loss"]}, {})
    if path.suffix.lower() == _PAGE:
        sections = {"effects": effects_section(effects, caption)}
        graph = derive(graph, "loss")
        sizes = sizes_of(graph, inputs.corrupt)
        content = build_page(graph, title="effects", sections=sections, sizes=sizes).encode()
        write_atomically(path, content)
    else:
        view = View(deltas="none", parameters="inside", fold=False)
        content = render(graph, path, view, annotations=effects_of(effects, caption))
    say(f"written {arguments.output} ({len(content):,} bytes)")
