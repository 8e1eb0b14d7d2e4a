"""Running `dot`: its images, its failures, its absence, and that no process is left behind."""

import os
import shutil
import stat
import time
from pathlib import Path

import pytest

import graphgrad as gg
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


@pytest.mark.usefixtures("no_graphviz")
def test_without_graphviz_the_error_says_how_to_get_it() -> None:
    with pytest.raises(EnvironmentLimitError) as caught:
        draw_image(TEXT, "svg")
    text = str(caught.value)
    assert "not installed" in text and "apt install graphviz" in text
    assert "pip install 'graphgrad[pictures]'" in text
    assert "txt, dot, json, html and mermaid need nothing" in text


@needs_dot
def test_what_dot_refuses_is_told() -> None:
    with pytest.raises(EnvironmentLimitError, match=r"exit code 1: .*syntax error"):
        draw_image("digraph { broken", "svg")


def test_a_failure_without_a_reason(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fake_dot(tmp_path, "cat > /dev/null; exit 0", monkeypatch)
    with pytest.raises(EnvironmentLimitError, match="without a reason"):
        draw_image(TEXT, "svg")


def test_control_characters_of_dot_do_not_reach_the_terminal(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake_dot(tmp_path, "cat > /dev/null; printf '\\033[2Jbad' >&2; exit 3", monkeypatch)
    with pytest.raises(EnvironmentLimitError, match=r"exit code 3: \\x1b\[2Jbad"):
        draw_image(TEXT, "svg")


def test_after_the_limit_the_program_is_dead(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    note = tmp_path / "process"
    fake_dot(tmp_path, f"echo $$ > {note}; exec sleep 60", monkeypatch)
    started = time.monotonic()
    with pytest.raises(EnvironmentLimitError, match=r"within 0\.5 seconds") as caught:
        draw_image(TEXT, "svg", seconds=0.5)
    assert time.monotonic() - started < 10
    assert "--depth" in caught.value.fix
    assert not Path(f"/proc/{int(note.read_text())}").exists()


def test_a_program_that_cannot_start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "dot").write_bytes(b"\x7fELF, but not really")
    (tmp_path / "dot").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    with pytest.raises(EnvironmentLimitError, match="does not start") as caught:
        draw_image(TEXT, "svg")
    assert caught.value.where == str(tmp_path / "dot")


# ---------------------------------------------------------------- the program that pip installs


@pytest.fixture
def only_the_port(monkeypatch: pytest.MonkeyPatch) -> None:
    """The system has no `dot`; the environment has what `graphgrad[pictures]` installs."""
    pytest.importorskip("importlib.metadata").version("graphviz-pure")
    monkeypatch.setenv("PATH", "")


@pytest.mark.usefixtures("only_the_port")
@pytest.mark.parametrize(("form", "start"), [("svg", b"<?xml"), ("png", b"\x89PNG")])
def test_the_port_draws_the_same_picture_every_time(form: str, start: bytes) -> None:
    x = gg.input("x", (3,))
    graph = gg.derive(gg.Graph({"loss": gg.sum(gg.tanh(x, name="Ärger_φ"))}), "loss")
    image = graph.render(form)
    assert image is not None and image.startswith(start)
    assert graph.render(form) == image
    if form == "svg":
        assert b'font-family="Arial,Helvetica,sans-serif"' in image and b'"Arial"' not in image


@pytest.mark.usefixtures("only_the_port")
def test_the_port_draws_no_pdf() -> None:
    with pytest.raises(EnvironmentLimitError, match="pdf needs the program `dot`"):
        draw_image(TEXT, "pdf")


@pytest.mark.usefixtures("only_the_port")
def test_what_the_port_refuses_is_told() -> None:
    with pytest.raises(EnvironmentLimitError, match=r"exit code 1: .*syntax error"):
        draw_image("digraph { broken", "svg")
