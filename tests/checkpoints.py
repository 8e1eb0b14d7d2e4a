"""Small checkpoints to save, damage and compare in tests."""

import os

import numpy as np

from graphgrad.training.checkpoint import load_checkpoint, save_checkpoint
from graphgrad.training.checkpoint_format import sealed


def state_of(step):
    return {
        "encoder.0.weight": np.full((3, 4), step, np.float32),
        "adam.count": np.array(step, np.int64),
    }


def details_of(step):
    return {"epoch": step, "data": {"order": [step, 1, 2]}, "note": "für"}


def save(folder, step, keep=3):
    return save_checkpoint(folder, step, state_of(step), details_of(step), keep)


def assert_is(found, step):
    assert found.step == step
    assert found.details == details_of(step)
    assert list(found.arrays) == list(state_of(step))
    for name, array in state_of(step).items():
        assert found.arrays[name].dtype == array.dtype
        np.testing.assert_array_equal(found.arrays[name], array)


def names_in(folder):
    return sorted(os.listdir(folder))


def assert_falls_back(folder, reason=""):
    found = load_checkpoint(folder)
    assert_is(found, 1)
    assert len(found.warnings) == 1
    assert found.warnings[0].startswith("step-000000002 is damaged: ")
    assert reason in found.warnings[0]


def sealed_manifest(body):
    """The manifest with the seal that fits what it says now."""
    body.pop("seal", None)
    return body | {"seal": sealed(body)}
