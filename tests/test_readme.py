"""What the README shows is what happens."""

import re
from pathlib import Path

import pytest

from graphgrad.tools.main import parser

README = (Path(__file__).parent.parent / "README.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```python\n(.*?)```", README, re.DOTALL)


def test_the_ten_lines_run_and_learn(capsys):
    namespace: dict = {}
    exec(compile(BLOCKS[0], "README.md", "exec"), namespace)
    printed = capsys.readouterr().out.strip().splitlines()
    losses = [float(re.search(r"'loss': array\(([\d.]+)", line).group(1))
              for line in printed if "'loss'" in line]  # fmt: skip
    assert len(losses) == 3 and losses == sorted(losses, reverse=True)
    text = str(namespace["graph"])
    for line in re.findall(r"    (%\d+ = .*)", README):
        assert line in text
    assert namespace["train"].program(batch=1).source
    assert namespace["graph"].contributions("hidden.z")


def test_the_block_of_tanh_is_the_one_in_the_code():
    code = (Path(__file__).parent.parent / "graphgrad/ops/functions.py").read_text(encoding="utf-8")
    assert BLOCKS[1].strip().removesuffix(")") in code


@pytest.mark.parametrize(
    "line", re.findall(r"^    (graphgrad (?!train:).*)$", README, re.MULTILINE)
)
def test_the_commands_are_understood(line):
    words = re.findall(r'"[^"]*"|\S+', line)
    arguments = [word.strip('"') for word in words[1:]]
    assert parser().parse_args(arguments).command == arguments[0]


def test_files_that_the_readme_names_exist():
    root = Path(__file__).parent.parent
    for name in re.findall(r"`((?:graphgrad|tests)/[\w/.]+)`", README):
        assert (root / name).exists(), name
    assert (root / ".docs/feedforward.svg").is_file()
