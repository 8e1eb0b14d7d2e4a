"""What the README shows is what happens."""

import re
from pathlib import Path

import pytest

from graphgrad.tools.main import parser

README = (Path(__file__).parent.parent / "README.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
COMMANDS = re.findall(r"^    (graphgrad (?!train:).*)$", README, re.MULTILINE)


def block(part: str) -> str:
    """The one block of Python that holds a text."""
    (found,) = (text for text in BLOCKS if part in text)
    return found


def test_every_block_is_tested():
    assert len(BLOCKS) == 1 and len(README.splitlines()) <= 100


def test_the_ten_lines_run_and_learn(capsys):
    namespace: dict = {}
    exec(compile(block("half_squared_error"), "README.md", "exec"), namespace)
    printed = capsys.readouterr().out.strip().splitlines()
    losses = [
        float(re.search(r"'loss': array\(([\d.]+)", line).group(1))
        for line in printed
        if "'loss'" in line
    ]
    assert len(losses) == 3 and losses == sorted(losses, reverse=True)
    text = str(namespace["graph"])
    for line in re.findall(r"    (%\d+ = .*)", README):
        assert line in text
    assert namespace["train"].program(batch=1).source
    assert namespace["graph"].contributions("hidden.z")


@pytest.mark.parametrize("line", COMMANDS)
def test_the_commands_are_understood(line):
    words = re.findall(r'"[^"]*"|\S+', line)
    arguments = [word.strip('"') for word in words[1:]]
    assert parser().parse_args(arguments).command == arguments[0]


def test_files_that_the_readme_names_exist():
    root = Path(__file__).parent.parent
    links = re.findall(r"[^!]\[[^\]]+\]\((?!https:)([^)]+)\)", README)
    assert len(links) > 15
    for name in links:
        assert (root / name).is_file(), name
    pictures = re.findall(r"!\[[^\]]+\]\(([^)]+)\)", README)
    assert len(pictures) == 2
    for name in pictures:
        assert (root / name).is_file(), name
