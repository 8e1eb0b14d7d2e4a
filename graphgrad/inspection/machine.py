"""The machine a program runs on, examined by measuring: the facts and verdicts of the doctor.

NumPy's speed is its BLAS's, and an environment variable may force slow kernels or one thread on
it. A forced kernel costs half the speed on one processor and nothing on the next, so every claim
is a measurement: the same matrix product, timed here and in a fresh process without the variable.

- Nothing is changed, and nothing raises: a fact that cannot be found is empty or 0.
- A verdict is a pure function of the facts (`judge`, `judge_blas`), and its remedy is exactly what
  the fresh process did differently.
- The file imports nothing of the package, because the fresh process runs it as a script.
"""

import importlib.util
import json
import os
import platform
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Container
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
from threadpoolctl import threadpool_info

# For each BLAS, the variables that force its kernel and those that set its number of threads.
KERNEL_VARIABLES = {
    "openblas": ("OPENBLAS_CORETYPE",),
    "mkl": ("MKL_DEBUG_CPU_TYPE", "MKL_ENABLE_INSTRUCTIONS", "MKL_CBWR"),
    "blis": ("BLIS_ARCH_TYPE",),
}
THREAD_VARIABLES = {
    "openblas": ("OPENBLAS_NUM_THREADS", "GOTO_NUM_THREADS", "OMP_NUM_THREADS"),
    "mkl": ("MKL_NUM_THREADS", "OMP_NUM_THREADS"),
    "blis": ("BLIS_NUM_THREADS", "OMP_NUM_THREADS"),
}
# Reported where set, never judged: threadpoolctl cannot ask what they led to.
OTHER_VARIABLES = ("NVPL_BLAS_DEBUG_CPU_TYPE", "VECLIB_MAXIMUM_THREADS", "NPY_DISABLE_CPU_FEATURES")

# The names in /proc/cpuinfo that say how wide and on what types the processor computes.
VECTOR_EXTENSIONS = (
    "sse4_2", "avx", "avx2", "fma", "avx512f", "avx512bw", "avx512vl", "avx512_vnni", "avx512_bf16",
    "avx512_fp16", "amx_bf16", "amx_int8", "asimd", "sve", "sve2", "bf16", "i8mm",
)  # fmt: skip

SLOWER = 0.15  # a smaller loss than this share is noise on a machine that others use too
TRIAL_SECONDS = 0.15
TIME_LIMIT = 60.0  # seconds for another process; it takes about one

Finished = subprocess.CompletedProcess[str]


@dataclass(frozen=True)
class Finding:
    """One verdict: ``ok``, a ``note`` or a ``problem``, and what to do about it (or nothing)."""

    level: Literal["ok", "note", "problem"]
    text: str
    remedy: str = ""


@dataclass(frozen=True)
class Trial:
    """A float32 matrix product, timed: the BLAS's kernel and threads, and the best GFLOP/s."""

    kernel: str
    threads: int
    gflops: float


@dataclass(frozen=True)
class BlasReport:
    """NumPy's BLAS as this process runs it.

    ``name`` is openblas, mkl or blis; for any other ``kernel`` is empty and ``threads`` 0. The
    process may keep ``cores`` (physical) and ``processors`` (hardware threads) busy. The variables
    of ``kernel_forced_by`` and ``threads_limited_by`` were absent in the ``free_`` trials.
    """

    name: str
    version: str
    kernel: str
    threads: int
    cores: int
    processors: int
    kernel_forced_by: tuple[str, ...] = ()
    threads_limited_by: tuple[str, ...] = ()
    measured: Trial | None = None
    free_kernel: Trial | None = None
    free_threads: Trial | None = None


@dataclass(frozen=True)
class Package:
    """An optional package: its version, or the ``failure`` of its import, or neither (absent)."""

    version: str = ""
    failure: str = ""


@dataclass(frozen=True)
class MachineReport:
    """What was found; ``memory`` in bytes, ``dot`` Graphviz's version, ``environment`` as set."""

    processor: str
    vector_extensions: tuple[str, ...]
    memory: int
    system: str
    python: str
    numpy: str
    blas: BlasReport
    environment: tuple[tuple[str, str], ...]
    llvmlite: Package
    cupy: Package
    dot: str
    gpus: tuple[str, ...]

    @property
    def findings(self) -> tuple[Finding, ...]:
        """The verdicts on these facts."""
        return judge(self)

    def to_dict(self) -> dict[str, Any]:
        """Facts and findings as JSON's own types."""
        findings = [asdict(finding) for finding in self.findings]
        whole = asdict(self) | {"environment": dict(self.environment), "findings": findings}
        found: dict[str, Any] = json.loads(json.dumps(whole))
        return found


