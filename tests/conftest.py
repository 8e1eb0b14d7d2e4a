"""Fixtures of the whole suite; makes the helpers beside this file importable from every test."""

import pytest


@pytest.fixture
def small_kernels(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fuses what is too small to be worth a kernel, too."""
    monkeypatch.setattr("graphgrad.kernels.fuse.WORTH_A_KERNEL", 0)
