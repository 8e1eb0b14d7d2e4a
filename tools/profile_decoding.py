"""The programs of a model in use, for `profile --what encoding` and `--what decoding`.

They are those that the decoder runs for as many sentences as a batch has, in the middle of their
translations, with random weights: times do not depend on the numbers.
"""

from __future__ import annotations

import numpy as np

from graphgrad.backends import Program
from graphgrad.decoding.programs import Programs, Wanted
from graphgrad.decoding.sizes import batch_for, slots_for, width_for
from graphgrad.errors import ConfigurationError
from graphgrad.graph import initial_state
from graphgrad.layers import StepSizes
from graphgrad.passes import sizes_of
from graphgrad.training.settings import TrainingSettings
from graphgrad.training.task import Feeds, Task

USES = ("training", "encoding", "decoding")
Profiled = tuple[Program, dict[str, np.ndarray], Feeds]


def program_in_use(task: Task, use: str, settings: TrainingSettings, model: str) -> Profiled:
    """The encoder's program or that of one step of greedy decoding, its state and its inputs.

    Raises ConfigurationError for a model that is not decoded, or that has no encoder.
    """
    decodable = task.decodable
    if decodable is None:
        raise ConfigurationError(f"the model {model} is not decoded", fix="leave --what out")
    programs = Programs(decodable, settings.backend)
    state = initial_state(task.graph, settings.seed)
    batch, source = batch_for(settings.batch_size, 1), np.zeros((0, 0), np.int32)
    if decodable.encoding is not None:
        given = task.feeds(0)["source"]
        width = width_for(given.shape[1], decodable.source_positions)
        source = np.ones((batch, width), np.int32)
    elif use == "encoding":
        raise ConfigurationError(f"the model {model} has no encoder", fix="--what decoding")
    if use == "encoding":
        encoding = programs.encoding
        assert encoding is not None
        inputs = {"source": source}
        return encoding.program(**sizes_of(encoding.graph, inputs)), state, inputs
    positions = decodable.positions
    slots = slots_for(source.shape[1], positions or 1 << 20, 1, positions)
    step = programs.step(StepSizes(batch, 1, slots), Wanted())
    done = slots // 2
    feeds = {
        **programs.encoded(state, source),
        "token": np.ones((batch, 1), np.int32),
        "position": np.full((batch, 1), done, np.int32),
        "slot": np.full((batch, 1), done, np.int32),
        "visible": np.broadcast_to(np.arange(slots) <= done, (batch, 1, slots)),
    }
    inputs = {name: feeds[name] for name in step.inputs}
    caches = {name: np.zeros(*its) for name, its in step.caches.items()}
    return step.compiled.program(**sizes_of(step.compiled.graph, inputs)), state | caches, inputs
