"""A small run of `graphgrad train`, for the tests of the command."""

import shutil

import pytest
from train_command import begin, write_lines

from graphgrad.tools.main import main


@pytest.fixture
def place(tmp_path, monkeypatch):
    """A working folder with nothing but two aligned files."""
    monkeypatch.chdir(tmp_path)
    write_lines(tmp_path)
    return tmp_path


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A run of twelve steps, made once."""
    folder = tmp_path_factory.mktemp("trained")
    write_lines(folder)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        assert main(begin()) == 0
    return folder


@pytest.fixture
def finished(place, trained, capsys):
    """A copy of that run in the working folder; its data stay where they were."""
    shutil.copytree(trained / "run", place / "run")
    capsys.readouterr()
    return place / "run"
