"""Fixtures of the tests that run device programs on this processor."""

from __future__ import annotations

from pathlib import Path

import pytest
from cpu_backend import CpuDevice, install


@pytest.fixture
def device(monkeypatch: pytest.MonkeyPatch) -> CpuDevice:
    """What `backend="cupy"` finds on this machine."""
    return install(monkeypatch, CpuDevice())


@pytest.fixture
def here(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """An empty current folder."""
    monkeypatch.chdir(tmp_path)
    return tmp_path
