"""Writes an explanation as lines of text with styles: in colour in a terminal, plain in a pipe.

The order is that of a lecture: the question, one numbered step for each δ, the closed forms, and
the check by finite differences. The check of a line is written at its right.
"""

from __future__ import annotations

import textwrap
from collections.abc import Iterator
from typing import Literal

from graphgrad.explain.closed_form import ClosedForm
from graphgrad.explain.explanation import (
    DerivationStep,
    Explanation,
    Line,
    LineAgreement,
)
from graphgrad.graph.types import shape_text
from graphgrad.text import printable

Style = Literal["title", "formula", "text", "good", "bad", "faint"]
Piece = tuple[str, Style]
Row = tuple[Piece, ...]
"""One line: its pieces from left to right."""

WIDTH = 100
_COLUMN = 78  # of the checks, if the formula is not longer
_OPENING = (
    "A node u influences the {of} only through its tails t, the nodes that use it. So its delta is "
    "the sum of what each tail sends back, δ[u] = Σ δ[u←t], beginning with δ[{of}] = ∂{of}/∂{of} "
    "= 1. {scope}The number at the right of a line is the difference of its two sides on a batch: "
    "the left side is the value in the derived graph, the right side is computed from the change "
    "of the tail when the head is moved."
)
_COUNTS = ("", "once", "twice", "three times", "four times", "five times", "six times")


def rows(explanation: Explanation) -> Iterator[Row]:
    """The whole explanation."""
    yield from _head(explanation)
    explained: set[str] = set()
    for number, step in enumerate(explanation.steps, 1):
        yield ()
        yield from _step(number, step, explanation.of, explained)
    yield from _given(explanation)
    yield from _closed_forms(explanation)
    yield from _finite_differences(explanation)


def text_lines(explanation: Explanation) -> Iterator[str]:
    """The whole explanation as plain lines."""
    for row in rows(explanation):
        yield "".join(text for text, _ in row).rstrip()


def _head(explanation: Explanation) -> Iterator[Row]:
    name, of = printable(explanation.node), printable(explanation.of)
    yield ((f"δ[{name}] = ∂{of} / ∂{name}", "title"),)
    where = f", declared at {explanation.origin}" if explanation.origin else ""
    yield (
        (f"{shape_text(explanation.shape)}, computed by {explanation.operation}{where}", "faint"),
    )
    if explanation.value:
        short = explanation.steps[0].node if explanation.steps else name
        yield (("", "text"),)
        yield ((f"    {short} = {explanation.value}", "formula"),)
    if explanation.note:
        yield ((f"    with {explanation.note}", "text"),)
    if explanation.neuron:
        yield ((f"    {explanation.neuron}", "formula"),)
    scope = (
        f"Names in {printable(explanation.scope)} are written without it. "
        if explanation.scope
        else ""
    )
    yield (("", "text"),)
    yield from _prose(_OPENING.format(of=of, scope=scope), "")


def _step(number: int, step: DerivationStep, of: str, explained: set[str]) -> Iterator[Row]:
    yield ((f"{number}.  δ[{step.node}]", "title"),)
    lines = step.lines
    if not lines:
        yield from _prose("nothing that the loss depends on uses it, so its delta is 0.", "    ")
        return
    how_often = _COUNTS[len(lines)] if len(lines) < len(_COUNTS) else f"{len(lines)} times"
    end = ":" if len(lines) > 1 else ", in"
    yield ((f"    {step.node} is used {how_often}{end}", "text"),)
    for line in lines:
        yield ((f"        {line.use}", "formula"),)
    yield (("", "text"),)
    yield from _sum(step)
    yield (("", "text"),)
    yield from _reasons(step, of, explained)
    if step.similar:
        listed = ", ".join(f"δ[{name}]" for name in step.similar)
        yield from _prose(
            f"In the same way, with their own names: {listed}.", "    ", step.similar_agreement
        )


def _sum(step: DerivationStep) -> Iterator[Row]:
    """δ[u] = …, a line for each tail with its check, and a check of the sum."""
    left = f"δ[{step.node}] = "
    for number, line in enumerate(step.lines):
        start = left if number == 0 else "+ ".rjust(len(left))
        formula = " + ".join(line.formulas)
        yield from _checked(f"        {start}{formula}", line.agreement)
        if line.agreement is None:
            yield (
                ("        (the rule is the model's own and need not be the derivative)", "faint"),
            )
    if len(step.lines) > 1:
        yield from _checked("        the sum of these", step.total)
    elif not step.total.agrees:
        yield from _checked("        the delta and what the tail sends back", step.total)


def _reasons(step: DerivationStep, of: str, explained: set[str]) -> Iterator[Row]:
    """Each rule that is used, with its reason the first time; nodes that pass δ on unchanged."""
    seen: set[tuple[str, ...]] = set()
    for line in step.lines:
        if line.rules not in seen:
            seen.add(line.rules)
            why = "" if not line.reason or line.reason in explained else f": {line.reason}"
            explained.add(line.reason)
            yield from _prose(f"{_rule(line)}{why}.", "    ")
    chains = [(*line.passed, line.sender) for line in step.lines if line.passed]
    if chains:
        chain = " = ".join(f"δ[{name}]" for name in chains[0])
        others = ", and so for the others" if len(chains) > 1 else ""
        yield from _prose(f"Nodes that only add pass δ on unchanged: {chain}{others}.", "    ")
    if any(line.sender == of for line in step.lines):
        yield from _prose(f"And δ[{of}] = 1: this is where it starts.", "    ")


