"""Lists the topics of the guide, in the order of reading, and reads their text.

A page may hold a whole file of this folder: an empty block ```` ```python file=NAME ```` is filled
with it when the page is read, so that the program shown is the program tested.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files

from graphgrad.errors import UnknownNameError
from graphgrad.guide.api_page import api_page
from graphgrad.guide.operations_page import operations_page
from graphgrad.guide.passes_page import passes_page
from graphgrad.text import suggestion

_FILE = re.compile(r"^```(\w+) file=([\w.]+)\n```$", re.MULTILINE)


@dataclass(frozen=True)
class Topic:
    """One page: its name on the command line, its group, and a summary of one line."""

    name: str
    group: str
    summary: str


TUTORIAL, INSIDE, OWN = "tutorial", "inside", "own"
COMING, REFERENCE = "coming-from", "reference"

GROUPS: Mapping[str, str] = {
    TUTORIAL: "Tutorial",
    INSIDE: "How it works inside",
    OWN: "Your own",
    COMING: "Coming from",
    REFERENCE: "Reference",
}
"""Groups of topics by name, with their headings."""

TOPICS: tuple[Topic, ...] = (
    Topic("neuron", TUTORIAL, "one neuron, its delta by hand, then derived"),
    Topic("network", TUTORIAL, "the network of 3-3-3 neurons, backpropagation, gradient descent"),
    Topic("attention", TUTORIAL, "queries, keys and values, with numbers; the mask"),
    Topic("transformer", TUTORIAL, "the encoder-decoder, built up, trained and looked into"),
    Topic("gpt", TUTORIAL, "the decoder alone, which continues a text"),
    Topic("bert", TUTORIAL, "the encoder alone, which fills gaps in a text"),
    Topic("lecture", TUTORIAL, "every row of the lecture at one command: graphgrad show TOPIC"),
    Topic("small", INSIDE, "graphgrad in 150 lines: node, delta, derive as one small program"),
    Topic("step", INSIDE, "the life of one training step, from Python to machine code"),
    Topic("loop_language", INSIDE, "the language of kernels: a kernel, its letters, the grammar"),
    Topic("page", INSIDE, "pictures, the page of a graph or a run, figures and checks"),
    Topic("research", INSIDE, "values and deltas at named places: watch, patch, lenses"),
    Topic("gpu", INSIDE, "the same graph on a CUDA device: installation, use, what runs there"),
    Topic("precision", INSIDE, "products in 16 bits: what is cast, what is not, and how to see it"),
    Topic("ranks", INSIDE, "several processes that share each batch, and what they exchange"),
    Topic("machines", INSIDE, "four machines and an ssh login: one training, word for word"),
    Topic("arrays", OWN, "a classifier on arrays of your own, in twenty lines"),
    Topic("model", OWN, "a model file of your own, trained by `graphgrad train`"),
    Topic(
        "recipes",
        OWN,
        "experiments with their settings; what others report, and what runs here give",
    ),
    Topic("text", OWN, "translating text of your own: files, tokens, batches, BLEU"),
    Topic("training", OWN, "long runs: accumulation, best checkpoints, averages, early stopping"),
    Topic("decoding", OWN, "a model's own words: greedy, beam, sampling; a step of your own"),
    Topic("operation", OWN, "an operation of your own, as one block"),
    Topic("rule", OWN, "another delta for a value, and cuts in training"),
    Topic("pass", OWN, "a pass of your own, and a rewrite as data"),
    Topic("backend", OWN, "another way to run a plan"),
    Topic("pytorch", COMING, "PyTorch and graphgrad side by side"),
    Topic("jax", COMING, "JAX and graphgrad side by side"),
    Topic("micrograd", COMING, "micrograd and graphgrad side by side"),
    Topic("operations", REFERENCE, "every operation: formula, delta formula, shapes"),
    Topic("passes", REFERENCE, "every pass and every rule, in order"),
    Topic("api", REFERENCE, "every public name, with its signature"),
    Topic("words", REFERENCE, "the glossary, and the laws of graphgrad"),
    Topic("reliability", REFERENCE, "what you can rely on: numbers, runs, memory, safety"),
    Topic("speed", REFERENCE, "speed beside PyTorch and JAX, and where the time goes"),
)
"""All topics; each is a file `NAME.md` in this folder, or is generated."""

GENERATED: Mapping[str, Callable[[], str]] = {
    "operations": operations_page,
    "passes": passes_page,
    "api": api_page,
}
"""The pages that are generated from the code."""


def text_of(topic: Topic) -> str:
    """The page as Markdown."""
    if topic.name in GENERATED:
        return GENERATED[topic.name]()
    # readers see an empty line where doctest needs a marker
    text = guide_file(f"{topic.name}.md").replace("\n<BLANKLINE>", "\n")
    return _FILE.sub(_with_file, text)


def guide_file(name: str) -> str:
    """The text of a file of this folder."""
    return (files("graphgrad.guide") / name).read_text(encoding="utf-8").replace("\r\n", "\n")


def _with_file(block: re.Match[str]) -> str:
    return f"```{block[1]}\n{guide_file(block[2])}```"


def title_of(text: str) -> str:
    """The heading of a page."""
    return text.partition("\n")[0].removeprefix("# ")


def topics_called(name: str) -> Sequence[Topic]:
    """The topic of this name, or all topics of the group of this name.

    Raises UnknownNameError with the nearest name for any other.
    """
    wanted = name.lower()
    found = [topic for topic in TOPICS if wanted in (topic.name, topic.group)]
    if not found:
        known = [*(topic.name for topic in TOPICS), *GROUPS]
        raise UnknownNameError(
            f"the guide has no topic {name!r}", fix=suggestion(name, known, "topics")
        )
    return found
