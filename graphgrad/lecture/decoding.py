"""The output layer word by word, and teacher forcing beside autoregressive decoding.

Both need a run whose model translates. The logits are those of the run's own graph: with the true
target as its input (teacher forcing), or with what the model itself has given so far.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from graphgrad.errors import ConfigurationError, DataError
from graphgrad.figures.evaluation import values_of
from graphgrad.graph import Graph, Node
from graphgrad.interpret.lens import logits_of
from graphgrad.lecture.blocks import Formula, Lesson, Picture, Prose, Table, shown
from graphgrad.lecture.decoding_pictures import (
    Step,
    output_scene,
    probability_bars,
    ways_scenes,
)
from graphgrad.lecture.request import Request
from graphgrad.lecture.sentences import unknown_words, visible
from graphgrad.ops import log_softmax
from graphgrad.training.prompts import Prompts
from graphgrad.training.runs import OpenRun

OUTPUT = {"place": "0", "top": "5"}
DECODING = {"answer": ""}
MOST = 80  # tokens of an answer
_HEADINGS = ("place", "true token read", "gives", "p", "own token read", "gives", "p", "")
_BESIDE = "Teacher forcing at the left, autoregressive at the right"


@dataclass(frozen=True, eq=False)
class Distribution:
    """Logits and log-probabilities [place, vocabulary] of an answer, and the tokens of both."""

    logits: np.ndarray
    log_probabilities: np.ndarray
    given: tuple[int, ...]
    """The tokens that the decoder reads."""
    wanted: tuple[int, ...]
    """The tokens of the answer: what each place has to predict."""

    def top(self, place: int, count: int) -> list[tuple[int, float]]:
        """The most probable tokens of a place, with their log-probabilities."""
        row = self.log_probabilities[place]
        order = np.argsort(-row, kind="stable")[:count]
        return [(int(token), float(row[token])) for token in order]


def prompts_of(run: OpenRun | None, text: str) -> tuple[OpenRun, Prompts]:
    """The run and its prompts. Raises ConfigurationError for what cannot be translated."""
    if run is None or not text.strip():
        raise ConfigurationError(
            "a run and a text are needed", fix='graphgrad show decoding RUN "de: 22. November 2026"'
        )
    prompts = run.task.prompts
    if prompts is None or "target_input" not in prompts.graph.inputs:
        raise ConfigurationError(
            f"the model {run.model.short_name} does not translate", fix="use a run of transformer"
        )
    return run, prompts


def distribution(run: OpenRun, prompts: Prompts, text: str, answer: str) -> Distribution:
    """Every place of the answer, given the text and the places before it."""
    feeds = prompts.feeds([text], answer)
    logits = logits_of(prompts.graph)
    found = _with_log(prompts.graph, logits, feeds, run)
    given, wanted = feeds["target_input"][0], feeds["target_output"][0]
    if len(given) > MOST:
        raise DataError(f"the answer has {len(given)} tokens, and {MOST} can be shown")
    return Distribution(*found, tuple(map(int, given)), tuple(map(int, wanted)))


def _with_log(
    graph: Graph, logits: Node, feeds: dict[str, np.ndarray], run: OpenRun
) -> tuple[np.ndarray, np.ndarray]:
    log = log_softmax(logits, -1)
    extended = graph.with_outputs({"logits": logits, "log_probabilities": log}, {})
    nodes = [extended.outputs["logits"], extended.outputs["log_probabilities"]]
    values = values_of(extended, nodes, feeds, run.state)
    return values[nodes[0]][0], values[nodes[1]][0]


def output_lesson(request: Request) -> Lesson:
    """Logits, log-probabilities and argmax at one place of the model's own answer."""
    run, prompts = prompts_of(request.run, request.text)
    answer = prompts.answer(run.state, request.text)
    found = distribution(run, prompts, request.text, answer)
    place = request.whole("place", 0, len(found.given) - 1)
    count = request.whole("top", 1, 20)
    best = found.top(place, count)
    names = [prompts.token(token) for token, _ in best]
    rows = [
        [
            name,
            str(token),
            shown(float(found.logits[place, token])),
            shown(log),
            f"{np.exp(log):.4f}",
        ]
        for name, (token, log) in zip(names, best, strict=True)
    ]
    bars = [
        (visible(name), float(found.logits[place, token]), log, float(np.exp(log)))
        for name, (token, log) in zip(names, best, strict=True)
    ]
    before = " ".join(visible(prompts.token(token)) for token in found.given[: place + 1])
    size = found.logits.shape[-1]
    return Lesson(
        "The output layer: logits, log-probabilities, argmax",
        (
            Prose(f"The text {request.text!r} becomes {answer!r}; the decoder has read: {before}"),
            *unknown_words(prompts, request.text, answer),
            Formula(
                (
                    "logits = x W + b        log p_i = logit_i − log Σ exp(logit_j)        "
                    "next token = argmax",
                )
            ),
            Prose(f"Of {size} tokens {visible(names[0])!r} is the most probable at place {place}."),
            Table(("token", "id", "logit", "log-probability", "probability"), rows),
            Picture("From the decoder to a word", output_scene(size, visible(names[0]))),
            Picture(
                f"The {len(best)} most probable tokens at place {place}", probability_bars(bars)
            ),
        ),
    )


