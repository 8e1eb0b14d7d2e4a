"""`graphgrad plot`: pictures of a run in files."""

import shutil
from pathlib import Path

import pytest

from graphgrad.rendering import plot_fonts
from graphgrad.tools.main import main

STARTS = {"png": b"\x89PNG", "svg": b"<?xml", "pdf": b"%PDF"}
SMALL = [
    "--set",
    "layers=1",
    "--set",
    "width=8",
    "--set",
    "heads=2",
    "--set",
    "inner=8",
    "--set",
    "batch_size=4",
    "--set",
    "steps=4",
    "--set",
    "checkpoint_every=4",
]


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "small"
    assert main(["train", "transformer", "--run", str(folder), *SMALL, "--inspect-every", "2"]) == 0
    return folder


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    """A run that recorded nothing and has no attention."""
    folder = tmp_path_factory.mktemp("runs") / "plain"
    assert main(["train", "feedforward", "--run", str(folder), "--set", "steps=3"]) == 0
    return folder


@pytest.mark.parametrize(
    "what, form",
    [
        ("loss", "svg"),
        ("schedule", "pdf"),
        ("flow", "png"),
        ("updates", "svg"),
        ("attention", "png"),
    ],
)
def test_each_plot_is_written_and_is_the_same_again(run, tmp_path, capsys, what, form):
    files = [tmp_path / f"{number}.{form}" for number in (1, 2)]
    for file in files:
        assert main(["plot", str(run), "--what", what, "-o", str(file)]) == 0
    first, second = (file.read_bytes() for file in files)
    said = [f"written {file} ({len(first):,} bytes)" for file in files]
    assert capsys.readouterr().out.splitlines() == said
    assert first.startswith(STARTS[form]) and first == second


def test_without_a_file_it_goes_into_the_run(run, capsys):
    assert main(["plot", str(run)]) == 0
    assert (run / "plots" / "loss.png").read_bytes().startswith(STARTS["png"])
    assert main(["inspect", str(run), "--node", "total", "--limit", "1"]) == 0  # still a good run


def test_all_draws_what_there_is_and_names_the_rest(plain, tmp_path, capsys):
    assert main(["plot", str(plain), "--what", "all", "-o", str(tmp_path / "new" / "plots")]) == 0
    output = capsys.readouterr().out
    names = {path.name for path in (tmp_path / "new" / "plots").iterdir()}
    assert names == {"loss.png", "held_out.png", "schedule.png", "metrics.png", "flow.png"}
    assert "no updates: the run plain has recorded no figures" in output
    assert "no attention: the model has no attention" in output


def test_several_runs_are_drawn_over_the_steps(run, plain, tmp_path):
    file = tmp_path / "x.svg"
    words = ["plot", str(run), str(plain), "-o", str(file), "--what"]
    assert main([*words, "metrics", "--figure", "loss", "--figure", "gradient_norm"]) == 0
    text = file.read_text(encoding="utf-8")
    assert "Metrics of small, plain" in text and "gradient_norm" in text and "seconds" not in text
    named = ["recorded", "--node", "encoder.0.attention.scores", "--figure", "std"]
    assert main(["plot", str(run), str(run), "-o", str(file), "--what", *named]) == 0
    text = file.read_text(encoding="utf-8")
    assert "encoder.0.attention.scores.delta" in text and "small (2)" in text


def test_nodes_can_be_chosen(run, tmp_path, capsys):
    file = tmp_path / "x.svg"
    words = ["plot", str(run), "-o", str(file)]
    assert main([*words, "--what", "attention", "--node", "encoder.*"]) == 0
    text = file.read_text(encoding="utf-8")
    assert "encoder.0.attention" in text and "decoder" not in text
    assert main([*words, "--what", "flow", "--node", "encoder.0.*"]) == 0
    assert "decoder" not in file.read_text(encoding="utf-8")


@pytest.mark.parametrize(
    "words, problem",
    [
        (["-o", "x.gif"], "has no ending of a known format"),
        (["-o", "x"], "has no ending of a known format"),
        (["--what", "attention", "--example", "99"], "no example 99"),
        (["--what", "attention", "--node", "encoder.0.attention.query.w"], "no attention has"),
        (["--what", "flow", "--node", "q.*"], "nothing is recorded"),
        (["--what", "recorded"], "more than a picture shows"),
        (["--what", "recorded", "--node", "loss", "--figure", "nrm"], "'nrm' is not recorded"),
        (["--what", "metrics", "--figure", "los"], "no run has written a figure 'los'"),
        (["--what", "loss", "--figure", "loss"], "--figure is for metrics, spread, recorded"),
        (["--what", "spread"], "enough numbers"),
    ],
)
def test_mistakes_write_nothing(run, tmp_path, capsys, monkeypatch, words, problem):
    monkeypatch.chdir(tmp_path)
    assert main(["plot", str(run), *words]) == 2
    assert problem in capsys.readouterr().err
    assert not list(Path(tmp_path).iterdir())


def test_characters_that_no_font_has_are_said_beside_the_picture(
    plain, tmp_path, capsys, monkeypatch
):
    """The run's name is the title of its plot; here is a machine without a font for Chinese."""
    monkeypatch.setattr(plot_fonts, "system_families", dict)
    renamed = tmp_path / "运行"
    shutil.copytree(plain, renamed)
    assert main(["plot", str(renamed), "-o", str(tmp_path / "loss.png")]) == 0
    said = capsys.readouterr()
    assert said.out.startswith(f"written {tmp_path / 'loss.png'} (")
    assert said.err.startswith("note: no font here has 2 of the characters (行运)")
    assert said.err.count("\n") == 1
