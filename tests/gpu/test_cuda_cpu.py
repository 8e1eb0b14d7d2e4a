"""The header that runs CUDA C on this processor: what it computes, and that it finds faults."""

from __future__ import annotations

import subprocess
from pathlib import Path

import numpy as np
import pytest
from cpu_device import Device, LaunchError, compiled, needs_compiler, source_of
from sanitised import FLAGS

from graphgrad.backends.cupy import kernel_files
from graphgrad.backends.cupy.kernel_files import device_functions

pytestmark = needs_compiler

KERNELS = {
    "reversed": """
__global__ void reversed(const float* from, float* to) {
    __shared__ float all[64];
    all[threadIdx.x] = from[blockIdx.x * 64 + threadIdx.x];
    __syncthreads();
    to[blockIdx.x * 64 + threadIdx.x] = all[63 - threadIdx.x];
}""",
    "unguarded": """
__global__ void unguarded(const float* from, float* to) {
    __shared__ float all[64];
    all[threadIdx.x] = from[threadIdx.x];
    to[threadIdx.x] = all[63 - threadIdx.x];
}""",
    "places": """
__global__ void places(int* to, const long long more) {
    const int at = blockIdx.x * blockDim.x + threadIdx.x;
    to[at] = at + gridDim.x * 1000 + int(more);
}""",
    "neighbours": """
__global__ void neighbours(int* to) {
    const unsigned lane = threadIdx.x % 32;
    const int up = __shfl_down_sync(0xffffffffu, int(threadIdx.x), lane < 31 ? 1 : 0);
    const int first = __shfl_sync(0xffffffffu, int(threadIdx.x), 0);
    to[threadIdx.x] = up * 100 + first;
}""",
    "half_a_barrier": """
__global__ void half_a_barrier(int* to) {
    if (threadIdx.x < 32) __syncthreads();
    else to[threadIdx.x] = __shfl_xor_sync(0xffffffffu, 1, threadIdx.x == 63 ? 0 : 1);
    if (threadIdx.x >= 32) __syncthreads();
}""",
    "waits_for_ever": """
__global__ void waits_for_ever(int* to) {
    if (threadIdx.x % 32 < 16) to[threadIdx.x] = __shfl_xor_sync(0xffffffffu, 1, 1);
    else __syncthreads();
}""",
    "without_itself": """
__global__ void without_itself(int* to) {
    to[threadIdx.x] = __shfl_xor_sync(0x0000ffffu, int(threadIdx.x), 1);
}""",
    "of_another": """
__global__ void of_another(int* to) {
    const unsigned mask = threadIdx.x < 16 ? 0x0000ffffu : 0xffff0000u;
    to[threadIdx.x] = __shfl_xor_sync(mask, int(threadIdx.x), 16);
}""",
    "left": """
__global__ void left(int* to) {
    if (threadIdx.x >= 16) return;
    to[threadIdx.x] = __shfl_xor_sync(0xffffffffu, int(threadIdx.x), 1);
}""",
}


@pytest.fixture(scope="module", params=["", "-DCUDA_CPU_PORTABLE"], ids=["switch", "ucontext"])
def device(request):
    """By our own switch of stacks where there is one, and by the C library's."""
    return Device(KERNELS, *filter(None, [request.param]))


def launched(device: Device, kernel: str, grid: int, block: int, *words: object) -> None:
    addresses = [word.ctypes.data if isinstance(word, np.ndarray) else word for word in words]
    device.launch(kernel, grid, block, addresses, seed=1)


def test_threads_of_blocks_meet_at_barriers(device):
    given, found = np.arange(128, dtype="f4"), np.zeros(128, "f4")
    launched(device, "reversed", 2, 64, given, found)
    np.testing.assert_array_equal(found, [*range(63, -1, -1), *range(127, 63, -1)])


def test_a_missing_barrier_shows_as_what_shared_memory_is_filled_with(device):
    given, found = np.arange(64, dtype="f4"), np.zeros(64, "f4")
    launched(device, "unguarded", 1, 64, given, found)
    assert 0 < np.isnan(found).sum() < 64


def test_threads_know_their_places_and_words(device):
    found = np.zeros(96, "i4")
    launched(device, "places", 3, 32, found, 7)
    np.testing.assert_array_equal(found, np.arange(96) + 3007)


