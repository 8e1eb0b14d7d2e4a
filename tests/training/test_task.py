"""Finding a model: by name or by file, and one clear error for everything else."""

import importlib.util
import py_compile
import struct
import sys
from pathlib import Path

import pytest

from graphgrad.errors import ConfigurationError, DeclarationError, UnknownNameError
from graphgrad.models import BUILTIN, transformer
from graphgrad.training.task import load_model

GOOD = """
from dataclasses import dataclass
from graphgrad.graph import Graph, full, parameter
from graphgrad.ops import sum
from graphgrad.training.settings import TrainingSettings
from graphgrad.training.task import Task

@dataclass(frozen=True)
class Settings(TrainingSettings):
    size: int = 3

def task(settings, files):
    w = parameter("w", (settings.size,), full(1.0))
    graph = Graph({"loss": sum(w * w, name="loss")})
    return Task(graph, lambda step: {}, lambda state: {"loss": 0.0, "examples": 0})
"""


def written(folder, text, name="model.py"):
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return str(path)


def refused(name):
    with pytest.raises((ConfigurationError, UnknownNameError)) as error:
        load_model(name, BUILTIN)
    return error.value


def test_a_built_in_model_is_found_by_its_name():
    model = load_model("transformer", BUILTIN)
    assert model.name == model.short_name == "transformer"
    assert model.settings == transformer.Settings()
    assert model.check == transformer.CHECK


def test_every_built_in_model_has_what_a_model_file_has():
    for name in BUILTIN:
        model = load_model(name, BUILTIN)
        assert model.check, name
        assert type(model.settings)(**model.check), name


def test_a_users_file_is_found_by_its_path(tmp_path, monkeypatch):
    path = written(tmp_path, GOOD, "mine.py")
    monkeypatch.chdir(tmp_path)
    for name in (path, "mine.py", "./mine.py"):
        model = load_model(name, BUILTIN)
        assert model.name == path
        assert model.short_name == "mine"
        assert model.settings.size == 3
        assert model.check == {}
        assert model.task(model.settings, {}).graph.parameters.keys() == {"w"}


def test_two_files_of_one_name_are_two_models(tmp_path):
    for folder, size in (("a", "3"), ("b", "5")):
        (tmp_path / folder).mkdir()
        path = written(tmp_path / folder, GOOD.replace("= 3", f"= {size}"))
        assert load_model(path, BUILTIN).settings.size == int(size)


def test_an_edited_file_is_read_anew(tmp_path):
    path = written(tmp_path, GOOD)
    assert load_model(path, BUILTIN).settings.size == 3
    written(tmp_path, GOOD.replace("= 3", "= 12"))
    assert load_model(path, BUILTIN).settings.size == 12


def test_an_unknown_name_gets_the_nearest_and_all():
    error = refused("transfromer")
    assert "'transfromer'" in error.problem
    assert "did you mean 'transformer'?" in error.fix
    assert all(name in error.fix for name in BUILTIN)


def test_a_missing_file_is_named(tmp_path):
    error = refused(str(tmp_path / "none.py"))
    assert str(tmp_path / "none.py") in error.problem
    assert ".py" in error.fix


@pytest.mark.parametrize("name", ["model.txt", "model"])
def test_a_file_that_is_no_python_file_is_refused(tmp_path, name):
    error = refused(written(tmp_path, GOOD, name))
    assert "not a Python file" in error.problem


def test_a_folder_is_no_model_file(tmp_path):
    (tmp_path / "folder.py").mkdir()
    assert "no model file" in refused(str(tmp_path / "folder.py")).problem


@pytest.mark.parametrize(
    ("text", "line"),
    [("x = 1\ny = = 2\n", 2), ("def f(:\n", 1), (GOOD + "\nif True:\nx = 1\n", None)],
)
def test_a_syntax_error_names_file_and_line(tmp_path, text, line):
    path = written(tmp_path, text)
    error = refused(path)
    assert "not valid Python" in error.problem
    assert error.where.startswith(f"{path}:")
    assert line is None or error.where == f"{path}:{line}"


def test_a_file_of_zero_bytes_is_no_text(tmp_path):
    path = tmp_path / "model.py"
    path.write_bytes(b"x = 1\x00\n")
    assert str(path) in refused(str(path)).where


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("", "Settings"),
        ("x = 1\n", "Settings"),
        (GOOD.replace("class Settings", "class Setting"), "Settings"),
        (GOOD.replace("def task(", "def tasks("), "task"),
        (GOOD.replace("def task(", "task = 3\ndef tasks("), "task"),
        (GOOD.replace("Settings(TrainingSettings)", "Settings"), "extend TrainingSettings"),
        (
            GOOD.replace("size: int = 3", "size: int = 3\n    def __init__(self, other): pass"),
            "Settings",
        ),
    ],
)
def test_a_file_that_declares_no_model_says_what_is_missing(tmp_path, text, named):
    path = written(tmp_path, text)
    error = refused(path)
    assert named in error.problem
    assert error.where == path


