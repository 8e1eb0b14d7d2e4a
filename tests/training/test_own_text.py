"""Text of one's own: files of every form, few programs, the same bytes after a stop."""

import gzip
import json
import os
from pathlib import Path

import numpy as np
import pytest
from small_runs import QUIET, interrupt, losses, state_bytes

from graphgrad.data.byte_pairs import train_byte_pairs
from graphgrad.data.vocabulary import PAD
from graphgrad.errors import ConfigurationError, DataError
from graphgrad.graph import initial_state
from graphgrad.models import transformer
from graphgrad.models.transformer import Settings, task
from graphgrad.training.accumulation import PART
from graphgrad.training.averaging import average_run, kept_steps
from graphgrad.training.configuration import PLACES
from graphgrad.training.runs import create_run, open_run
from graphgrad.training.task import load_model
from graphgrad.training.trainer import train
from graphgrad.training.translation_data import SOURCE_FILE, TARGET_FILE

WORDS = ["red", "blue", "green", "cat", "dog", "house"]
ROWS = [
    (line, line.upper()[::-1])
    for n in range(90)
    if (line := " ".join(f"{WORDS[(n * k) % 6]}{n % 7}" for k in range(1, 2 + n % 9)))
]
SMALL = {"layers": 1, "width": 16, "heads": 2, "inner": 16, "fuse": False}
pytestmark = pytest.mark.usefixtures("no_waiting_for_the_disk")


def write(path: Path, lines: list[str]) -> str:
    """The lines in a file, packed where its name says so."""
    content = "".join(f"{line}\n" for line in lines).encode()
    path.write_bytes(gzip.compress(content) if path.suffix == ".gz" else content)
    return str(path)


def aligned(folder: Path, name: str, rows: list[tuple[str, str]]) -> list[str]:
    return [
        write(folder / f"{name}.{end}", [row[side] for row in rows])
        for side, end in enumerate(("en.gz", "de"))
    ]


@pytest.fixture
def files(tmp_path):
    """Settings that name files for all three parts, in every form."""
    source, target = aligned(tmp_path, "train", ROWS[:70])
    validation = write(tmp_path / "valid.tsv", [f"{a}\t{b}" for a, b in ROWS[70:80]])
    test_source, test_target = aligned(tmp_path, "test", ROWS[80:])
    return {
        "source": source,
        "target": target,
        "validation_pairs": validation,
        "test_source": test_source,
        "test_target": test_target,
    }


def settings_of(files, **values):
    return Settings(
        **{**SMALL, "tokens": "words", "batch_tokens": 60, "buckets": 4} | files | values
    )


def test_each_part_comes_from_its_own_files(files):
    made = task(settings_of(files), {})
    about = "\n".join(made.about())
    assert "data: 70 pairs of train.en.gz and train.de to train on" in about
    assert "10 pairs for validation (valid.tsv), 10 for test (test.en.gz and test.de)" in about
    assert made.validate(initial_state(made.graph))["examples"] == 10
    assert not made.notice


def test_what_is_said_at_the_start_is_what_happens(files):
    made = task(settings_of(files), {})
    shapes = {
        tuple(made.feeds(n)[name].shape for name in ("source", "target_output")) for n in range(200)
    }
    about = "\n".join(made.about())
    assert f"whole run: {len(shapes)} for training steps" in about and len(shapes) <= 4
    count = next(
        n for n in range(1, 200) if f"batches: {n} an epoch, of at most 60 tokens" in about
    )
    epoch = [made.feeds(step) for step in range(count)]
    cells = sum(f["source"].size + f["target_output"].size for f in epoch)
    pads = sum(np.count_nonzero(f[n] == PAD) for f in epoch for n in ("source", "target_output"))
    assert f"{pads / cells:.1%} is padding" in about
    told = [((s["batch"], s["source"]), (s["batch"], s["target"])) for s in made.sizes()]
    assert shapes.issuperset(told)
    for size in (lambda shape: shape[0][1], lambda shape: shape[1][0] * shape[1][1]):
        assert max(map(size, told)) == max(map(size, shapes)), "the longest, and the largest"
    assert "unknown in validation: 0.00%" in about
    narrow = task(settings_of(files, maximum_vocabulary=20), {})
    assert "unknown in validation: 0.00%" not in "\n".join(narrow.about())


@pytest.mark.parametrize("tokens", ["words", "characters", "bpe", "presplit"])
@pytest.mark.parametrize("joint", [False, True])
def test_a_run_keeps_its_tokens_and_needs_no_data_to_translate(files, tokens, joint):
    settings = settings_of(
        files, tokens=tokens, joint=joint, batch_tokens=500, maximum_vocabulary=300
    )
    first = task(settings, {})
    assert (first.files[SOURCE_FILE] == first.files[TARGET_FILE]) == joint
    state = initial_state(first.graph, 1)
    texts = [ROWS[3][0], "unknown ξ", ""]
    expected = first.translate(state, texts)
    for path in files.values():
        os.unlink(path)
    again = task(settings, first.files)
    assert again.translate(state, texts) == expected and again.files == first.files
    with pytest.raises(DataError, match="no such file"):
        again.feeds(0)


