"""Running `dot`: what it makes, what happens without it, and that nothing of it is left behind."""

import os
import shutil
import stat
import time
from pathlib import Path

import pytest

from graphgrad.errors import EnvironmentLimitError
from graphgrad.rendering.image import draw_image

needs_dot = pytest.mark.skipif(shutil.which("dot") is None, reason="Graphviz is not installed")
TEXT = 'digraph { n0 [label="a"]; n0 -> n1; }\n'


def fake_dot(folder: Path, script: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A program called dot that runs this shell script, before all others."""
    program = folder / "dot"
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")


@needs_dot
@pytest.mark.parametrize(
    ("form", "start"), [("svg", b"<?xml"), ("png", b"\x89PNG"), ("pdf", b"%PDF")]
)
def test_images_begin_as_they_should_and_are_the_same_every_time(form: str, start: bytes) -> None:
    first = draw_image(TEXT, form)
    assert first.startswith(start)
    if form == "pdf":
        assert b"(D:20000101000000" in first
    assert draw_image(TEXT, form) == first


def test_without_graphviz_the_error_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    with pytest.raises(EnvironmentLimitError) as caught:
        draw_image(TEXT, "svg")
    text = str(caught.value)
    assert "not installed" in text and "apt install graphviz" in text
    assert "txt, dot, json, html and mermaid need nothing" in text


@needs_dot
def test_what_dot_refuses_is_told() -> None:
    with pytest.raises(EnvironmentLimitError, match=r"exit code 1: .*syntax error"):
        draw_image("digraph { broken", "svg")


def test_a_failure_without_a_reason(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fake_dot(tmp_path, "cat > /dev/null; exit 0", monkeypatch)
    with pytest.raises(EnvironmentLimitError, match="it says no reason"):
        draw_image(TEXT, "svg")


def test_control_characters_of_dot_do_not_reach_the_terminal(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake_dot(tmp_path, "cat > /dev/null; printf '\\033[2Jbad' >&2; exit 3", monkeypatch)
    with pytest.raises(EnvironmentLimitError, match=r"exit code 3: \\x1b\[2Jbad"):
        draw_image(TEXT, "svg")


def test_after_the_limit_the_whole_group_is_dead(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    note = tmp_path / "child"
    fake_dot(tmp_path, f"sleep 60 & echo $! > {note}; wait", monkeypatch)
    started = time.monotonic()
    with pytest.raises(EnvironmentLimitError, match=r"within 0\.5 seconds") as caught:
        draw_image(TEXT, "svg", seconds=0.5)
    assert time.monotonic() - started < 10
    assert "--depth" in caught.value.fix
    child = Path(f"/proc/{int(note.read_text())}/stat")
    for _ in range(50):
        if not child.exists() or child.read_text().split()[2] == "Z":
            return
        time.sleep(0.05)
    pytest.fail("the child of dot is still running")
