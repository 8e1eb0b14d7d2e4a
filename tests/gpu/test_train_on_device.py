"""`graphgrad train --backend cupy` on a device that is this processor."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
from cpu_backend import CpuDevice, install
from cpu_device import needs_compiler
from train_command import refused

from graphgrad.tools.main import main
from graphgrad.training.checkpoint import load_checkpoint


@pytest.fixture
def device(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> CpuDevice:
    monkeypatch.chdir(tmp_path)
    return install(monkeypatch, CpuDevice())


def train(folder: str, backend: str, steps: int = 6) -> dict[str, bytes]:
    """Trains into a folder, or further there; the bytes of the last state."""
    words = ["--backend", backend, "--set", f"steps={steps}", "--set", "checkpoint_every=3"]
    if Path(folder).exists():
        assert main(["train", "--resume", folder, *words]) == 0
    else:
        assert (
            main(["train", "feedforward", "--run", folder, "--set", "dtype=float64", *words]) == 0
        )
    arrays = load_checkpoint(Path(folder) / "checkpoints").arrays
    return {name: array.tobytes() for name, array in arrays.items()}


def near(found: dict[str, bytes], wanted: dict[str, bytes]) -> None:
    assert found.keys() == wanted.keys()
    for name, value in wanted.items():
        pair = [
            np.frombuffer(each, "int64" if name in ("step", "seed") else "float64")
            for each in (found[name], value)
        ]
        np.testing.assert_allclose(*pair, 1e-9, 1e-9, err_msg=name)


@needs_compiler
def test_a_run_moves_between_processor_and_device(device, capsys):
    """In float64, with NumPy's products on either side."""
    whole = train("processor", "numpy")
    near(train("device", "cupy"), whole)
    assert device.captures >= 2  # the step, and what is evaluated on the way
    train("moving", "cupy", 3)
    near(train("moving", "numpy"), whole)
    train("back", "numpy", 3)
    near(train("back", "cupy"), whole)
    assert "the first step has the loss" in Path("device/log.txt").read_text()


@needs_compiler
def test_a_run_that_went_on_has_the_bytes_of_one_that_was_never_stopped(device, capsys):
    whole = train("whole", "cupy")
    train("stopped", "cupy", 3)
    assert train("stopped", "cupy") == whole


def test_without_a_device_training_says_so_in_one_sentence(monkeypatch, tmp_path, capsys):
    monkeypatch.setitem(sys.modules, "cupy", None)
    monkeypatch.chdir(tmp_path)
    error = refused(capsys, ["train", "feedforward", "--backend", "cupy", "--run", "run"])
    assert "needs CuPy, which is not installed" in error
    assert not list(tmp_path.iterdir()), "nothing is left of the run"