def examine_machine(measure: bool = True) -> MachineReport:
    """Find all facts, in two seconds or so; ``measure=False`` times no matrix product."""
    variables = (*KERNEL_VARIABLES.values(), *THREAD_VARIABLES.values(), OTHER_VARIABLES)
    names = sorted({name for group in variables for name in group})
    processor, extensions, _ = read_processor()
    graphviz = re.search(r"version (\S+)", _answer("dot", "-V"))
    gpus = _answer("nvidia-smi", "--query-gpu=name,memory.total", "--format=csv,noheader")
    return MachineReport(
        processor, extensions, _memory(), platform.platform(), platform.python_version(),
        numpy=np.__version__, blas=examine_blas(measure),
        environment=tuple((name, os.environ[name]) for name in names if name in os.environ),
        llvmlite=_package("llvmlite"), cupy=_package("cupy"),
        dot=graphviz[1] if graphviz else "", gpus=tuple(gpus.splitlines()),
    )  # fmt: skip


def examine_blas(measure: bool = True) -> BlasReport:
    """NumPy's BLAS; with ``measure`` its speed too, and its speed without what holds it back."""
    name, version, kernel, threads = _loaded_blas()
    processors, cores = _usable_processors()
    forced = tuple(v for v in KERNEL_VARIABLES.get(name, ()) if os.environ.get(v))
    settings = THREAD_VARIABLES.get(name, ()) if threads < cores else ()
    limits = tuple(v for v in settings if os.environ.get(v))
    report = BlasReport(name, version, kernel, threads, cores, processors, forced, limits)
    if not measure:
        return report
    # Two rounds, in turn, where rates are compared: others may use the machine during one of them.
    count = 2 if forced or limits else 1
    rounds = [(run_trial(), _trial_without(forced), _trial_without(limits)) for _ in range(count)]
    measured, free_kernel, free_threads = (
        max(filter(None, trials), key=lambda trial: trial.gflops, default=None)
        for trials in zip(*rounds, strict=True)
    )
    return replace(report, measured=measured, free_kernel=free_kernel, free_threads=free_threads)


def one_line_warning(report: MachineReport | None = None) -> str | None:
    """The problems and their remedies in one line, or None where there are none.

    Without a report only the BLAS is looked at, in milliseconds. Only where the environment forces
    its kernel or limits its threads is it measured, in two seconds.
    """
    if report is None:
        blas = examine_blas(measure=False)
        if blas.kernel_forced_by or blas.threads_limited_by:
            blas = examine_blas()
    findings = report.findings if report else judge_blas(blas)
    problems = [finding for finding in findings if finding.level == "problem"]
    return "; ".join(f"{each.text} (remedy: {each.remedy})" for each in problems) or None


def judge(report: MachineReport) -> tuple[Finding, ...]:
    """Every verdict on a report, the BLAS first."""
    findings = list(judge_blas(report.blas))
    if not report.llvmlite.version:
        reason = report.llvmlite.failure or "it is not installed"
        text = f"no llvmlite ({reason}): kernels run as plain NumPy, which is slower"
        findings.append(Finding("note", text, "pip install --upgrade llvmlite"))
    if not report.dot:
        remedy = "apt install graphviz, brew install graphviz or conda install graphviz"
        findings.append(Finding("note", "no program `dot`: graphs are not laid out", remedy))
    gpus = ", ".join(report.gpus)
    if not gpus:
        findings.append(Finding("note", "no NVIDIA GPU found: programs run on the processor"))
    elif report.cupy.version:
        findings.append(Finding("ok", f"CuPy {report.cupy.version} on {gpus}"))
    else:
        reason = report.cupy.failure or "it is not installed"
        remedy = "pip install cupy-cuda12x or cupy-cuda13x, as the driver's CUDA version says"
        findings.append(Finding("note", f"{gpus} needs CuPy ({reason})", remedy))
    return tuple(findings)


def judge_blas(blas: BlasReport) -> tuple[Finding, ...]:
    """The verdicts on the BLAS: what runs, whether its kernel is forced, whether cores idle."""
    speed = f": {blas.measured.gflops:.0f} GFLOP/s in float32" if blas.measured else ""
    if not blas.threads:
        text = f"the BLAS of NumPy ({blas.name}) cannot be asked for its kernel and threads{speed}"
        return (Finding("note", text),)
    judged = tuple(filter(None, (_judge_kernel(blas), _judge_threads(blas))))
    if any(finding.level == "problem" for finding in judged):
        return judged
    text = f"{blas.name} uses {blas.threads} of {blas.processors} hardware threads{speed}"
    return (Finding("ok", text), *judged)


