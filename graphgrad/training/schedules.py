"""The learning rate as a function of the step's number, in the graph.

With n the number of the step (from 1), w = `warmup`, p = (n - w) / (steps + 1 - w) what is done of
the rest, and m = `final_share`, η is `learning_rate` times

    constant       1
    inverse_sqrt   √(w / n)                            (noam: the paper's name for it)
    cosine         m + (1 - m) (1 + cos πp) / 2
    linear         m + (1 - m) (1 - p)
    wsd            1, and over the last share `decay_share` of the steps linearly down to m
    exponential    mᵖ

after a warm-up in which it rises linearly from `warmup_start` to `learning_rate`. A fall ends at
the step after the last one, so that even with m = 0 the last step moves something.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

from graphgrad.graph import Node
from graphgrad.ops import cos, maximum, minimum, multiply, power
from graphgrad.training.settings import TrainingSettings


def learning_rate(number: Node, settings: TrainingSettings) -> Node:
    """The rate of step `number`."""
    warmup, peak = max(settings.warmup, 1), settings.learning_rate
    rising = minimum(number / float(warmup), 1.0)
    if settings.warmup and settings.warmup_start:
        start = settings.warmup_start / peak
        rising = start + (1.0 - start) * rising
    return multiply(
        _SHAPES[settings.schedule](number, rising, settings), peak, name="learning_rate"
    )


def _constant(number: Node, rising: Node, settings: TrainingSettings) -> Node:
    return rising


def _inverse_sqrt(number: Node, rising: Node, settings: TrainingSettings) -> Node:
    return minimum(rising, (number / float(max(settings.warmup, 1))) ** -0.5)


def _cosine(number: Node, rising: Node, settings: TrainingSettings) -> Node:
    done = _done(number, settings, settings.warmup)
    return rising * _above(settings, 0.5 * (1.0 + cos(done * math.pi)))


def _linear(number: Node, rising: Node, settings: TrainingSettings) -> Node:
    return rising * _above(settings, 1.0 - _done(number, settings, settings.warmup))


def _stable(number: Node, rising: Node, settings: TrainingSettings) -> Node:
    begin = settings.steps - round(settings.decay_share * settings.steps)
    return rising * _above(settings, 1.0 - _done(number, settings, max(begin, settings.warmup)))


def _exponential(number: Node, rising: Node, settings: TrainingSettings) -> Node:
    return rising * power(settings.final_share, _done(number, settings, settings.warmup))


_SHAPES: Mapping[str, Callable[[Node, Node, TrainingSettings], Node]] = {
    "constant": _constant,
    "inverse_sqrt": _inverse_sqrt,
    "noam": _inverse_sqrt,
    "cosine": _cosine,
    "linear": _linear,
    "wsd": _stable,
    "exponential": _exponential,
}
"""Each `settings.SCHEDULES` as a share of the peak."""


def _done(number: Node, settings: TrainingSettings, begin: int) -> Node:
    """The share that is done of the steps after `begin`: 0 up to there, 1 after the last step."""
    left = float(max(settings.steps + 1 - begin, 1))
    return minimum(maximum((number - float(begin)) / left, 0.0), 1.0)


def _above(settings: TrainingSettings, falling: Node) -> Node:
    """What falls from 1 to 0, from 1 to the least rate."""
    least = settings.final_share
    return least + (1.0 - least) * falling if least else falling
