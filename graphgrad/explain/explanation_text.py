"""An explanation as lines of text, each with a style: plain in a pipe, in colour in a terminal.

The order is that of a lecture: what is asked, how the node comes to the loss, one numbered step for
each δ, all of them together, and the proof by numbers. A check stands at the right of the line that
it is about.
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
_COLUMN = 78  # where a check stands, if the formula leaves it the room
_OPENING = (
    "What a node u does to the {of}, it does through its tails t, the nodes that use it. So its "
    "delta is the sum of what each tail sends back, δ[u] = Σ δ[u←t], and it starts with "
    "δ[{of}] = ∂{of}/∂{of} = 1. {scope}At the right of each line stands by how much its two sides "
    "differ on a batch: the left as the graph derived it, the right worked out anew from how the "
    "tail changes when the head is moved."
)
_COUNTS = ("", "once", "twice", "three times", "four times", "five times", "six times")


def rows(explanation: Explanation) -> Iterator[Row]:
    """The whole explanation."""
    yield from _head(explanation)
    told: set[str] = set()
    for number, step in enumerate(explanation.steps, 1):
        yield ()
        yield from _step(number, step, explanation.of, told)
    yield from _given(explanation)
    yield from _together(explanation)
    yield from _proof(explanation)


def text_lines(explanation: Explanation) -> Iterator[str]:
    """The same without styles."""
    for row in rows(explanation):
        yield "".join(text for text, _ in row).rstrip()


def _head(explanation: Explanation) -> Iterator[Row]:
    name, of = printable(explanation.node), printable(explanation.of)
    yield ((f"δ[{name}] = ∂{of} / ∂{name}", "title"),)
    place = f", declared at {explanation.origin}" if explanation.origin else ""
    yield (
        (f"{shape_text(explanation.shape)}, computed by {explanation.operation}{place}", "faint"),
    )
    if explanation.value:
        short = explanation.steps[0].node if explanation.steps else name
        yield (("", "text"),)
        yield ((f"    {short} = {explanation.value}", "formula"),)
    scope = (
        f"Names of {printable(explanation.scope)} stand without it. " if explanation.scope else ""
    )
    yield (("", "text"),)
    yield from _prose(_OPENING.format(of=of, scope=scope), "")


def _step(number: int, step: DerivationStep, of: str, told: set[str]) -> Iterator[Row]:
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
    yield from _reasons(step, of, told)
    if step.likewise:
        listed = ", ".join(f"δ[{name}]" for name in step.likewise)
        yield from _prose(
            f"In the same way, with their own names: {listed}.", "    ", step.likewise_agreement
        )


def _sum(step: DerivationStep) -> Iterator[Row]:
    """δ[u] = …, a line for each tail with its check, and a check of the sum."""
    left = f"δ[{step.node}] = "
    for place, line in enumerate(step.lines):
        start = left if not place else "+ ".rjust(len(left))
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


def _reasons(step: DerivationStep, of: str, told: set[str]) -> Iterator[Row]:
    """Each rule that is used, with its reason the first time; and who hands δ on unchanged."""
    seen: set[tuple[str, ...]] = set()
    for line in step.lines:
        if line.rules not in seen:
            seen.add(line.rules)
            why = "" if not line.reason or line.reason in told else f": {line.reason}"
            told.add(line.reason)
            yield from _prose(f"{_rule(line)}{why}.", "    ")
    chains = [(*line.passed, line.sender) for line in step.lines if line.passed]
    if chains:
        chain = " = ".join(f"δ[{name}]" for name in chains[0])
        others = ", and so for the others" if len(chains) > 1 else ""
        yield from _prose(f"What only adds hands δ on unchanged: {chain}{others}.", "    ")
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
            f"Here the derivation stops, and takes as given {listed}. Each comes of "
            f"its own tails in the same way: explain it in turn, or go on with more "
            f"steps.",
            "",
        )


def _together(explanation: Explanation) -> Iterator[Row]:
    """The steps put together, as many on a line as it holds."""
    yield ()
    yield (("Together", "title"),)
    for closing in explanation.together:
        together = closing.said
        if together.rewrites:
            yield from _prose("On the way the passes rewrite what the rules give:", "    ")
        for item in together.rewrites:
            yield ((f"        {item.before}", "formula"),)
            yield (f"     →  {item.after}", "formula"), (f"    ({item.rule})", "faint")
        yield (("", "text"),)
        yield from _checked(f"        δ[{closing.node}] = {together.text}", closing.agreement)
        several = closing.last > closing.first
        steps = f"s {closing.first} to {closing.last}" if several else f" {closing.first}"
        yield ((f"            by step{steps}", "faint"),)
        yield from _symbols(together, closing.node)


def _symbols(together: ClosedForm, node: str) -> Iterator[Row]:
    for item in together.definitions:
        yield ((f"            {item.symbol} = {item.text}", "formula"),)
    values = [
        f"{item.symbol} = {item.example:.6g}"
        for item in together.definitions
        if item.example is not None
    ]
    if values and together.example is not None:
        place = shape_text(together.place)
        yield (("", "text"),)
        yield from _prose(
            f"For example at {place}, where δ[{node}] is largest: "
            f"{', '.join(values)}, and it is {together.example:.6g}.",
            "    ",
        )


def _proof(explanation: Explanation) -> Iterator[Row]:
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
    """A formula and its check: beside it where there is room, else below."""
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
    """A paragraph, filled."""
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
