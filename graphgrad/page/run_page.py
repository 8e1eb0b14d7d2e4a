"""Builds the page of a run: one function, whoever asks for it.

`graphgrad render RUN -o page.html` writes what it returns and `graphgrad watch RUN` serves it, so a
saved page and a served one have the same bytes. Equal run folders give equal bytes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from graphgrad.graph import Graph
from graphgrad.page.build import build_page
from graphgrad.page.run_sections import recorded_sections, state_sections
from graphgrad.passes import mixed_precision, sizes_of
from graphgrad.rendering.view import View
from graphgrad.training.run_folder import RunFolder
from graphgrad.training.runs import OpenRun


def run_page(
    run: OpenRun,
    view: View | None = None,
    others: Sequence[RunFolder] = (),
    known: Mapping[str, Any] | None = None,
) -> bytes:
    """The page of a run with all sections for its state, as UTF-8.

    `others` are runs that are drawn beside it over the steps. `known` are the sections of the same
    state that were computed before (`state_sections`), which takes most of the time. A view without
    deltas has no sections.
    """
    view = view or View(deltas="contributions")
    forward = view.deltas == "none"
    sections: dict[str, Any] = {}
    if not forward:
        sections |= state_sections(run) if known is None else known
        sections |= recorded_sections(run, others)
    graph, path = graph_of_run(run, forward), run.folder.path
    sizes = sizes_of(graph, run.task.feeds(run.next_batch))
    title = path.stem or str(path)
    return build_page(graph, sections=sections, title=title, sizes=sizes, view=view).encode()


def graph_of_run(run: OpenRun, forward: bool = False) -> Graph:
    """The graph of a run's training step, or its forward graph, with the casts of its precision."""
    return mixed_precision(run.task.graph if forward else run.graph, run.settings.precision)
