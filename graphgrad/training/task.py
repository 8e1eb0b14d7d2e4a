"""Joins a model and the data it learns from into a task, on which every command works.

A model file (one of `graphgrad.models`, or a user's own) has two names that the commands use:

    Settings                                   a frozen dataclass that extends TrainingSettings
    task(settings, files) -> Task              the graph and its data

`files` are the texts (vocabularies, say) that an earlier run saved; empty for a new run. A third,
optional name `CHECK` is a dictionary of settings that make the model small enough for every delta
to be compared with finite differences.
"""

from __future__ import annotations

import hashlib
import importlib.machinery
import importlib.util
import math
import sys
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from types import CodeType, ModuleType
from typing import Any, Protocol

import numpy as np

from graphgrad.data.corpus import Pair
from graphgrad.decoding import Decodable, Options, Watch
from graphgrad.errors import ConfigurationError, UnknownNameError
from graphgrad.files import disk_errors, read_file
from graphgrad.graph import Graph
from graphgrad.text import suggestion
from graphgrad.training.optimisers import training_step
from graphgrad.training.prompts import Prompts
from graphgrad.training.settings import TrainingSettings
from graphgrad.training.spread import Spread

Feeds = dict[str, np.ndarray]
State = Mapping[str, np.ndarray]
Figures = dict[str, float]
Stages = Callable[[str, int, int], None]
"""Told what is being done, and how much of it of how much; it may raise `decoding.Stopped`."""
Gap = Sequence[tuple[str, float]]
"""Words that may stand in a gap, with their probabilities, the most probable first."""
_LIMIT = 1 << 26  # bytes: a larger file is no model


@dataclass(frozen=True)
class Rendering:
    """A text that a model gave."""

    text: str
    score: float = math.nan
    """What the renderings of one text are ordered by; NaN where no score was asked for."""
    log_probability: float = math.nan


def quietly(stage: str, done: int, total: int) -> None:
    """Nobody looks on."""


class Translations(Protocol):
    """Texts to texts: the place of each text and its renderings, the best first, as soon as they
    are done, which need not be in order. `first` is the number of the first text of several calls.
    """

    def __call__(
        self, state: State, texts: Sequence[str], options: Options, watch: Watch, first: int
    ) -> Iterator[tuple[int, list[Rendering]]]: ...