def test_a_tokenizer_from_a_file_is_kept_in_the_run(files, tmp_path):
    body = json.loads(train_byte_pairs([row[0] for row in ROWS], 280).to_json())
    (tmp_path / "tokenizer.json").write_text(json.dumps(body["tokenizer"]), encoding="utf-8")
    settings = settings_of(
        files, tokens="bpe", tokenizer=str(tmp_path / "tokenizer.json"), batch_tokens=300
    )
    first = task(settings, {})
    os.unlink(tmp_path / "tokenizer.json")
    again = task(settings, first.files)
    np.testing.assert_array_equal(again.feeds(5)["source"], first.feeds(5)["source"])
    assert json.loads(first.files[SOURCE_FILE]) == body
    with pytest.raises(ConfigurationError, match="tokens are words"):
        settings_of(files, tokenizer="tokenizer.json")


EVERYTHING = {
    "buckets": 2,
    "dropout": 0.2,
    "steps": 12,
    "warmup": 2,
    "accumulate": 2,
    "average_decay": 0.8,
    "keep_best": 2,
    "keep_last": 2,
    "checkpoint_every": 3,
    "evaluate_every": 4,
}


def test_a_stop_in_the_middle_of_an_epoch_changes_no_byte(files, tmp_path):
    """Between the two batches of a step, with all that a run has: batches of several shapes,
    dropout, gradients of several batches, moving averages, the best checkpoints kept, and files
    that were moved meanwhile."""
    settings = settings_of(files, **EVERYTHING)
    builtin = {"transformer": transformer}
    found = load_model("transformer", builtin)
    whole = create_run(found, settings, tmp_path / "whole")
    train(whole, progress=QUIET())
    first = create_run(found, settings, tmp_path / "parts")
    feeds, about = first.task.feeds, "\n".join(first.task.about())
    batches = next(n for n in range(22) if f"batches: {n} an epoch" in about)
    stop = (batches + batches // 2) | 1  # batches, in the second epoch

    def interrupted(step):
        if step == stop - 1:
            interrupt()
        return feeds(step)

    object.__setattr__(first.task, "feeds", interrupted)
    ended = train(first, progress=QUIET())
    assert ended.ending == "interrupted" and ended.step == stop // 2 and stop % batches
    moved = {name: path + ".moved" for name, path in files.items()}
    for name, path in files.items():
        os.rename(path, moved[name])
    resumed = open_run(tmp_path / "parts", builtin, moved)
    assert resumed.state[PART] == 1, "one batch of the step is part of the state"
    train(resumed, progress=QUIET())
    assert state_bytes(resumed.state) == state_bytes(whole.state)
    assert losses(resumed.folder) == losses(whole.folder)
    steps = kept_steps(whole.folder)
    assert kept_steps(resumed.folder) == steps and len(steps) == 3
    means = [
        average_run(run.folder.path, steps, tmp_path / f"mean-{name}", builtin)
        for name, run in (("whole", whole), ("parts", resumed))
    ]
    assert state_bytes(means[0].state) == state_bytes(means[1].state) != state_bytes(whole.state)
    assert resumed.folder.read_json("evaluation.json") == whole.folder.read_json("evaluation.json")
    saved = whole.folder.read_json("evaluation.json")
    assert saved["signatures"].keys() == {"bleu", "chrf"} <= saved.keys()
    validated = [record for record in whole.folder.metrics() if "held_out_bleu" in record]
    assert [record["step"] for record in validated] == [4, 8, 12]
    assert all(record["signatures"] == saved["signatures"] for record in validated)


def test_figures_are_the_same_however_pairs_are_batched(files):
    """Loss and accuracy of the same state in the shapes of training, and one pair at a time."""
    made = task(settings_of(files), {})
    single = task(settings_of(files, batch_tokens=0, batch_size=1), {})
    state = initial_state(made.graph, 4)
    assert made.evaluate(state) == pytest.approx(single.evaluate(state), rel=1e-5)


def test_three_samples_have_their_references(files):
    made = task(settings_of(files, tokens="presplit"), {})
    lines = made.examples(initial_state(made.graph))
    assert len(lines) == 3
    for line, (source, target) in zip(lines, ROWS[70:], strict=False):
        assert line.startswith(f"{source}  →  ") and line.endswith(f"(reference: {target})")


@pytest.mark.parametrize(
    ("values", "problem"),
    [
        ({"pairs": "x"}, "source and target are given, and pairs too"),
        ({"pairs": "x", "target": ""}, "source is given, and pairs too"),
        ({"target": ""}, "source and target belong together"),
        ({"validation_source": "x"}, "validation_source is given, and validation_pairs too"),
        ({"source": "", "target": ""}, "files for validation or test are given, and none to train"),
        ({"held_out": 0.5}, "held_out is 0.5"),
        ({"held_out": 2.5}, "held_out is 2.5"),
        ({"tokens": "word"}, "tokens must be one of"),
        ({"bleu": "13b"}, "bleu must be one of"),
        ({"buckets": 0}, "buckets must be at least 1"),
        ({"batch_tokens": -1}, "batch_tokens must be at least 0"),
    ],
)
def test_settings_that_make_no_sense_are_refused(files, values, problem):
    with pytest.raises(ConfigurationError, match=problem):
        settings_of(files, **values)


def test_all_files_of_text_may_move_and_nothing_else():
    names = {
        name
        for name in Settings.__dataclass_fields__
        if "source" in name or "target" in name or name.endswith("pairs")
    }
    assert {*PLACES} == {*names, "tokenizer", "text"}, "the last is that of gpt and bert"
