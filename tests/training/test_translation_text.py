"""Translation of text as files spell it: other forms, blank lines, pipes."""

import os
import unicodedata

import pytest

from graphgrad.data.vocabulary import Vocabulary
from graphgrad.graph import initial_state
from graphgrad.models.transformer import Settings, task
from graphgrad.training.task import Rendering
from graphgrad.training.translator import Translator

WORDS = ["a", "b", "c", "d", "e", "f"]
LINES = [" ".join(WORDS[(n * k) % 6] for k in range(1, n % 5 + 2)) for n in range(60)]


@pytest.fixture
def corpus(tmp_path):
    """Files in which line n of the target is line n of the source in capitals."""
    files = {"source": tmp_path / "lines.en", "target": tmp_path / "lines.de"}
    files["source"].write_text("\n".join(LINES) + "\n", encoding="utf-8")
    files["target"].write_text("\n".join(LINES).upper() + "\n", encoding="utf-8")
    return {name: str(path) for name, path in files.items()}


def settings_of(corpus, **values):
    small = {
        "layers": 1,
        "width": 16,
        "heads": 2,
        "inner": 16,
        "batch_size": 4,
        "tokens": "whitespace",
    }
    return Settings(**{**small, **corpus, **values})


@pytest.mark.parametrize("level", ["character", "whitespace"])
@pytest.mark.parametrize("form", ["NFC", "NFD"])
def test_a_translation_is_right_where_its_tokens_are(tmp_path, monkeypatch, level, form):
    """Whoever says every token of the reference is right, however the file spells it."""
    sources = [f"s{number}" for number in range(60)]
    targets = [unicodedata.normalize(form, f"É{number}  rouge ") for number in range(60)]
    for name, lines in (("source", sources), ("target", targets)):
        (tmp_path / name).write_text("\n".join(lines), encoding="utf-8")
    files = {name: str(tmp_path / name) for name in ("source", "target")}
    settings = settings_of(files, tokens=level, batch_size=2)
    known = Vocabulary.build(targets, level)
    reference = dict(zip(sources, targets, strict=True))

    def perfect(self, state, texts, *others, **sizes):
        for place, text in enumerate(texts):
            yield place, [Rendering(known.decode(known.encode(reference[text])))]

    monkeypatch.setattr(Translator, "finished", perfect)
    made = task(settings, {})
    figures = made.evaluate(initial_state(made.graph, 0))
    assert figures["exact_match"] == 1 and figures["examples"] == 3


def test_another_translation_is_wrong(corpus, monkeypatch):
    made = task(settings_of(corpus), {})

    def other(self, state, texts, *others, **sizes):
        return ((place, [Rendering("A  B")]) for place, _ in enumerate(texts))

    monkeypatch.setattr(Translator, "finished", other)
    assert made.evaluate(initial_state(made.graph, 0))["exact_match"] == 0


def test_what_is_blank_stays_blank(corpus):
    made = task(settings_of(corpus), {})
    state = initial_state(made.graph, 1)
    found = made.translate(state, ["", "a b", " \t", "\u3000"])
    assert [found[0], *found[2:]] == ["", "", ""]
    assert found[1] == made.translate(state, ["a b"])[0] != ""


def test_pairs_that_are_left_out_are_in_the_notice(corpus):
    with open(corpus["source"], "a", encoding="utf-8") as file:
        file.write("\n \n")
    with open(corpus["target"], "a", encoding="utf-8") as file:
        file.write("x\ny\n")
    notice = task(settings_of(corpus), {}).notice
    assert "2 of 62 pairs have a blank side and are left out (lines 61, 62)" in notice


def test_data_from_a_pipe_is_used_and_told(corpus):
    """`--source <(zcat a.gz)`: it can be read once."""
    reader, writer = os.pipe()
    with open(corpus["source"], "rb") as file:
        os.write(writer, file.read())
    os.close(writer)
    pipe = f"/dev/fd/{reader}"
    made = task(settings_of(corpus, source=pipe), {})
    os.close(reader)
    assert f"{pipe} cannot be read a second time" in made.notice
    assert made.evaluate(initial_state(made.graph, 0))["examples"] > 0
    assert "second time" not in task(settings_of(corpus), {}).notice
