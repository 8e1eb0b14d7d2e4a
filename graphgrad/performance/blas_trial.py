"""A matrix product, timed: what the BLAS of NumPy does in this process.

The file imports nothing of the package, because a fresh process runs it as a script.
"""

import json
import re
import time
from dataclasses import asdict, dataclass

import numpy as np
from threadpoolctl import threadpool_info

TRIAL_SECONDS = 0.15


@dataclass(frozen=True)
class Trial:
    """A float32 matrix product, timed: the BLAS's kernel and threads, and the best GFLOP/s."""

    kernel: str
    threads: int
    gflops: float


def run_trial(size: int = 1024) -> Trial:
    """The best rate of ``[size, size]`` float32 products in about `TRIAL_SECONDS`."""
    left, right, result = np.random.default_rng(0).random((3, size, size), dtype=np.float32)
    seconds: list[float] = []
    while sum(seconds) < TRIAL_SECONDS or len(seconds) < 2:
        start = time.perf_counter()
        np.matmul(left, right, out=result)
        seconds.append(time.perf_counter() - start)
    _, _, kernel, threads = loaded_blas()
    return Trial(kernel, threads, 2 * size**3 / min(seconds) / 1e9)


def loaded_blas() -> tuple[str, str, str, int]:
    """Name, version, kernel and threads of NumPy's BLAS; other packages may have loaded more."""
    libraries = [library for library in threadpool_info() if library["user_api"] == "blas"]
    own = [each for each in libraries if re.search(r"[\\/]numpy(\.libs)?[\\/]", each["filepath"])]
    if not libraries:
        built = np.show_config(mode="dicts")["Build Dependencies"]["blas"]
        return built.get("name", "unknown"), built.get("version", ""), "", 0
    found = (own or libraries)[0]
    version, kernel = (found.get(name) or "" for name in ("version", "architecture"))
    return found["internal_api"], version, kernel, found["num_threads"]


if __name__ == "__main__":  # the fresh process of a trial
    print(json.dumps(asdict(run_trial())))
