"""Fixtures of the whole suite; makes the helpers beside this file importable from every test."""

import functools
import gc
import importlib
import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from threadpoolctl import threadpool_limits


def pytest_configure(config: pytest.Config) -> None:
    """The machine code of tests is kept with their results, not with the user's.

    Bytecode is always kept: tests start some hundred processes, and each of them would compile
    the whole package anew.
    """
    sys.dont_write_bytecode = False
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    gc.disable()  # until all tests are collected: nothing of them is garbage
    if config.pluginmanager.hasplugin("cacheprovider"):  # without it, `-p no:cacheprovider`
        os.environ.setdefault("GRAPHGRAD_CACHE", str(config.cache.mkdir("graphgrad")))


def pytest_xdist_auto_num_workers(config: pytest.Config) -> int:
    """Folders are tested by two processes; a file alone is there sooner in one."""
    return 2 if any(Path(name.partition("::")[0]).is_dir() for name in config.args) else 0


def pytest_collection_finish(session: pytest.Session) -> None:
    """Spares the garbage collector traversing the thousands of collected tests again and again, and
    the processors threads of the BLAS that wait for one that another process of tests is using."""
    threadpool_limits(1)
    gc.collect()
    gc.freeze()
    gc.set_threshold(10_000)
    gc.enable()


@pytest.fixture(scope="session", autouse=True)
def dates_once() -> Iterator[None]:
    """A process of tests writes the built-in dates once: 100,000 of them take seconds."""
    builtin = importlib.import_module("graphgrad.data.builtin")  # now that bytecode is kept
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(builtin, "dates_corpus", functools.cache(builtin.dates_corpus))
        yield


@pytest.fixture(scope="session", autouse=True)
def no_helping_processes() -> Iterator[None]:
    """A process of tests compiles its kernels itself: others keep the other processors busy, and
    a helper has to import the package first. `test_kernel_cache` tests the helpers."""
    kernel_cache = importlib.import_module("graphgrad.loops.kernel_cache")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(kernel_cache, "KERNELS_A_PROCESS", sys.maxsize)
        yield


@pytest.fixture
def small_kernels(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fuses what is too small to be worth a kernel, too."""
    monkeypatch.setattr("graphgrad.fusion.grouping.SMALLEST_KERNEL", 0)


@pytest.fixture
def no_graphviz(monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither the system nor the environment has a program that draws."""
    monkeypatch.setenv("PATH", "")
    monkeypatch.setattr("sysconfig.get_path", lambda name: "")