@dataclass(frozen=True)
class Task:
    """A forward graph and the sources of its inputs: the result of a model file's `task`.

    >>> import numpy as np
    >>> import graphgrad as gg
    >>> x = gg.input("x", ("batch", 2))
    >>> loss = gg.mean(gg.layers.dense(x, 1) ** 2.0, name="loss")
    >>> task = gg.training.Task(
    ...     graph=gg.Graph(loss),
    ...     feeds=lambda step: {"x": np.random.default_rng(step).normal(size=(8, 2))},
    ...     evaluate=lambda state: {"loss": 0.0, "examples": 0},
    ... )
    >>> task.count(task.feeds(0)), task.unit
    (8, 'examples')
    """

    graph: Graph
    """Forward only, with a scalar output `loss`; inputs, parameters and states by name.

    Its updates (running statistics, say) belong to the training step; a graph that the task
    evaluates with has none: `graph.with_outputs(outputs, {})`."""
    feeds: Callable[[int], Feeds]
    """The inputs of a training step: a pure function of its number (from 0)."""
    evaluate: Callable[[State], dict[str, float]]
    """Figures on held-out data; at least `loss` and `examples`."""
    validate: Callable[[State], dict[str, float]] | None = None
    """Quick figures on held-out data during training; without it there are none."""
    spread: Callable[[State, Stages, bool, Spread], Figures] | None = None
    """What `evaluate` gives (or, where the third is True, what `validate` does), the work divided
    among processes by the last; without it the first rank of several evaluates alone."""
    tokens: Callable[[Feeds], int] | None = None
    """How many tokens a batch holds, for the display of speed; without it examples are counted."""
    examples: Callable[[State], Sequence[str]] = lambda state: ()
    """Lines that show samples of the model's results at this state."""
    translate: Callable[[State, Sequence[str]], list[str]] | None = None
    """Texts to texts, where the model translates."""
    translations: Translations | None = None
    """The same with options, one after another, where the model is decoded by this package."""
    measure: Callable[[State, Options, Stages, bool], Figures] | None = None
    """What `evaluate` gives, with options of decoding and with somebody who looks on; or, where the
    last is True, what `validate` gives."""
    by_language: (
        Callable[[State, Options, Stages], tuple[Figures, Mapping[str, Figures]]] | None
    ) = None
    """What `measure` gives at the end, and likewise for each language of the data, where its texts
    say in which language they are."""
    generate: Callable[[State, str, Options, int | None], Iterator[str]] | None = None
    """A prompt to what follows it, piece by piece, at most so many tokens: where the model writes
    on."""
    fill: Callable[[State, str, int], list[Gap]] | None = None
    """A text to the so many most probable words for each gap in it, where the model fills gaps."""
    prompts: Prompts | None = None
    """The loss of an answer to a text that a user types, where the model reads text."""
    decodable: Decodable | None = None
    """The encoder and the step of decoding, where the model is decoded by this package."""
    files: Mapping[str, str] = field(default_factory=dict)
    """Texts to keep in the run folder, so that a run can be used without its data."""
    labels: Mapping[str, Sequence[str]] = field(default_factory=dict)
    """For inputs of ids [batch, n], the token of each id, which pictures of attention
    show. Not needed where `files` has `vocabulary-AXIS.json` for the axis n."""
    step: Callable[[Graph, TrainingSettings], Graph] = training_step
    """The training step of a graph under the settings of a run. A model with several losses or
    optimisers gives a function of its own that calls `optimised` once for each."""
    notice: str = ""
    """What a person should know of the data at the start, a line for each thing."""
    about: Callable[[], Sequence[str]] = tuple
    """What the data and the batches are, a line for each thing, said before training."""
    sizes: Callable[[], Sequence[Mapping[str, int]]] = tuple
    """The sizes of the batches that need the most memory, where batches differ in size."""
    signatures: Callable[[], Mapping[str, str]] = dict
    """How figures of held-out data that have several definitions are computed, by their names."""

    knowing_nothing: float = math.nan
    """The loss of a model that gives all classes the same probability, ln V of a vocabulary."""
    measure_pairs: Callable[[State, Sequence[Pair], Options, Stages], Figures] | None = None
    """The figures of pairs of texts that a user gives, where the model translates."""

    @property
    def unit(self) -> str:
        """What is counted in a batch."""
        return "examples" if self.tokens is None else "tokens"

    def count(self, feeds: Feeds) -> int:
        """The number of examples or tokens in a batch."""
        return len(next(iter(feeds.values()))) if self.tokens is None else self.tokens(feeds)


@dataclass(frozen=True)
class ModelFile:
    """A model's name, settings and task, found by a built-in name or a path."""

    name: str
    """The name by which `load_model` finds it: built-in, or the absolute path of the file."""
    settings: TrainingSettings
    """The defaults."""
    task: Callable[[Any, Mapping[str, str]], Task]
    check: Mapping[str, Any]
    digest: str = ""
    """The sha256 of the file that was run; empty for a built-in model."""
    files: Mapping[str, str] = field(default_factory=dict)
    """Settings that name files, and how a recipe calls these in the folder of `--data`."""
    recipe: str = ""
    """The recipe that the settings are of, where one was named."""

    @property
    def short_name(self) -> str:
        return self.recipe or Path(self.name).stem


def load_model(name: str, builtin: Mapping[str, ModuleType]) -> ModelFile:
    """The built-in model of that name, or the model declared by the Python file at that path.

    The file is run, so the name must come from the user. For a name in a run's configuration see
    `trust.py`.
    """
    digest = ""
    if name in builtin:
        module, identity = builtin[name], name
    elif is_path(name):
        path = Path(name)
        source = read_model_file(path, _known_models(builtin, name))
        digest = hashlib.sha256(source).hexdigest()
        module, identity = _executed(path, source), str(path.resolve())
    else:
        raise UnknownNameError(
            f"there is no model called {name!r}", fix=_known_models(builtin, name)
        )
    for wanted in ("Settings", "task"):
        if not callable(getattr(module, wanted, None)):
            raise ConfigurationError(
                f"the model file declares no {wanted}",
                identity,
                "see graphgrad/training/task.py for what a model file has",
            )
    try:
        settings = module.Settings()
    except TypeError as problem:
        raise ConfigurationError(
            f"Settings() cannot be made: {problem}", identity, "give each setting a default"
        ) from None
    if not isinstance(settings, TrainingSettings):
        raise ConfigurationError("Settings must extend TrainingSettings", identity)
    task = partial(_task_of, module, identity)
    return ModelFile(identity, settings, task, getattr(module, "CHECK", {}), digest)


