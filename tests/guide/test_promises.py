"""What the guide says of the package beside its examples: lengths, blocks of code, files."""

from __future__ import annotations

import re
from pathlib import Path

from guide_examples import examples

from graphgrad.guide import TOPICS, guide_file, text_of

ROOT = Path(__file__).parents[2]


def test_a_classifier_takes_twenty_lines_and_learns(tmp_path: Path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    first, *_ = examples(guide_file("arrays.md"))
    code = "".join(example.source for example in first.examples)
    assert len(code.splitlines()) <= 20
    namespace: dict = {}
    exec(compile(code.replace("report=print", "report=None"), "arrays.md", "exec"), namespace)
    assert namespace["held_out"]["accuracy"] > 0.97
    assert {"hidden.w", "hidden.b", "output.w", "output.b"} == set(namespace["state"])


def test_the_block_of_tanh_is_the_one_in_the_code():
    (block,) = re.findall(r"```text\n(tanh = .*?)```", guide_file("operation.md"), re.DOTALL)
    assert block in (ROOT / "graphgrad" / "ops" / "functions.py").read_text(encoding="utf-8")


def test_files_that_the_guide_names_exist():
    named = {
        name
        for topic in TOPICS
        for name in re.findall(r"`(?:python )?((?:graphgrad|tests)/[\w/.]+)`", text_of(topic))
    }
    assert len(named) >= 3
    for name in named:
        assert (ROOT / name).exists(), name