def test_lanes_read_each_other(device):
    found = np.zeros(64, "i4")
    launched(device, "neighbours", 1, 64, found)
    lanes = np.arange(64)
    np.testing.assert_array_equal(found, np.minimum(lanes + 1, lanes | 31) * 100 + lanes // 32 * 32)


FAULTS = {
    "half_a_barrier": (64, "different barriers"),
    "waits_for_ever": (32, "waits for others, which never come"),
    "without_itself": (32, "does not name its own lane"),
    "of_another": (32, "a lane that its mask does not name"),
    "left": (32, "a lane that has left"),
    "neighbours": (16, "a lane that has left"),
    "no_such": (32, "no kernel no_such"),
    "places": (2000, "of 2000 threads"),
}


@pytest.mark.parametrize("kernel", FAULTS)
def test_what_a_device_leaves_open_is_an_error(device, kernel):
    block, message = FAULTS[kernel]
    found = np.zeros(2048, "i4")
    with pytest.raises(LaunchError, match=message):
        launched(device, kernel, 1, block, found, 0)
    launched(device, "neighbours", 1, 32, found)  # and the next launch is as good as ever


COMBINES = """
extern "C" __global__ void combines(const double* from, double* first, double* second) {
    __shared__ long long shared[8];
    const double x = from[threadIdx.x];
    first[threadIdx.x] = over_group<256>(x, Plus(), shared);
    second[threadIdx.x] = over_group<256>(x, Larger(), shared);
}
extern "C" __global__ void in_groups(const double* from, double* to) {
    if (threadIdx.x / 8 % 3 == 2) return;
    to[threadIdx.x] = over_group<8>(from[threadIdx.x], Plus(), nullptr);
}"""
BARRIER, WRITTEN = "__syncthreads();", "of_warp[threadIdx.x / 32] = value;\n"
LANES = "(1u << (THREADS % 32)) - 1u"
DAMAGE = {
    "as it is": ("", ""),
    "no barrier before": (f"{BARRIER}  // what was combined before has been read", ""),
    "no barrier behind": (f"{WRITTEN}        {BARRIER}", WRITTEN),
    "the mask of a warp": (LANES, "0xffffffffu"),
    "a mask of fewer lanes": (LANES, f"({LANES}) / 2u"),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_fault_in_the_reduction_is_found(monkeypatch, damage):
    """Whatever is taken away from `over_group` changes a result in some order, or ends a launch."""
    old, new = DAMAGE[damage]
    text = device_functions()
    assert old in text
    monkeypatch.setattr("cpu_device.device_functions", lambda: text.replace(old, new))
    device = Device({"combines": COMBINES, "in_groups": ""})
    given = np.random.default_rng(0).integers(0, 1000, 256).astype("f8")
    groups = given.reshape(-1, 8).sum(1).repeat(8)
    there = np.arange(256) // 8 % 3 != 2
    right = 0
    for seed in range(20):
        first, second, third = np.zeros((3, 256))
        addresses = [its.ctypes.data for its in (given, first, second, third)]
        try:
            device.launch("combines", 1, 256, addresses[:3], seed)
            device.launch("in_groups", 1, 256, [addresses[0], addresses[3]], seed)
        except LaunchError:
            continue
        same = (first == given.sum()).all() and (second == given.max()).all()
        right += bool(same and (third == np.where(there, groups, 0)).all())
    assert right == 20 if damage == "as it is" else right < 20


OUTSIDE = """
extern "C" __global__ void writes(float* to, const long long at) { to[at] = 1.0f; }
extern "C" __global__ void writes_shared(float* to, const long long at) {
    __shared__ float all[8];
    float* its = all;
    its[at] = 2.0f;
    to[0] = all[0];
}
extern "C" __global__ void reads_four(float* to, const long long at) {
    to[0] = load<4>(to + at).at[3];
}
LAUNCHABLE(writes)
LAUNCHABLE(writes_shared)
LAUNCHABLE(reads_four)
int main(int, char** given) {
    float* four = static_cast<float*>(std::malloc(16));
    std::memset(four, 0, 16);
    const long long words[] = {(long long)four, std::atoll(given[2]), 0};
    const char* error = cuda_cpu_launch(given[1], 1, 1, words, 1);
    std::printf("done%s", error);
    std::free(four);
}
"""
PLANTED = {
    **{("writes", at): message for at, message in ((0, "done"), (3, "done"), (4, "heap-buffer"))},
    ("writes", -1): "heap-buffer-overflow",
    ("writes_shared", 7): "done",
    ("writes_shared", 8): "global-buffer-overflow",
    ("reads_four", 0): "done",
    ("reads_four", 1): "misaligned address",
}


@pytest.fixture(scope="module")
def outside():
    return compiled(source_of({"": OUTSIDE}).replace("LAUNCHABLE()", ""), *FLAGS, shared=False)


@pytest.mark.parametrize(("kernel", "at"), PLANTED)
def test_sanitisers_see_what_leaves_its_memory(outside, kernel, at):
    done = subprocess.run([outside, kernel, str(at)], capture_output=True, text=True)
    assert PLANTED[kernel, at] in done.stdout + done.stderr
    assert (done.returncode == 0) == (PLANTED[kernel, at] == "done")


def test_the_sources_of_kernels_are_ascii_and_short():
    """NVRTC reads them, whatever the locale."""
    folder = Path(kernel_files.__file__).parent
    sources = [*folder.glob("*.cuh"), *folder.glob("kernels/*.cu")]
    assert len(sources) > 10
    for source in sources:
        text = source.read_text(encoding="utf-8")
        assert text.isascii() and max(map(len, text.splitlines())) <= 100, source


def test_seeds_give_different_orders(device):
    """An unguarded exchange is right for some threads, and with another seed for others."""
    given, patterns = np.arange(64, dtype="f4"), set()
    for seed in range(8):
        found = np.zeros(64, "f4")
        device.launch("unguarded", 1, 64, [given.ctypes.data, found.ctypes.data], seed)
        patterns.add(tuple(np.isnan(found)))
    assert len(patterns) > 3
