"""Every example of the guide gives what the page says, and draws the pictures of the page."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest
from guide_examples import FENCE, FOLDER, PICTURE, examples, handwritten, run

from graphgrad.guide import TOPICS, Topic, guide_file

PAGES = pytest.mark.parametrize("topic", handwritten(), ids=lambda topic: topic.name)
_WORDS = re.compile(r"<text[^>]*>([^<]*)</text>")


@pytest.mark.skipif(shutil.which("dot") is None, reason="Graphviz is not installed")
@PAGES
def test_examples_give_what_the_page_says(topic: Topic, tmp_path: Path):
    text = guide_file(f"{topic.name}.md")
    differences = run(text, tmp_path)
    assert not differences, "\n\n".join(map(str, differences))
    for picture in PICTURE.findall(text):
        drawn, shipped = (
            _WORDS.findall((folder / picture).read_text(encoding="utf-8"))
            for folder in (tmp_path, FOLDER)
        )
        assert sorted(drawn) == sorted(shipped) and len(drawn) > 10, picture


@PAGES
def test_every_python_block_is_run_or_is_a_file(topic: Topic):
    for match in FENCE.finditer(guide_file(f"{topic.name}.md")):
        language, _, option = match["info"].partition(" ")
        assert language in ("python", "math", "sh", "text"), match["info"]
        if language == "python":
            assert ">>>" in match["text"] or option.startswith("file="), match["text"]


def test_an_example_that_is_wrong_is_found(tmp_path: Path):
    page = "# A page\n\n```python\n>>> x = 20\n>>> x + 1\n22\n```\n\n```python\n>>> x\n20\n```\n"
    (difference,) = run(page, tmp_path)
    assert (difference.wanted, difference.got) == ("22\n", "21\n")
    (raised,) = run("```python\n>>> 1 / 0\n```\n", tmp_path)
    assert "ZeroDivisionError" in raised.got


@pytest.mark.parametrize("name", ["pytorch", "jax"])
def test_the_other_side_gives_what_the_page_says(name: str, tmp_path: Path):
    library = {"pytorch": "torch", "jax": "jax"}[name]
    pytest.importorskip(library, reason=f"{library} is not installed")
    text = guide_file(f"{name}.md")
    assert examples(text, f"python {library}")
    differences = run(text, tmp_path, f"python {library}")
    assert not differences, "\n\n".join(map(str, differences))


def test_there_are_pictures_and_none_is_left_over():
    shown = {
        name for topic in handwritten() for name in PICTURE.findall(guide_file(f"{topic.name}.md"))
    }
    there = {f"pictures/{file.name}" for file in (FOLDER / "pictures").iterdir()}
    assert shown == there and len(shown) >= 2


def test_every_page_is_a_topic():
    files = {file.stem for file in FOLDER.glob("*.md")}
    assert files == {topic.name for topic in handwritten()} <= {topic.name for topic in TOPICS}