def _task_of(module: Any, where: str, settings: Any, files: Mapping[str, str]) -> Task:
    """The result of the model file's `task`. Raises ConfigurationError where it is not a Task."""
    made = module.task(settings, files)
    if not isinstance(made, Task):
        raise ConfigurationError(
            f"task() of the model gives {type(made).__name__}, not a Task",
            where,
            "end it with `return Task(…)`",
        )
    return made


def is_path(name: str) -> bool:
    """Whether a model's name is the path of a file rather than that of a built-in model."""
    return name.endswith(".py") or "/" in name


def read_model_file(path: Path, fix: str) -> bytes:
    """The text of a model file. Raises UnknownNameError with this fix where there is none."""
    with disk_errors(path, "read"):
        if not path.is_file():
            raise UnknownNameError(f"there is no model file {path}", fix=fix)
        if path.suffix != ".py":
            raise ConfigurationError(
                f"{path} is not a Python file", fix="a model file ends with .py"
            )
        return read_file(path, _LIMIT)


class _Loader(importlib.machinery.SourceFileLoader):
    """Runs code that is compiled already; `SourceFileLoader` would look for a copy on disk."""

    def __init__(self, name: str, path: str, code: CodeType) -> None:
        super().__init__(name, path)
        self._code = code

    def get_code(self, fullname: str) -> CodeType:
        return self._code


def _executed(path: Path, source: bytes) -> ModuleType:
    """The user's own file, run as a module: it is their program, named by them.

    The text that was read is run, never a compiled copy beside it. The file can import the modules
    of its folder, as a script can.
    """
    name = f"graphgrad_user_model_{path.stem}"
    loader = _Loader(name, str(path), _compiled(path, source))
    spec = importlib.util.spec_from_file_location(name, path, loader=loader)
    assert spec is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their module up
    with _neighbours(path.absolute().parent):
        try:
            loader.exec_module(module)
        except ImportError as error:
            raise _explained(error, path) from error
    return module


@contextmanager
def _neighbours(folder: Path) -> Iterator[None]:
    """Lets the block import the modules of a folder, as a script there could.

    They are removed from `sys.modules` afterwards: the folder of another model may have modules of
    the same names.
    """
    before = set(sys.modules)
    importlib.invalidate_caches()
    sys.path.insert(0, str(folder))
    try:
        yield
    finally:
        with suppress(ValueError):
            sys.path.remove(str(folder))
        fresh = [name for name in sys.modules if name.partition(".")[0] not in before]
        for name in [name for name in fresh if _is_in(folder, name.partition(".")[0])]:
            del sys.modules[name]


def _is_in(folder: Path, name: str) -> bool:
    """Whether an imported module or package is stored directly in the folder."""
    file = getattr(sys.modules.get(name), "__file__", None)
    path = Path(file) if file else Path()
    return folder in (path.parent, path.parent.parent if path.stem == "__init__" else None)


def _explained(error: ImportError, path: Path) -> ConfigurationError:
    """The error about an import that failed, with the line of the user's own file."""
    frames = traceback.extract_tb(error.__traceback__)
    theirs = [
        frame
        for frame in frames
        if Path(frame.filename).parent == path.absolute().parent or frame.filename == str(path)
    ]
    where = f"{theirs[-1].filename}:{theirs[-1].lineno}" if theirs else str(path)
    return ConfigurationError(
        f"the model file cannot import what it needs: {error}",
        where,
        "install it, or put it beside the model file",
    )


def _compiled(path: Path, source: bytes) -> CodeType:
    """The compiled file. Raises ConfigurationError naming the line that is not Python.

    Compiling is separate from running, so that a syntax error in an imported module is not reported
    as one of this file.
    """
    try:
        return compile(source, str(path), "exec")
    except SyntaxError as problem:
        line = f":{problem.lineno}" if problem.lineno else ""
        raise ConfigurationError(
            f"the model file is not valid Python: {problem.msg}", f"{path}{line}", "correct it"
        ) from None
    except ValueError as problem:  # zero bytes
        raise ConfigurationError(f"the model file is not text: {problem}", path) from None


def _known_models(builtin: Mapping[str, ModuleType], name: str) -> str:
    near = suggestion(name, builtin, "")
    hint = f"{near} " if near.startswith("did") else ""
    return f"{hint}built-in models: {', '.join(builtin)}; or give the path of a .py file"