def _rule(line: Line) -> str:
    """`The rule of divide is δ / x₂`."""
    name, _, _ = line.rules[0].partition(": ")
    texts = list(dict.fromkeys(rule.partition(": ")[2] for rule in line.rules))
    return f"The rule of {name} is {' and '.join(texts)}"


def _given(explanation: Explanation) -> Iterator[Row]:
    if explanation.given:
        yield ()
        listed = ", ".join(f"δ[{name}]" for name in explanation.given)
        yield from _prose(
            f"Here the derivation stops, with these deltas taken as given: {listed}. Each is the "
            f"sum over its own tails: explain it next, or allow more steps.",
            "",
        )


def _closed_forms(explanation: Explanation) -> Iterator[Row]:
    """The closed forms, each with the rewrites that led to it and the meaning of its symbols."""
    yield ()
    yield (("Together", "title"),)
    for line in explanation.closed_forms:
        form = line.form
        if form.rewrites:
            yield from _prose("The passes rewrite the results of the rules:", "    ")
        for item in form.rewrites:
            yield ((f"        {item.before}", "formula"),)
            yield (f"     →  {item.after}", "formula"), (f"    ({item.rule})", "faint")
        yield (("", "text"),)
        yield from _checked(f"        δ[{line.node}] = {form.text}", line.agreement)
        several = line.last > line.first
        steps = f"s {line.first} to {line.last}" if several else f" {line.first}"
        yield ((f"            by step{steps}", "faint"),)
        yield from _symbols(form, line.node)


def _symbols(form: ClosedForm, node: str) -> Iterator[Row]:
    """The meaning of the symbols of a closed form, and an example."""
    for item in form.definitions:
        yield ((f"            {item.symbol} = {item.text}", "formula"),)
    values = [
        f"{item.symbol} = {item.example:.6g}"
        for item in form.definitions
        if item.example is not None
    ]
    if values and form.example is not None:
        index = shape_text(form.index)
        yield (("", "text"),)
        yield from _prose(
            f"For example at {index}, where δ[{node}] is largest: "
            f"{', '.join(values)}, and it is {form.example:.6g}.",
            "    ",
        )


def _finite_differences(explanation: Explanation) -> Iterator[Row]:
    """The verdict of the finite differences at the node."""
    verdict = explanation.verdict
    yield ()
    yield (("By finite differences", "title"),)
    if verdict.numeric is None or verdict.symbolic is None:
        yield from _prose("the node cannot be moved.", "    ")
        return
    yield from _prose(
        f"The graph is cut at the node and its value moved a little along a random direction v: "
        f"∂{explanation.of}/∂v = {verdict.numeric:.10g}, and ⟨δ, v⟩ = {verdict.symbolic:.10g}.",
        "    ",
    )
    good = verdict.verdict in ("ok", "kink", "replaced")
    mark = {"ok": "✓ equal", "wrong": "✗ WRONG"}.get(verdict.verdict, f"~ {verdict.verdict}")
    yield (
        (
            f"    {mark}, relative difference {verdict.relative_error:.1e}",
            "good" if good else "bad",
        ),
    )
    if verdict.verdict == "kink":
        yield from _prose(
            "The step carries some element over a kink (a relu at 0, a tie), where there is no one "
            "derivative; no rule on the way is wrong on its own.",
            "    ",
        )
    if verdict.suspect:
        yield (
            (
                f"    to blame: {printable(verdict.suspect)}, {verdict.suspect_rule}"
                f"  {verdict.suspect_origin}",
                "bad",
            ),
        )


def _checked(text: str, agreement: LineAgreement | None) -> Iterator[Row]:
    """A formula and its check: beside it if there is room, else below."""
    if agreement is None:
        yield ((text, "formula"),)
    elif len(text) <= _COLUMN + 8:
        gap = " " * max(_COLUMN - len(text), 2)
        yield (text, "formula"), (gap, "text"), _mark(agreement)
    else:
        yield ((text, "formula"),)
        yield (" " * _COLUMN, "text"), _mark(agreement)


def _mark(agreement: LineAgreement) -> Piece:
    if agreement.agrees:
        return f"✓ {agreement.difference:.1e}", "good"
    return (f"✗ {agreement.difference:.1e} of {agreement.largest:.1e}: the sides differ", "bad")


def _prose(text: str, indent: str, agreement: LineAgreement | None = None) -> Iterator[Row]:
    """A paragraph, wrapped."""
    lines = textwrap.wrap(
        text[:1].upper() + text[1:] if not indent else text,
        WIDTH,
        initial_indent=indent,
        subsequent_indent=indent,
        break_long_words=False,
        break_on_hyphens=False,
    )
    for line in lines[:-1]:
        yield ((line, "text"),)
    last: Row = ((lines[-1], "text"),)
    yield last if agreement is None else (*last, ("  ", "text"), _mark(agreement))
