"""Several heads: two of them in two colours, all of them, and how they are split and joined.

With a run, the sentence is read by the run's own model; without one, by attention whose matrices
are drawn at random.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from graphgrad.errors import ConfigurationError, UnknownNameError
from graphgrad.graph import Graph, input
from graphgrad.layers import multi_head_attention
from graphgrad.lecture.blocks import Block, Formula, Lesson, Picture, Prose, Table, shown
from graphgrad.lecture.head_lines import lines_scenes
from graphgrad.lecture.head_split import split_scene
from graphgrad.lecture.notation import Notation
from graphgrad.lecture.request import Request
from graphgrad.lecture.sentences import (
    SentenceAttention,
    sentence_attentions,
    unknown_words,
    visible,
)
from graphgrad.lecture.values import computed, drawn_state
from graphgrad.text import suggestion
from graphgrad.training.runs import OpenRun

HEADS = {
    "heads": "8",
    "width": "32",
    "seed": "3",
    "attention": "",
    "of": "",
    "word": "it",
    "answer": "",
}
SENTENCE = "The animal did not cross the street because it was too tired"
ALL = "all"
"""The value of `word` for the lines of all words."""


def chosen(found: Sequence[SentenceAttention], name: str) -> SentenceAttention:
    """The attention of a name; the first by default."""
    names = [item.name for item in found]
    if not name:
        return found[0]
    if name not in names:
        raise UnknownNameError(
            f"no attention is called {name!r:.60}", fix=suggestion(name, names, "attentions")
        )
    return found[names.index(name)]


def heads_of(text: str, count: int) -> tuple[int, ...]:
    """Numbers of heads, from 0: `0, 3`; all by default."""
    try:
        found = (
            tuple(int(part) for part in text.split(",")) if text.strip() else tuple(range(count))
        )
    except ValueError:
        found = ()
    if not found or not all(0 <= head < count for head in found):
        raise ConfigurationError(
            f"the heads are 0 to {count - 1}, not {text!r:.60}", fix="--set of=0,1"
        )
    return found


def word_of(word: str, tokens: Sequence[str]) -> int | None:
    """The place of a word among the tokens, or its number; None for the lines of all words.

    `it`, the default, may be missing. Raises UnknownNameError for another word that is.
    """
    names = [token.strip() for token in tokens]
    if word in ("", ALL) or (word == "it" and word not in names):
        return None
    if word in names:
        return names.index(word)
    if word.isdecimal() and int(word) < len(tokens):
        return int(word)
    raise UnknownNameError(
        f"{word!r:.60} is not among the tokens",
        fix=suggestion(word, dict.fromkeys(map(visible, tokens)), "tokens"),
    )


def heads_lesson(request: Request) -> Lesson:
    """Two heads in two colours, all heads, and what is concatenated and multiplied by W_O."""
    item, blocks = _fresh(request) if request.run is None else _of_run(request, request.run)
    heads = heads_of(request.options["of"], len(item.weights))
    word = word_of(request.options["word"].strip(), item.queries)
    two = heads if request.options["of"] else _different(item, word)
    what = "each word" if word is None else repr(visible(item.queries[word]))
    names = f"Head{'s' if len(two) > 1 else ''} {', '.join(map(str, two))}"
    pictures = [Picture.of(f"{names}: what {what} attends to", *lines_scenes(item, two, word=word))]
    if heads != two:
        title = f"All heads: what {what} attends to"
        pictures.append(Picture.of(title, *lines_scenes(item, heads, word=word)))
    return Lesson(
        "Several heads of attention",
        (*blocks, *pictures, *(_strongest(item, head) for head in two)),
    )


def _of_run(request: Request, run: OpenRun) -> tuple[SentenceAttention, list[Block]]:
    """The chosen attention of a run, and a paragraph about it."""
    if not request.text.strip():
        raise ConfigurationError("a sentence is needed", fix='graphgrad show heads RUN "…"')
    answer = request.options["answer"]
    found = sentence_attentions(run, request.text, answer)
    item = chosen(found, request.options["attention"])
    names = ", ".join(each.name for each in found)
    blocks: list[Block] = [
        Prose(
            f"The attention {item.name} of {run.folder.path.name} after step {run.step}. All of "
            f"them: {names} (--set attention=…)."
        )
    ]
    if run.task.prompts is not None:
        answer = answer or run.task.prompts.answer(run.state, request.text)
        blocks += unknown_words(run.task.prompts, request.text, answer)
    return item, blocks


def _different(item: SentenceAttention, word: int | None) -> tuple[int, ...]:
    """The two heads whose weights differ most."""
    weights = item.weights if word is None else item.weights[:, word : word + 1]

    pairs = [(a, b) for b in range(len(weights)) for a in range(b)]
    differences = [float(np.abs(weights[a] - weights[b]).sum()) for a, b in pairs]
    return pairs[int(np.argmax(differences))] if pairs else (0,)


def _strongest(item: SentenceAttention, head: int) -> Table:
    """For each query the key with the largest weight of a head."""
    rows = []
    for token, weights in zip(item.queries, item.weights[head], strict=True):
        best = int(weights.argmax())
        rows.append([visible(token), visible(item.keys[best]), shown(float(weights[best]), 2)])
    return Table(("word", "attends most to", "weight"), rows, f"Head {head}", 2)


def _fresh(request: Request) -> tuple[SentenceAttention, list[Block]]:
    """Attention that is drawn at random."""
    tokens = request.words(2, 12)
    width, count = request.whole("width", 2, 512), request.whole("heads", 1, 16)
    if width % count or width < 2 * count:
        raise ConfigurationError(
            f"a width of {width} does not split into {count} heads of 2 or more features",
            fix=f"--set width={4 * count}",
        )
    seed = request.whole("seed", 0, 10**6)
    x = input("X", (1, len(tokens), width), "float64")
    graph = Graph({"y": multi_head_attention(x, x, None, count)})
    names = ("Q", "K", "V", "weights", "values", "concat", "output.w", "output.a")
    embedded = np.random.default_rng(seed).normal(size=(1, len(tokens), width))
    asked = {"X": "X"} | {name: f"attention.{name}" for name in names}
    found = computed(graph, asked, drawn_state(graph, seed + 1), X=embedded)
    shapes = " → ".join(
        f"{title} [{', '.join(map(str, found[name].shape[1:]))}]"
        for name, title in (
            ("Q", "Q, K, V"),
            ("weights", "weights"),
            ("values", "values"),
            ("concat", "concat"),
            ("output.a", "Z"),
        )
    )
    item = SentenceAttention("attention", found["weights"][0], None, tokens, tokens)
    blocks: list[Block] = [
        Prose(
            Notation(
                f"The width {width} is split into {count} heads of D_k = {width // count}; each "
                "looks at the sentence in its own way. What the heads give is put side by side "
                "(concat) and multiplied by W^O. The matrices are drawn at random here (seed "
                f"{seed}); a RUN shows trained ones."
            )
        ),
        Formula(("Z = Concat(Z_0, …, Z_{h−1}) W^O", shapes)),
        Picture(Notation("Split, attend, concat, multiply by W^O"), split_scene(found, tokens)),
    ]
    return item, blocks
