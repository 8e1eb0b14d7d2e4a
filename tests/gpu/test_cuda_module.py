"""Kernels compiled by NVRTC, without a device: kept on disk, compiled again where a file is
damaged, and what is said where a text is wrong or NVRTC is missing."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from cpu_device import needs_nvrtc

from graphgrad.backends.cupy import module, nvrtc
from graphgrad.backends.cupy.kernel_files import kernel_text, named
from graphgrad.backends.cupy.module import compile_cuda, module_text
from graphgrad.errors import ConfigurationError, EnvironmentLimitError, PassError

EMPTY = 'extern "C" __global__ void nothing(int* to) { to[0] = 1; }'
WRONG = """extern "C" __global__ void right(
    int* to)
{
    to[0] = 1;
}
extern "C" __global__ void __launch_bounds__(256) wrong(
    int* to)
{
    to[0] = there_is_none;
}
"""
OTHER_PROCESS = f"""
from graphgrad.backends.cupy import module
assert module.compile_cuda({EMPTY!r}, "sm_90").startswith(b"\\x7fELF")
class Nvrtc(type(module.nvrtc())):
    def compile(self, *arguments):
        raise AssertionError("it should be on disk")
module.nvrtc().__class__ = Nvrtc
print(len(module.compile_cuda({EMPTY!r}, "sm_90")))
"""


@pytest.fixture
def folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    monkeypatch.setenv("GRAPHGRAD_CACHE", str(tmp_path))
    return tmp_path / "cubins"


class Counting:
    """NVRTC, and how often it compiled."""

    def __init__(self, version: str = "") -> None:
        self.real, self.compiled = nvrtc.nvrtc(), 0
        self.version = version or self.real.version

    def compile(self, text: str, options: tuple[str, ...]) -> tuple[bytes, str]:
        self.compiled += 1
        return self.real.compile(text, options)


@pytest.fixture
def counting(monkeypatch: pytest.MonkeyPatch, folder: Path) -> Counting:
    its = Counting()
    monkeypatch.setattr(module, "nvrtc", lambda: its)
    return its


@needs_nvrtc
def test_code_is_kept_by_text_architecture_and_version(counting, folder, monkeypatch):
    first = compile_cuda(EMPTY, "sm_90")
    assert compile_cuda(EMPTY, "sm_90") == first and counting.compiled == 1
    assert compile_cuda(EMPTY, "sm_80") != first and counting.compiled == 2
    compile_cuda(EMPTY.replace("= 1", "= 2"), "sm_90")
    assert counting.compiled == 3 and len(list(folder.glob("*.cubin"))) == 3
    other = Counting("99.9")
    monkeypatch.setattr(module, "nvrtc", lambda: other)
    assert compile_cuda(EMPTY, "sm_90") == first and other.compiled == 1
    monkeypatch.setattr(module, "OPTIONS", (*module.OPTIONS, "--extra-device-vectorization"))
    compile_cuda(EMPTY, "sm_90")
    assert other.compiled == 2


DAMAGE = {
    "empty": lambda content: b"",
    "half": lambda content: content[: len(content) // 2],
    "another last byte": lambda content: content[:-1] + bytes([content[-1] ^ 1]),
    "another mark": lambda content: bytes([content[0] ^ 1]) + content[1:],
}


@needs_nvrtc
@pytest.mark.parametrize("kind", DAMAGE)
def test_a_damaged_file_is_compiled_again(counting, folder, kind):
    code = compile_cuda(EMPTY, "sm_90")
    (file,) = folder.glob("*.cubin")
    content = file.read_bytes()
    file.write_bytes(DAMAGE[kind](content))
    assert compile_cuda(EMPTY, "sm_90") == code and counting.compiled == 2
    assert file.read_bytes() == content
    assert compile_cuda(EMPTY, "sm_90") == code and counting.compiled == 2


@needs_nvrtc
def test_other_processes_find_what_was_compiled(counting, folder):
    code = compile_cuda(EMPTY, "sm_90")
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    other = subprocess.run(
        [sys.executable, "-c", OTHER_PROCESS], capture_output=True, text=True, env=environment
    )
    assert other.stdout.split() == [str(len(code))], other.stderr
    assert len(list(folder.glob("*.cubin"))) == 1


@needs_nvrtc
def test_a_text_that_is_refused_is_told_with_the_log_and_the_nodes(folder):
    with pytest.raises(PassError) as told:
        names = {"right": ["decoder.0.scores"], "wrong": ["encoder.0.scores", "loss"]}
        compile_cuda(WRONG, "sm_90", names)
    message = str(told.value)
    assert "there_is_none" in message and "graphgrad.cu(9)" in message and "sm_90" in message
    assert "where: encoder.0.scores, loss\n" in message and "decoder" not in message
    assert not list(folder.glob("*.cubin")) if folder.exists() else True
    with pytest.raises(PassError, match="sm_999"):
        compile_cuda(EMPTY, "sm_999")


@pytest.mark.parametrize("architecture", ["90", "sm_", "sm_90 --device-debug", "compute_90", ""])
def test_an_architecture_is_named_as_nvidia_names_it(architecture):
    with pytest.raises(ConfigurationError, match="sm_90"):
        compile_cuda(EMPTY, architecture)


def test_without_nvrtc_one_sentence_says_what_to_install(monkeypatch):
    monkeypatch.setattr(nvrtc, "places_of", lambda library: iter(()))
    with pytest.raises(EnvironmentLimitError) as told:
        nvrtc.nvrtc.__wrapped__()
    assert "is not installed\n" in str(told.value)
    assert "python -m pip install 'graphgrad[cuda13]'" in told.value.fix


def test_a_library_that_does_not_load_is_named(monkeypatch, tmp_path):
    broken = tmp_path / "libnvrtc.so.13"
    broken.write_bytes(b"no library")
    monkeypatch.setattr(nvrtc, "places_of", lambda library: iter([str(broken)]))
    with pytest.raises(EnvironmentLimitError, match=r"libnvrtc\.so\.13"):
        nvrtc.nvrtc.__wrapped__()


def test_the_library_is_looked_for_in_packages_and_in_the_toolkit(monkeypatch, tmp_path):
    (tmp_path / "lib64").mkdir()
    for name in ("libnvrtc.so.12", "libnvrtc-builtins.so.12.4"):
        (tmp_path / "lib64" / name).touch()
    monkeypatch.setenv("CUDA_HOME", str(tmp_path))
    found = list(nvrtc.places_of("nvrtc"))
    assert str(tmp_path / "lib64" / "libnvrtc.so.12") in found
    assert not any("builtins" in path for path in found)


def test_a_module_has_the_functions_in_front_and_kernels_by_their_names():
    name, text = named(kernel_text("fill_zero", element="float32"))
    whole = module_text({name: text})
    assert whole.index("philox(") < whole.index(f" {name}(")
    assert " kernel(" not in whole and named(text)[0] != name


def test_importing_the_engine_needs_no_optional_library():
    forbidden = ("cupy", "llvmlite", "nvmath", "cudnn")
    code = f"""
import sys
for name in {forbidden!r}:
    sys.modules[name] = None
from graphgrad.backends.cupy import backend, module
"""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    subprocess.run([sys.executable, "-c", code], check=True, env=environment)
