"""The page that `watch` serves: when it is built, that it is the saved one, and what goes wrong."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import pytest

from graphgrad.models import BUILTIN
from graphgrad.page.run_sections import Shown
from graphgrad.tools import watch_pages
from graphgrad.tools.main import main
from graphgrad.tools.watch_pages import Pages
from graphgrad.training.checkpoint import save_checkpoint
from graphgrad.training.configuration import bindings
from graphgrad.training.optimisers import STEP
from graphgrad.training.runs import OpenRun, create_run
from graphgrad.training.settings import with_assignments
from graphgrad.training.task import load_model


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> OpenRun:
    monkeypatch.setattr(watch_pages, "SHARE", 0)
    model = load_model("feedforward", BUILTIN)
    return create_run(model, with_assignments(model.settings, ["steps=9"]), tmp_path / "run")


def pages_of(run: OpenRun) -> Pages:
    return Pages([str(run.folder.path)])


def saved(run: OpenRun, file: Path) -> bytes:
    """The page as `render` writes it."""
    assert main(["render", str(run.folder.path), "-o", str(file)]) == 0
    return file.read_bytes()


def save(run: OpenRun, step: int) -> Path:
    """A checkpoint of the run, as training saves it."""
    state = {name: array.copy() for name, array in run.state.items()}
    state[STEP][...] = step
    details = bindings(run.configuration, run.settings, run.task.graph)
    return save_checkpoint(run.folder.checkpoints, step, state, details)


def test_the_served_page_is_the_saved_one(run: OpenRun, tmp_path: Path) -> None:
    pages = pages_of(run)
    assert pages.refresh() and not pages.problem
    assert pages.page.content == saved(run, tmp_path / "page.html")
    assert not pages.refresh(), "nothing has changed"
    save(run, 4)
    run.folder.append_metrics({"step": 4, "loss": 0.5})
    assert pages.refresh() and (pages.page.version, pages.page.step) == (2, 4)
    assert pages.page.content == saved(run, tmp_path / "page.html")


def test_runs_beside_it_are_followed_too(run: OpenRun, tmp_path: Path) -> None:
    model = load_model("feedforward", BUILTIN)
    other = create_run(model, model.settings, tmp_path / "other")
    pages = Pages([str(run.folder.path), str(other.folder.path)])
    pages.refresh()
    other.folder.append_metrics({"step": 1, "loss": 0.25})
    assert pages.refresh()
    file = tmp_path / "both.html"
    assert main(["render", *pages.paths, "-o", str(file)]) == 0
    assert (
        pages.page.content == file.read_bytes() and b'"runs":["run","other"]' in file.read_bytes()
    )


def test_a_typed_text_is_read_by_each_new_state(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watch_pages, "SHARE", 0)
    book = tmp_path / "book.txt"
    book.write_text("the cat sat on the mat. " * 20)
    model = load_model("gpt", BUILTIN)
    small = [f"text={book}", "layers=1", "width=8", "heads=2", "context=8", "tokens=character"]
    run = create_run(model, with_assignments(model.settings, small), tmp_path / "run")
    pages = Pages([str(run.folder.path)], shown=Shown(texts=("the cat",), target=" s"))
    words = ["render", str(run.folder.path), "--text", "the cat", "--target", " s", "-o"]
    seen = []
    for step in (0, 4):
        for array in run.state.values():
            array *= array.dtype.type(1 + step)  # other weights, other lines
        save(run, step)
        assert pages.refresh() and not pages.problem and pages.page.step == step
        assert main([*words, str(tmp_path / "page.html")]) == 0
        seen.append(pages.page.content)
        assert seen[-1] == (tmp_path / "page.html").read_bytes()
        assert b'"texts":["the cat"]' in seen[-1]
    lines = [page.split(b'"attention":')[1].split(b'"texts"')[0] for page in seen]
    assert lines[0] != lines[1]


def test_what_is_half_written_is_not_shown(run: OpenRun, tmp_path: Path) -> None:
    pages = pages_of(run)
    run.folder.append_metrics({"step": 1, "loss": 0.5})
    pages.refresh()
    before = pages.page
    whole = save(run, 5)
    half = whole.rename(run.folder.checkpoints / ".saving-1-abc")
    with open(run.folder.path / "metrics.jsonl", "ab") as file:
        file.write(b'{"step": 2, "loss": 0.')
    pages.refresh()
    assert not pages.problem and pages.page.content == before.content
    half.rename(whole)
    assert pages.refresh() and pages.page.step == 5


def test_a_page_is_built_again_only_after_a_while(
    run: OpenRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = {"wall": 0.0, "thread": 0.0}
    monkeypatch.setattr(watch_pages, "SHARE", 9)
    monkeypatch.setattr(watch_pages.time, "monotonic", lambda: clock["wall"])
    monkeypatch.setattr(watch_pages.time, "thread_time", lambda: clock["thread"])
    original = watch_pages.state_sections

    def costs(opened: OpenRun, shown: Shown) -> dict[str, object]:
        clock["thread"] += 2.0
        return original(opened, shown)

    monkeypatch.setattr(watch_pages, "state_sections", costs)
    pages = pages_of(run)
    assert pages.refresh()
    save(run, 3)
    clock["wall"] = 17.9
    assert not pages.refresh()
    run.folder.append_metrics({"step": 1, "loss": 0.5})
    assert pages.refresh() and pages.page.step == 0, "metrics cost little and are due before"
    clock["wall"] = 18.0
    assert pages.refresh() and pages.page.step == 3


def test_a_folder_that_vanishes_leaves_the_last_page_and_a_sentence(run: OpenRun) -> None:
    pages = pages_of(run)
    pages.refresh()
    before, elsewhere = pages.page, run.folder.path.with_name("moved")
    run.folder.path.rename(elsewhere)
    assert not pages.refresh() and pages.page == before
    assert "there is no run run" in pages.status()["problem"] and "\n" not in pages.problem
    assert not pages.refresh()
    elsewhere.rename(run.folder.path)
    pages.refresh()
    assert not pages.problem and pages.page == before
    (run.folder.path / "configuration.json").write_text("{")
    assert not pages.refresh() and "configuration.json" in pages.problem


def test_nothing_is_built_while_nobody_looks(run: OpenRun, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watch_pages, "LOOK", 0.01)
    pages, looks = pages_of(run), []
    monkeypatch.setattr(pages, "refresh", lambda: looks.append(pages.page))
    thread = threading.Thread(target=pages.follow)
    thread.start()
    pages.page = watch_pages.Page(b"x", 1)
    time.sleep(0.1)
    looks.clear()
    time.sleep(0.1)
    assert not looks
    pages.status()
    time.sleep(0.1)
    pages.closed.set()
    thread.join()
    assert looks and pages.failure is None


def test_a_bug_is_kept_for_the_server(run: OpenRun, monkeypatch: pytest.MonkeyPatch) -> None:
    pages = pages_of(run)
    monkeypatch.setattr(watch_pages, "run_of", lambda *_, **__: 1 / 0)
    pages.follow()
    assert isinstance(pages.failure, ZeroDivisionError) and not pages.building
