"""Checkpoints that several ranks write: what they mean at any number of ranks, and every damage."""

import dataclasses
import json
import shutil

import numpy as np
import pytest
from safetensors.numpy import load_file

from graphgrad.errors import CheckpointError, EnvironmentLimitError, RanksError
from graphgrad.models import BUILTIN
from graphgrad.tools.main import main
from graphgrad.training import checkpoint_pieces, shard_files, team
from graphgrad.training.checkpoint import load_checkpoint
from graphgrad.training.checkpoint_format import sealed
from graphgrad.training.runs import open_run
from graphgrad.training.shared_state import kept_of, wanted_by
from tests.ranks_of_run import train_on_ranks

WORDS = ["dtype=float64", "checkpoint_every=4", "average_decay=0.9", "evaluate_every=3"]


def begun(folder, *words):
    sets = [word for each in (*WORDS, *words) for word in ("--set", each)]
    assert main(["train", "attention", "--run", str(folder), *sets]) == 0
    return folder


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A run of 4 steps alone and 4 on four ranks, with small blocks."""
    folder = begun(tmp_path_factory.mktemp("runs") / "run", "steps=4", "shard_states=true")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(checkpoint_pieces, "BLOCK", 256)
        assert train_on_ranks(folder, 4, steps=8) == [None] * 4
    return folder


@pytest.fixture
def run(trained, tmp_path, monkeypatch):
    monkeypatch.setattr(checkpoint_pieces, "BLOCK", 256)
    return shutil.copytree(trained, tmp_path / "run")


def newest(run):
    return run / "checkpoints" / "step-000000008"


def state(run, **options):
    return open_run(run, BUILTIN, **options).state


def test_four_ranks_then_one_then_three_are_one(run, tmp_path, capsys):
    one = begun(tmp_path / "one", "steps=12")
    assert main(["train", "--resume", str(run), "--set", "steps=10"]) == 0
    assert train_on_ranks(run, 3, steps=12) == [None] * 3
    found, wanted = state(run), state(one)
    assert found.keys() == wanted.keys()
    for name, value in wanted.items():
        np.testing.assert_allclose(found[name], value, 1e-12, 1e-12, err_msg=name)
    figures = [json.loads((each / "evaluation.json").read_text()) for each in (run, one)]
    assert figures[0]["loss"] == pytest.approx(figures[1]["loss"], rel=1e-12)
    lines = [open_run(each, BUILTIN).folder.metrics() for each in (run, one)]
    for ours, theirs in zip(*lines, strict=True):  # with the averages, which were gathered
        for name in {"loss", "gradient_norm", "held_out_loss"} & theirs.keys():
            assert ours[name] == pytest.approx(theirs[name], rel=1e-12)


def test_each_number_of_ranks_reads_the_same_bytes(run):
    whole = state(run)
    for ranks in (1, 2, 3, 7):
        opened = [open_run(run, BUILTIN, rank=rank, ranks=ranks) for rank in range(ranks)]
        shards = opened[0].shards
        joined = shards.joined([each.state for each in opened]) if shards else opened[0].state
        assert joined.keys() == whole.keys()
        assert all(joined[name].tobytes() == value.tobytes() for name, value in whole.items())
    alone = load_checkpoint(run / "checkpoints", 4)
    assert len(list(alone.path.iterdir())) == 2  # one process has written it
    shards = open_run(run, BUILTIN, ranks=3).shards
    parts = []
    for rank in range(3):
        read = load_checkpoint(run / "checkpoints", 4, wanted_by(shards, rank)).arrays
        parts.append(kept_of(shards, rank, read))
    joined = shards.joined(parts)
    assert all(joined[name].tobytes() == value.tobytes() for name, value in alone.arrays.items())


def test_the_files_are_safetensors_and_a_share_is_a_fourth(run):
    files = {path.name: load_file(path) for path in newest(run).glob("*.safetensors")}
    assert sorted(files) == [f"state-{rank}.safetensors" for rank in range(4)]
    sizes = [sum(array.nbytes for array in each.values()) for each in files.values()]
    moments = sum(v.nbytes for k, v in state(run).items() if "moment" in k or "average" in k)
    assert sorted(sizes)[:3] == [moments // 4] * 3
    assert not any(
        "moment" in name and array.ndim > 1
        for name, array in files.items()
        for name, array in array.items()
    )


def test_a_rank_reads_the_blocks_that_it_needs_and_no_others(run):
    """A block with moments of the last rank is damaged: the first one does not read it."""
    flip(newest(run) / "state-3.safetensors", -1)
    opened = open_run(run, BUILTIN, rank=0, ranks=4)
    assert opened.step == 8
    assert open_run(run, BUILTIN, rank=3, ranks=4).step == 6
    assert open_run(run, BUILTIN).step == 6


def flip(path, place):
    content = bytearray(path.read_bytes())
    content[place] ^= 1
    path.write_bytes(content)


def cut(path):
    path.write_bytes(path.read_bytes()[:-3])


def foreign(path):
    shutil.copy(path.with_name("state-2.safetensors"), path)


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (
            lambda path: flip(path, 4),
            "state-1.safetensors was altered, or is of another checkpoint",
        ),
        (lambda path: flip(path, -1), "the sha256 of its bytes"),
        (cut, r"state-1.safetensors has [\d,]+ bytes instead of [\d,]+"),
        (lambda path: path.unlink(), "state-1.safetensors is missing"),
        (foreign, "state-1.safetensors was altered, or is of another checkpoint"),
        (lambda path: (path.unlink(), path.mkdir()), "state-1.safetensors is not a regular file"),
    ],
)
def test_a_share_that_is_damaged_is_named_and_the_one_before_is_used(run, spoil, reason):
    spoil(newest(run) / "state-1.safetensors")
    found = load_checkpoint(run / "checkpoints")
    assert found.step == 6 and "step-000000008 is damaged" in found.warnings[0]
    with pytest.raises(CheckpointError, match=reason):
        load_checkpoint(run / "checkpoints", 8)


def piece(body, name="average.attention.W_Q"):
    (entry,) = [each for each in body["arrays"] if each["name"] == name]
    return entry["pieces"][0]


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (lambda b: piece(b).update(first=1), "lacks elements of average.attention.W_Q"),
        (lambda b: piece(b).update(file=9), "is in no listed file"),
        (lambda b: piece(b).update(file=-1), "is in no listed file"),
        (lambda b: piece(b).update(offset=10**6), "reaches beyond its file"),
        (lambda b: piece(b).update(offset=-8), "reaches beyond its file"),
        (lambda b: b["arrays"][0]["shape"].append(2), "of 128 elements of attention.W_Q"),
        (lambda b: b["arrays"][0]["shape"].append(-1), "a size below 0"),
        (
            lambda b: b["files"][0].update(name="../state-0.safetensors"),
            "is not the name of a file",
        ),
        (lambda b: b["files"][1].update(name="state-0.safetensors"), "lists a file twice"),
        (lambda b: b["files"][0]["blocks"].pop(), "checksums in the manifest"),
        (lambda b: b["files"][0].update(sha256="x"), "missing or unknown keys: 'sha256'"),
        (lambda b: b["arrays"].append(b["arrays"][0]), "lists an array twice"),
    ],
)
def test_a_manifest_that_is_wrong_although_sealed_is_damaged(run, spoil, reason):
    path = newest(run) / "manifest.json"
    body = json.loads(path.read_text())
    del body["seal"]
    spoil(body)
    path.write_text(json.dumps(body | {"seal": sealed(body)}))
    with pytest.raises(CheckpointError, match=reason):
        load_checkpoint(run / "checkpoints", 8)


def test_a_rank_that_cannot_write_is_named_and_the_old_checkpoints_stay(run, monkeypatch):
    write = shard_files.write_share

    def refused(folder, shards, rank, kept):
        if rank == 2:
            (folder / "state-2.safetensors").write_bytes(b"half")
            raise OSError(28, "No space left on device")
        return write(folder, shards, rank, kept)

    monkeypatch.setattr(team, "write_share", refused)
    first, *others = train_on_ranks(run, 3, steps=9)
    assert isinstance(first, EnvironmentLimitError)
    assert "rank 2 cannot write its share of the checkpoint: No space left on device" in str(first)
    assert all(isinstance(each, RanksError) for each in others)
    names = sorted(path.name for path in (run / "checkpoints").iterdir())
    assert names[-1] == newest(run).name and all(name.startswith("step-") for name in names)
    assert open_run(run, BUILTIN).step == 8


def test_with_a_rank_its_share_is_lost_and_the_last_checkpoint_counts(run, monkeypatch):
    follow = team.Team.follow

    def lost(self, opened):
        if self.communicator.rank == 1:
            assert self.communicator.gather(b"", -2, patient=True)[0] == b"8"
            raise ValueError("killed")
        return follow(self, opened)

    monkeypatch.setattr(team.Team, "follow", lost)
    first, *_ = train_on_ranks(run, 2, steps=20)
    assert isinstance(first, RanksError)
    assert open_run(run, BUILTIN).step == 8
    assert "its share of the state" in (run / "log.txt").read_text()


def test_all_ranks_measure_the_averages_that_they_have_in_shares(run, monkeypatch):
    """A task that spreads its evaluation over the ranks: each looks at the same parameters."""
    seen = []
    task = BUILTIN["attention"].task

    def spread(state, stages, quick, over):
        seen.append(state["attention.W_Q"].tobytes())
        return {"loss": 1.0, "examples": 1}

    def with_spread(settings, files):
        return dataclasses.replace(task(settings, files), spread=spread)

    monkeypatch.setattr(BUILTIN["attention"], "task", with_spread)
    assert train_on_ranks(run, 3, steps=9) == [None] * 3
    assert len(seen) == 6  # a look at step 9 and the evaluation at the end
    assert set(seen) == {state(run)["average.attention.W_Q"].tobytes()}


def test_what_is_done_with_a_run_reads_shares(run, tmp_path, capsys):
    for words in (
        ["evaluate", str(run)],
        ["inspect", str(run)],
        ["render", str(run), "-o", str(tmp_path / "graph.svg")],
        ["average", str(run), "-o", str(tmp_path / "average")],
    ):
        assert main(words) == 0, capsys.readouterr().err