def _judge_kernel(blas: BlasReport) -> Finding | None:
    if not blas.kernel_forced_by:
        return None
    variables = " and ".join(blas.kernel_forced_by)
    forced = f"{variables} makes {blas.name} run its {blas.kernel} kernel"
    own, free = blas.measured, blas.free_kernel
    if own is None or free is None:
        return Finding("note", f"{forced}; what that costs was not measured", "graphgrad doctor")
    if free.kernel == own.kernel and own.kernel:
        return Finding("ok", f"{variables} changes nothing: {free.kernel} is also its own choice")
    rates = f"{own.gflops:.0f} GFLOP/s, and {free.gflops:.0f} with its own choice {free.kernel}"
    if own.gflops >= (1 - SLOWER) * free.gflops:
        return Finding("ok", f"{forced}, which costs nothing here: {rates}")
    text = f"{forced} at {own.gflops / free.gflops:.0%} of its speed: {rates}"
    return Finding("problem", text, "unset " + " ".join(blas.kernel_forced_by))


def _judge_threads(blas: BlasReport) -> Finding | None:
    setting = THREAD_VARIABLES.get(blas.name, ("OMP_NUM_THREADS",))[0]
    if blas.threads > blas.processors:
        text = f"{blas.name} starts {blas.threads} threads where {blas.processors} can run at once"
        return Finding("note", text, f"export {setting}={blas.processors}")
    if blas.threads >= blas.cores:
        return None
    text = f"{blas.name} uses {blas.threads} of {blas.cores} usable cores"
    if not blas.threads_limited_by:
        remedy = f"export {setting}={blas.cores}, unless the program sets the threads itself"
        return Finding("problem", text, remedy)
    text += " because of " + " and ".join(blas.threads_limited_by)
    if (own := blas.measured) and (free := blas.free_threads):
        text += f": {own.gflops:.0f} GFLOP/s, and {free.gflops:.0f} with {free.threads} threads"
        if free.gflops <= own.gflops:
            return Finding("ok", f"{text}: it costs nothing here (other programs may be busy)")
    return Finding("problem", text, "unset " + " ".join(blas.threads_limited_by))


def run_trial(size: int = 1024) -> Trial:
    """The best rate of ``[size, size]`` float32 products in about `TRIAL_SECONDS`."""
    left, right, result = np.random.default_rng(0).random((3, size, size), dtype=np.float32)
    seconds: list[float] = []
    while sum(seconds) < TRIAL_SECONDS or len(seconds) < 2:
        start = time.perf_counter()
        np.matmul(left, right, out=result)
        seconds.append(time.perf_counter() - start)
    _, _, kernel, threads = _loaded_blas()
    return Trial(kernel, threads, 2 * size**3 / min(seconds) / 1e9)


def _trial_without(variables: tuple[str, ...]) -> Trial | None:
    """A trial in a fresh process whose environment lacks ``variables``; None without any."""
    environment = {name: value for name, value in os.environ.items() if name not in variables}
    # -P keeps this file's folder, whose files may be named like standard modules, off the path.
    command = [sys.executable, "-P", __file__]
    done = _run(command, environment) if variables else None
    try:
        return Trial(**json.loads(done.stdout)) if done else None
    except (ValueError, TypeError):
        return None


def _run(command: list[str], environment: dict[str, str] | None = None) -> Finished | None:
    """A finished process, or None where it cannot start or takes too long."""
    try:
        return subprocess.run(
            command, env=environment, timeout=TIME_LIMIT, capture_output=True, text=True,
            errors="replace", stdin=subprocess.DEVNULL, check=False,
        )  # fmt: skip
    except (OSError, subprocess.SubprocessError):
        return None


def _loaded_blas() -> tuple[str, str, str, int]:
    """Name, version, kernel and threads of NumPy's BLAS; other packages may have loaded more."""
    libraries = [library for library in threadpool_info() if library["user_api"] == "blas"]
    own = [each for each in libraries if re.search(r"[\\/]numpy(\.libs)?[\\/]", each["filepath"])]
    if not libraries:
        built = np.show_config(mode="dicts")["Build Dependencies"]["blas"]
        return built.get("name", "unknown"), built.get("version", ""), "", 0
    found = (own or libraries)[0]
    version, kernel = (found.get(name) or "" for name in ("version", "architecture"))
    return found["internal_api"], version, kernel, found["num_threads"]


