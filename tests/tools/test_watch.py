"""`graphgrad watch`: the address, the page behind it, Ctrl-C, and wrong arguments."""

from __future__ import annotations

import os
import signal
import threading
import time
import urllib.request
import webbrowser
from pathlib import Path

import pytest

from graphgrad.models import BUILTIN
from graphgrad.tools import watch
from graphgrad.tools.main import main
from graphgrad.tools.watch_server import WatchServer
from graphgrad.training.runs import create_run
from graphgrad.training.task import load_model


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    model = load_model("feedforward", BUILTIN)
    return create_run(model, model.settings, tmp_path / "run").folder.path


def test_it_serves_until_it_is_interrupted(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    opened, read = [], {}

    def visit(server: WatchServer) -> None:
        deadline = time.monotonic() + 20
        while not server.pages.page.version and time.monotonic() < deadline:
            time.sleep(0.02)
        for name in ("", "page.html"):
            with urllib.request.urlopen(server.address + name) as answer:
                read[name] = answer.read()
        os.kill(os.getpid(), signal.SIGINT)

    def listening(*arguments: object) -> WatchServer:
        server = WatchServer(*arguments)
        threading.Thread(target=visit, args=(server,)).start()
        return server

    def browse(address: str) -> bool:
        file = Path(address.removeprefix("file://"))
        opened.append((file, file.stat().st_mode & 0o777, file.read_text()))
        return False

    monkeypatch.setattr(watch, "WatchServer", listening)
    monkeypatch.setattr(webbrowser, "open", browse)
    assert main(["watch", str(folder), "--open"]) == 0
    said = capsys.readouterr()
    address = said.out.strip()
    assert address.startswith("http://127.0.0.1:") and said.err.splitlines()[-1].startswith(
        "no lon"
    )
    assert main(["render", str(folder), "-o", str(folder.parent / "x.html")]) == 0
    assert read["page.html"] == (folder.parent / "x.html").read_bytes()
    assert b"<title>run \xe2\x80\x93 watched</title>" in read[""]
    [(file, mode, text)] = opened
    assert mode == 0o600 and address in text and not file.exists()
    assert "no browser could be started" in said.err


@pytest.mark.parametrize(
    ("words", "problem"),
    [
        (["missing"], "there is no run missing"),
        (["{run}", "missing"], "there is no run missing"),
        (["transformer"], "is a model"),
        (["{run}", "--port", "99999"], "not a port"),
        (["{run}", "--text", "a sentence"], "feedforward reads no text"),
        (["{run}", "--target", "an answer"], "--target is the answer to a text"),
    ],
)
def test_wrong_arguments_are_named(
    words: list[str], problem: str, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["watch", *(word.format(run=folder) for word in words)]) == 2
    assert problem in capsys.readouterr().err
