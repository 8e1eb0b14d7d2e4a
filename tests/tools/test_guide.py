"""`graphgrad guide` in a terminal, into a pipe, and as a page."""

from __future__ import annotations

import os
import pty
import subprocess
import sys
from pathlib import Path

from graphgrad.guide import GROUPS, TOPICS, text_of
from graphgrad.tools.main import main


def test_without_a_topic_all_are_listed(capsys):
    assert main(["guide"]) == 0
    printed = capsys.readouterr().out
    assert all(f"  {topic.name} " in printed and topic.summary in printed for topic in TOPICS)
    assert all(heading in printed for heading in GROUPS.values())


def test_a_pipe_gets_the_page_as_markdown(capsys):
    assert main(["guide", "neuron"]) == 0
    assert capsys.readouterr().out == text_of(TOPICS[0]) + "\n"


def test_a_group_is_all_of_its_pages(capsys):
    assert main(["guide", "coming-from"]) == 0
    printed = capsys.readouterr().out
    assert [line for line in printed.splitlines() if line.startswith("# ")] == [
        "# Coming from PyTorch",
        "# Coming from JAX",
        "# Coming from micrograd",
    ]


def test_a_name_that_is_near_is_suggested(capsys):
    assert main(["guide", "atention"]) == 2
    assert "did you mean 'attention'?" in capsys.readouterr().err


def test_the_page_is_written_whole(tmp_path: Path, capsys):
    file = tmp_path / "guide.html"
    assert main(["guide", "--html", str(file)]) == 0
    assert f"written {file}" in capsys.readouterr().out
    text = file.read_text(encoding="utf-8")
    assert text.startswith("<!DOCTYPE html>") and text.rstrip().endswith("</html>")


def test_options_that_do_not_go_together_are_refused(tmp_path: Path, capsys):
    assert main(["guide", "neuron", "--html", str(tmp_path / "x.html")]) == 2
    assert "leave 'neuron' out" in capsys.readouterr().err
    assert main(["guide", "--html", ""]) == 2
    assert main(["guide", "--html", str(tmp_path / "no" / "x.html")]) == 2
    assert list(tmp_path.iterdir()) == []


def test_a_terminal_gets_it_laid_out():
    """In a terminal of 80 columns, headings and tables are drawn, and no line is wider."""
    main_end, terminal = pty.openpty()
    environment = {**os.environ, "COLUMNS": "80", "TERM": "dumb"}
    with subprocess.Popen(
        [sys.executable, "-m", "graphgrad.tools.main", "guide", "words"],
        stdout=terminal,
        stdin=subprocess.DEVNULL,
        env=environment,
    ) as running:
        os.close(terminal)
        printed = b""
        try:
            while piece := os.read(main_end, 1 << 16):
                printed += piece
        except OSError:  # Linux says so that the other end is closed
            pass
        os.close(main_end)
    lines = printed.decode().splitlines()
    assert running.returncode == 0 and any("Words and laws" in line for line in lines)
    assert not any(line.startswith(("# ", "| ")) for line in lines)
