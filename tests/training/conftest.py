"""What several tests of training start from."""

import os

import pytest
from checkpoints import save


@pytest.fixture
def no_waiting_for_the_disk(monkeypatch):
    """Flushing matters when the power fails, not here; the order of flushing has its own test."""
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)


@pytest.fixture
def two(tmp_path):
    """A folder with the checkpoints of steps 1 and 2, and the path of the second."""
    save(tmp_path, 1)
    return tmp_path, save(tmp_path, 2)