def test_a_wrong_shape_is_told_with_the_line_of_the_users_file(tmp_path):
    wrong = 'parameter("u", (3, 2)) @ parameter("v", (4, 5))'
    text = GOOD.replace("    graph =", f"    {wrong}\n    graph =")
    path = written(tmp_path, text)
    model = load_model(path, BUILTIN)
    with pytest.raises(DeclarationError) as error:
        model.task(model.settings, {})
    line = next(n for n, row in enumerate(text.splitlines(), 1) if '"v"' in row)
    assert error.value.where == f"{path}:{line}"
    assert "[3, 2]" in error.value.problem and "[4, 5]" in error.value.problem


def test_what_a_file_raises_by_itself_is_not_hidden(tmp_path):
    """It is the user's own program: its traceback says more than any summary."""
    path = written(tmp_path, "1 / 0\n")
    with pytest.raises(ZeroDivisionError):
        load_model(path, BUILTIN)
    other = written(tmp_path, "import broken_neighbour\n", "other.py")
    (tmp_path / "broken_neighbour.py").write_text("x = = 1\n", encoding="utf-8")
    with pytest.raises(SyntaxError):
        load_model(other, BUILTIN)


# ---------------------------------------------------------------- imports


def with_neighbour(folder, size):
    """A model file whose settings come from a module beside it."""
    folder.mkdir()
    (folder / "sizes_beside.py").write_text(f"SIZE = {size}\n", encoding="utf-8")
    text = GOOD.replace("from dataclasses", "import sizes_beside\nfrom dataclasses", 1)
    return written(folder, text.replace("= 3", "= sizes_beside.SIZE"))


def test_a_file_imports_its_neighbours_wherever_it_is_named_from(tmp_path, monkeypatch):
    paths = [with_neighbour(tmp_path / name, size) for name, size in (("a", 4), ("b", 6))]
    monkeypatch.chdir("/")
    before = list(sys.path)
    sizes = [load_model(path, BUILTIN).settings.size for path in paths]
    assert sizes == [4, 6], "each has the neighbour of its own folder"
    assert sys.path == before and "sizes_beside" not in sys.modules


@pytest.mark.parametrize(
    ("beside", "line", "file", "named"),
    [
        (None, "import no_such_module_of_anyone", "model.py:2", "no_such_module_of_anyone"),
        ("", "from helper_beside import absent", "model.py:2", "absent"),
        (
            "\n\nimport no_such_module_of_anyone\n",
            "import helper_beside",
            "helper_beside.py:3",
            "no_such_module_of_anyone",
        ),
    ],
)
def test_an_import_that_fails_is_told_with_its_line(tmp_path, beside, line, file, named):
    if beside is not None:
        (tmp_path / "helper_beside.py").write_text(beside, encoding="utf-8")
    error = refused(written(tmp_path, f"\n{line}\n"))
    assert "cannot import" in error.problem and named in error.problem
    assert error.where == str(tmp_path / file) and error.fix


def test_a_task_that_is_none_is_told(tmp_path):
    text = GOOD.replace("return Task(", "Task(")
    assert text != GOOD
    path = written(tmp_path, text)
    model = load_model(path, BUILTIN)
    with pytest.raises(ConfigurationError, match="of the model gives NoneType") as error:
        model.task(model.settings, {})
    assert error.value.where == path and "return Task" in error.value.fix


def test_what_is_run_is_the_text_and_no_compiled_copy(tmp_path):
    """A copy in __pycache__ with the right time and size would be taken by an import."""
    path = Path(written(tmp_path, GOOD))
    copy = Path(importlib.util.cache_from_source(str(path)))
    py_compile.compile(
        written(tmp_path, GOOD.replace("= 3", "= 9"), "other.py"), str(copy), str(path)
    )
    stamp = path.stat()
    content = bytearray(copy.read_bytes())
    content[8:16] = struct.pack("<II", int(stamp.st_mtime), stamp.st_size)
    copy.write_bytes(content)
    assert load_model(str(path), BUILTIN).settings.size == 3


def test_the_path_of_a_model_file_does_not_depend_on_where_it_is_called_from(tmp_path, monkeypatch):
    written(tmp_path, GOOD)
    monkeypatch.chdir(tmp_path)
    assert Path(load_model("model.py", BUILTIN).name).is_absolute()
