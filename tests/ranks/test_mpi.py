"""Ranks that mpiexec starts: sums, what differs, what fails, and a training that is that of one."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

from graphgrad.errors import EnvironmentLimitError
from graphgrad.ranks import Mpi, ranks_of_mpi
from graphgrad.tools.main import main

pytest.importorskip("mpi4py", reason="mpi4py is not installed")
MPIEXEC = shutil.which("mpiexec", path=f"{Path(sys.executable).parent}:{os.environ['PATH']}")
pytestmark = pytest.mark.skipif(MPIEXEC is None, reason="there is no mpiexec")

EXCHANGES = """
import time

import ml_dtypes
import numpy as np
from graphgrad.errors import RanksError
from graphgrad.ranks import Mpi, ranks_of_mpi

ranks = Mpi(time_limit=1.0, usable=3)
assert (ranks_of_mpi(), ranks.size, ranks.cores) == (3, 3, 1)
for number, (shape, dtype) in enumerate([((), "f8"), ((2,), "f4"), ((0, 3), "f4"), ((7, 5), "i4")]):
    drawn = [np.random.default_rng(r).normal(size=shape) * 99 for r in range(3)]
    terms = [np.asarray(each, dtype) for each in drawn]
    for kind, reduce in (("sum", np.add), ("max", np.maximum), ("min", np.minimum)):
        out = terms[ranks.rank].copy()
        ranks.all_reduce(out, out, kind, number)
        assert np.array_equal(out, reduce(reduce(terms[0], terms[1]), terms[2])), (shape, kind)
half = ml_dtypes.bfloat16
for number, (size, dtype) in enumerate([(0, "f8"), (2, "f4"), (7, "f8"), (1000, half)]):
    terms = [np.random.default_rng(r).normal(size=size).astype(dtype) for r in range(3)]
    whole = np.zeros(3 * -(-size // 3))
    whole[:size] = np.sum([each.astype("f4") for each in terms], axis=0)
    mine = np.full(len(whole) // 3, 7, dtype)
    ranks.reduce_scatter(mine, terms[ranks.rank], number)
    wanted = whole.reshape(3, -1)[ranks.rank]
    assert np.allclose(mine.astype("f8"), wanted, 2**-8, 1e-6) and (mine[wanted == 0] == 0).all()
    out = np.full(size, 7, dtype)
    ranks.all_gather(out, mine, number)
    assert np.allclose(out.astype("f8"), whole[:size], 2**-8, 1e-6)
    sent = terms[ranks.rank].copy()
    ranks.broadcast(sent, sent, 2, number)
    assert sent.tobytes() == terms[2].tobytes()
found = ranks.gather(b"x" * ranks.rank, 9)
assert found == [b"", b"x", b"xx"]
try:
    ranks.all_reduce(np.zeros(2 + ranks.rank), np.zeros(2 + ranks.rank), "sum", 10)
except RanksError as error:
    assert "somewhere else" in str(error)
else:
    raise AssertionError
if ranks.rank == 1:
    ranks.fail("no data — ü")
else:
    try:
        ranks.gather(b"", 11, patient=True)
    except RanksError as error:
        assert str(error) == "rank 1 has failed: no data — ü"
        if ranks.rank == 0:
            print("all well", flush=True)
            time.sleep(0.5)  # mpiexec passes it on
            ranks.abort(0)
time.sleep(30)  # until rank 0 ends all
"""


def on_ranks(count, *words):
    return subprocess.run(
        [MPIEXEC, "-n", str(count), sys.executable, *words],
        capture_output=True,
        text=True,
        timeout=60,
    )


def test_exchanges_of_three_ranks(tmp_path):
    script = tmp_path / "exchanges.py"
    script.write_text(EXCHANGES, encoding="utf-8")
    done = on_ranks(3, str(script))
    assert "all well" in done.stdout and "AssertionError" not in done.stderr, done.stderr


def test_a_training_under_mpiexec_is_the_training_of_one(tmp_path, capsys):
    words = ["train", "attention", "--set", "steps=6", "--set", "dtype=float64", "--run"]
    done = on_ranks(2, "-m", "graphgrad.tools.main", *words, str(tmp_path / "two"))
    assert done.returncode == 0, done.stderr
    assert "rank 1: 6 parts of batches computed" in done.stdout
    assert main([*words, str(tmp_path / "one")]) == 0
    one, two = (
        load_file(next((tmp_path / name / "checkpoints" / "step-000000006").glob("*.safetensors")))
        for name in ("one", "two")
    )
    for name, value in one.items():
        np.testing.assert_allclose(two[name], value, rtol=1e-12, atol=1e-12)


def test_an_error_of_the_first_rank_ends_all(tmp_path):
    done = on_ranks(2, "-m", "graphgrad.tools.main", "train", "no_such_model")
    assert done.returncode != 0 and "there is no model" in done.stderr
    words = ["-m", "graphgrad.tools.main", "train", "attention", "--run", str(tmp_path / "run")]
    assert "mpiexec has started 2 ranks" in on_ranks(2, *words, "--ranks", "3").stderr
    done = on_ranks(2, *words, "--inspect-every", "2")
    assert done.returncode != 0 and "recorded by one rank only" in done.stderr


def test_a_process_that_runs_alone_is_one_rank(monkeypatch):
    for name in ("PMI_SIZE", "OMPI_COMM_WORLD_SIZE", "MPI_LOCALNRANKS"):
        monkeypatch.delenv(name, raising=False)
    assert ranks_of_mpi() == 1
    monkeypatch.setitem(sys.modules, "mpi4py.MPI", None)
    with pytest.raises(EnvironmentLimitError, match=r"(?s)mpi4py.*graphgrad\[mpi\]"):
        Mpi()