def read_processor(
    root: Path = Path("/"), allowed: Container[int] = ()
) -> tuple[str, tuple[str, ...], int]:
    """Name, vector extensions and number of physical cores among the ``allowed`` processors.

    From ``proc/cpuinfo`` under ``root``; where there is none, what Python and NumPy know, and 0.
    """
    name = platform.processor() or platform.machine()
    paragraphs = _read(root / "proc/cpuinfo").split("\n\n")
    blocks = [dict(re.findall(r"(?m)^(.+?)[ \t]*:[ \t]*(.*)$", each)) for each in paragraphs]
    blocks = [block for block in blocks if "processor" in block]
    if not blocks:
        features = np.show_config(mode="dicts").get("SIMD Extensions", {})
        return name, tuple(features.get("found", ())), 0
    flags = set((blocks[0].get("flags") or blocks[0].get("Features") or "").split())
    cores = {
        block["processor"]  # without hardware threads some virtual machines number every core 0
        if block.get("siblings") == block.get("cpu cores")
        else (block.get("physical id"), block.get("core id"))
        for block in blocks
        if int(block["processor"]) in allowed
    }
    extensions = tuple(each for each in VECTOR_EXTENSIONS if each in flags)
    return blocks[0].get("model name") or name, extensions, len(cores)


def _usable_processors() -> tuple[int, int]:
    """Hardware threads and physical cores that this process may keep busy."""
    try:
        allowed = os.sched_getaffinity(0)
    except AttributeError:  # not Linux
        allowed = set(range(os.cpu_count() or 1))
    cores = read_processor(allowed=allowed)[2] or len(allowed)
    quota, _ = read_container_limits()
    return min(len(allowed), quota), min(cores, quota)


def read_container_limits(root: Path = Path("/")) -> tuple[int, int]:
    """Processors (rounded up) and bytes that the control groups, version 1 or 2, allow.

    From ``proc`` and ``sys`` under ``root``; `sys.maxsize` where there is no limit.
    """
    processors, sizes = [sys.maxsize], [sys.maxsize]
    for line in _read(root / "proc/self/cgroup").splitlines():
        _, controllers, path = line.split(":", 2)
        base = root / "sys/fs/cgroup" / controllers  # version 2 names no controllers
        for group in (Path(path), *Path(path).parents):
            folder = base.joinpath(*group.parts[1:])
            quota, period = folder / "cpu.cfs_quota_us", folder / "cpu.cfs_period_us"
            numbers = _numbers(folder / "cpu.max") or _numbers(quota) + _numbers(period)
            if len(numbers) == 2 and min(numbers) > 0:  # microseconds of work in each period
                processors.append(-(-numbers[0] // numbers[1]))
            sizes += _numbers(folder / "memory.max") + _numbers(folder / "memory.limit_in_bytes")
    return min(processors), min(sizes)


def _numbers(path: Path) -> list[int]:
    """The integers in a file; a word such as ``max`` is left out."""
    return [int(number) for number in re.findall(r"-?\d+", _read(path))]


def _read(path: Path) -> str:
    try:
        return path.read_text(errors="replace")
    except OSError:
        return ""


def _memory() -> int:
    """Bytes that this process may use, 0 where unknown."""
    try:
        installed = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, OSError, ValueError):  # Windows has no sysconf
        return 0
    return min(installed, read_container_limits()[1])


def _package(name: str) -> Package:
    """Imported in a fresh process, where a broken package does no harm."""
    if importlib.util.find_spec(name) is None:
        return Package()
    script = "import importlib, sys; print(importlib.import_module(sys.argv[1]).__version__)"
    done = _run([sys.executable, "-P", "-c", script, name])
    if done and done.returncode == 0:
        return Package(done.stdout.strip())
    lines = done.stderr.strip().splitlines() if done else []
    return Package(failure=lines[-1] if lines else "its import does not end well")


def _answer(name: str, *arguments: str) -> str:
    """What a program prints; nothing where there is no such program or where it fails."""
    program = shutil.which(name)
    done = _run([program, *arguments]) if program else None
    return done.stdout + done.stderr if done and done.returncode == 0 else ""


if __name__ == "__main__":  # the fresh process of a trial
    print(json.dumps(asdict(run_trial())))