def decoding_lesson(request: Request) -> Lesson:
    """Teacher forcing beside autoregressive decoding, token by token, and where they part."""
    run, prompts = prompts_of(request.run, request.text)
    own = prompts.answer(run.state, request.text)
    answer = request.options["answer"] or own
    forced = distribution(run, prompts, request.text, answer)
    free = distribution(run, prompts, request.text, own)
    rows, part = _beside(prompts, forced, free)
    ending = (
        "Both read and give the same tokens."
        + ("" if request.options["answer"] else " (--set answer=… gives the true target.)")
        if part is None
        else f"They part at place {part}: from there on the model reads its own tokens."
    )
    loss = -sum(
        float(forced.log_probabilities[place, token]) for place, token in enumerate(forced.wanted)
    ) / len(forced.wanted)
    return Lesson(
        "Teacher forcing and autoregressive decoding",
        (
            Prose(
                "In training the decoder reads the true target, so all places are computed at once "
                "(teacher forcing). In use it reads what it has given itself, token by token "
                "(autoregressive), and a mistake is read by all places after it."
            ),
            *unknown_words(prompts, request.text, own),
            Table(
                ("", "text"),
                (("given", request.text), ("target", answer), ("its own", own)),
                numbers=2,
            ),
            Table(_HEADINGS, rows, _BESIDE, 2, drawn=True),
            Prose(f"{ending} The loss of the target by teacher forcing is {shown(loss)} a token."),
            Picture.of(
                "Teacher forcing and autoregressive decoding, side by side",
                *ways_scenes(
                    _steps(prompts, forced, forced.wanted),
                    _steps(prompts, free, forced.wanted),
                    part,
                ),
            ),
        ),
    )


def _steps(prompts: Prompts, found: Distribution, wanted: Sequence[int]) -> list[Step]:
    """What is read and given at each place, and whether the target has it there."""
    steps = []
    for place, read in enumerate(found.given):
        token, log = found.top(place, 1)[0]
        right = place < len(wanted) and wanted[place] == token
        names = (visible(prompts.token(read)), visible(prompts.token(token)))
        steps.append(Step(*names, float(np.exp(log)), right))
    return steps


def _beside(
    prompts: Prompts, forced: Distribution, free: Distribution
) -> tuple[list[list[str]], int | None]:
    """Both ways place by place, and the first place at which they differ."""
    rows, part = [], None
    for place in range(max(len(forced.given), len(free.given))):
        cells = [str(place)]
        for side in (forced, free):
            if place < len(side.given):
                token, log = side.top(place, 1)[0]
                read = prompts.token(side.given[place])
                cells += [visible(read), visible(prompts.token(token)), f"{np.exp(log):.3f}"]
            else:
                cells += ["", "", ""]
        apart = cells[2] != cells[5] or cells[1] != cells[4]
        if apart and part is None:
            part = place
        rows.append([*cells, "≠" if apart else ""])
    return rows, part
