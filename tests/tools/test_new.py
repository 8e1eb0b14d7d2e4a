"""`graphgrad new`: the file that it writes trains, and nothing is overwritten."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from graphgrad.guide import guide_file
from graphgrad.tools.main import main


@pytest.fixture
def model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys) -> Path:
    """A fresh model file in a folder of its own, where the test then works."""
    monkeypatch.chdir(tmp_path)
    assert main(["new", "my_model.py"]) == 0
    assert "graphgrad train my_model.py" in capsys.readouterr().out
    return tmp_path / "my_model.py"


def test_the_file_is_the_one_that_the_guide_shows(model: Path):
    assert model.read_text(encoding="utf-8") == guide_file("starter.py")


def test_it_trains_at_once_and_learns(model: Path, capsys):
    assert main(["train", "my_model.py"]) == 0
    printed = capsys.readouterr().out
    assert "finished after step 400" in printed and "inside" in printed
    assert float(re.findall(r"accuracy ([\d.]+)", printed)[-1]) > 0.9
    assert main(["evaluate", "runs/my_model-001", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["accuracy"] > 0.9


def test_its_deltas_are_right_and_its_graph_is_clean(model: Path, capsys):
    assert main(["check", "my_model.py"]) == 0
    assert main(["check", "my_model.py", "--lint"]) == 0


def test_what_its_text_shows_can_be_done(model: Path, capsys):
    lines = re.findall(r"^    graphgrad (.*?)(?:  .*)?$", guide_file("starter.py"), re.MULTILINE)
    assert len(lines) == 5
    for line in lines:
        words = line.replace("FILE", "my_model.py").replace("600", "3").split()
        assert main(words) == 0, line
    assert (model.parent / "model.html").is_file()


def test_a_file_that_is_there_stays_as_it_is(model: Path, capsys):
    model.write_text("mine\n", encoding="utf-8")
    assert main(["new", "my_model.py"]) == 2
    assert "exists already" in capsys.readouterr().err
    assert model.read_text(encoding="utf-8") == "mine\n"


@pytest.mark.parametrize("name", ["my_model", "my_model.txt", "", "no/such/folder/model.py"])
def test_a_name_that_will_not_do_is_refused(name: str, tmp_path: Path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["new", name]) == 2
    assert "fix:" in capsys.readouterr().err and list(tmp_path.iterdir()) == []


def test_a_link_to_nothing_is_not_written_through(tmp_path: Path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "link.py").symlink_to("elsewhere.py")
    assert main(["new", "link.py"]) == 2
    assert not (tmp_path / "elsewhere.py").exists()
