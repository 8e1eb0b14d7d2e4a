"""`graphgrad train` on text of one's own: its options, and what it says before it begins."""

import json
import re

import pytest

from graphgrad.tools.main import main
from graphgrad.training.text_settings import FILES

SMALL = {
    "layers": 1,
    "width": 16,
    "heads": 2,
    "inner": 16,
    "steps": 100,
    "warmup": 2,
    "tokens": "words",
    "batch_tokens": 120,
    "buckets": 3,
    "evaluate_every": 60,
}


@pytest.fixture
def lines(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    rows = [f"a{n % 5} {'b ' * (n % 7)}c{n}\tA{n % 5} C{n}" for n in range(60)]
    (tmp_path / "train.tsv").write_text("\n".join([*rows, "\tblank", rows[3]]), encoding="utf-8")
    (tmp_path / "valid.tsv").write_text("\n".join(["x\ty", rows[7]]), encoding="utf-8")
    for name, side in (("test.en", 0), ("test.de", 1)):
        text = "\n".join(row.split("\t")[side] for row in rows[:4])
        (tmp_path / name).write_text(text, encoding="utf-8")
    return tmp_path


def train(*words, **values):
    settings = {**SMALL, **values}
    given = [word for key, value in settings.items() for word in ("--set", f"{key}={value}")]
    return main(["train", "transformer", "--run", "run", *words, *given])


def test_files_of_every_part_are_options_and_are_described_before_the_start(lines, capsys):
    words = [
        "--pairs",
        "train.tsv",
        "--validation-pairs",
        "valid.tsv",
        "--test-source",
        "test.en",
        "--test-target",
        "test.de",
    ]
    assert train(*words) == 0
    out = capsys.readouterr().out
    start, rest = out.split("step 1/100", 1)
    for line in (
        r"note: 1 of 62 pairs have a blank side and are left out \(line 61\)",
        r"note: 1 of 2 pairs for validation are in training, too \(line 2\): figures on them .*",
        r"note: 4 of 4 pairs for test are in training, too \(lines 1, 2, 3, 4\): .*",
        r"run run: transformer, [\d,]+ parameters, steps 0 to 100",
        r"data: 61 pairs of train.tsv to train on",
        r"held out: 2 pairs for validation \(valid.tsv\), 4 for test \(test.en and test.de\)",
        r"vocabulary: 7\d source and 6\d target tokens \(words\); unknown in validation: .*%",
        r"batches: \d+ an epoch, of at most 120 tokens; \d+\.\d% is padding",
        r"programs: \d+ in the whole run: [23] for training steps, one for each .*",
        r"memory: .*iB, of which parameters and moments take .*iB and a step .*iB",
        r"figures: bleu is sacrebleu's nrefs:1\|.*tok:13a.*",
    ):
        assert re.search(f"^{line}$", start, re.MULTILINE), line
    assert re.search(
        r"step 60  held-out: loss .* perplexity .* token_accuracy .* bleu .* chrf", rest
    )
    assert "(reference: y)" in rest
    written = json.loads((lines / "run" / "evaluation.json").read_text(encoding="utf-8"))
    assert written["signatures"]["bleu"] in out
    configuration = json.loads((lines / "run" / "configuration.json").read_text(encoding="utf-8"))
    assert configuration["settings"]["pairs"] == str(lines / "train.tsv"), "a run can be moved"
    assert main(["evaluate", "run"]) == 0
    assert f"bleu           {written['bleu']:.6g}  nrefs:1|" in capsys.readouterr().out


def test_every_file_has_its_option_and_models_without_text_take_none(lines, capsys):
    for name in FILES:
        assert main(["train", "feedforward", f"--{name.replace('_', '-')}", "train.tsv"]) == 2
        assert f"leave --{name.replace('_', '-')} out" in capsys.readouterr().err
    assert main(["train", "--resume", "run", "--pairs", "train.tsv"]) == 2
    assert "takes no model, --run or files" in capsys.readouterr().err


def test_what_is_wrong_with_the_files_is_told_and_leaves_no_run(lines, capsys):
    (lines / "bad.tsv").write_bytes(b"a\tb\n\xff\tc\n")
    assert train("--pairs", "bad.tsv") == 2
    assert "this is not UTF-8: byte 0xff" in capsys.readouterr().err
    assert train("--source", "test.en") == 2
    assert "source and target belong together" in capsys.readouterr().err
    assert train("--pairs", "train.tsv", batch_tokens=5) == 2
    assert "set batch_tokens to" in capsys.readouterr().err
    assert not (lines / "run").exists()


def test_every_setting_of_text_has_a_meaning(capsys):
    assert main(["train", "transformer", "--settings"]) == 0
    out = capsys.readouterr().out
    for name in (
        *FILES,
        "held_out",
        "tokens",
        "tokenizer",
        "joint",
        "batch_tokens",
        "buckets",
        "bleu",
        "validation_size",
    ):
        assert re.search(rf"^{name}  .*\w{{3}}", out, re.MULTILINE), name
