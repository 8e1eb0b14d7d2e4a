"""What stands for the instructions of tensor cores on this processor: it computes plain products,
and each lane has what NVIDIA's layouts say."""

from __future__ import annotations

import numpy as np
import pytest
from cpu_device import Device, LaunchError, needs_compiler, needs_nvrtc
from half_numbers import NAMES

from graphgrad.backends.cupy.kernel_files import device_functions
from graphgrad.backends.cupy.module import compile_cuda

pytestmark = needs_compiler

BODY = """
__global__ void {kind}_product(const {kind}* a, const {kind}* b, float* c, unsigned* words) {{
    __shared__ Pack<{kind}, 8> left[16 * 3], right[16 * 3];
    const int lane = threadIdx.x, g = lane / 4, t = lane % 4;
    for (int n = lane; n < 32; n += 32) {{
        begin_copy<16>(&left[n / 2 * 3 + n % 2], a + 8 * n, true);
        begin_copy<16>(&right[n / 2 * 3 + n % 2], b + 8 * n, n != 31);
    }}
    wait_for_copies();
    __syncthreads();
    unsigned ours[4], straight[4], turned[4];
    const int row = lane % 16, half = lane / 16;
    load_matrices(ours, &left[row * 3 + half]);
    load_matrices(straight, &right[(lane % 8 + lane / 16 * 8) * 3 + lane / 8 % 2]);
    load_turned(turned, &right[row * 3 + half]);
    float sums[4][4] = {{}};
    for (int n = 0; n < 2; ++n) {{
        multiply_add<{kind}>(sums[n], ours, straight[2 * n], straight[2 * n + 1]);
        multiply_add<{kind}>(sums[2 + n], ours, turned[2 * n], turned[2 * n + 1]);
    }}
    for (int n = 0; n < 4; ++n)
        for (int i = 0; i < 4; ++i)
            c[n / 2 * 256 + (g + i / 2 * 8) * 16 + n % 2 * 8 + 2 * t + i % 2] = sums[n][i];
    for (int n = 0; n < 4; ++n) words[lane * 8 + n] = ours[n], words[lane * 8 + 4 + n] = turned[n];
}}
__global__ void {kind}_packed(const float* from, unsigned* to) {{
    to[threadIdx.x] = packed<{kind}>(from[2 * threadIdx.x], from[2 * threadIdx.x + 1]);
}}"""
FAULTY = {
    "apart": """
__global__ void apart(unsigned* to) {
    __shared__ Pack<unsigned short, 8> rows[16];
    unsigned found[4];
    if (threadIdx.x < 16) load_matrices(found, &rows[threadIdx.x]);
}""",
    "odd": """
__global__ void odd(unsigned* to) {
    __shared__ Pack<unsigned short, 8> rows[16];
    unsigned found[4];
    load_matrices(found, &rows[0].at[1]);
}""",
    "split": """
__global__ void split(unsigned* to) {
    __shared__ Pack<unsigned, 4> rows[1];
    begin_copy<8>(&rows[0].at[1], to, true);
}""",
}
KERNELS = {kind: BODY.format(kind=kind) for kind in NAMES}


@pytest.fixture(scope="module")
def device() -> Device:
    names = {f"{kind}_{what}": "" for kind in NAMES for what in ("product", "packed")}
    text = "\n".join(KERNELS.values())
    return Device({**names, "bfloat16_product": text, **FAULTY})


def halves(kind: str, values: np.ndarray) -> np.ndarray:
    return values.astype(np.dtype(kind))


@pytest.mark.parametrize("kind", NAMES)
def test_products_of_fragments_are_plain_products(device, kind):
    generator = np.random.default_rng(2)
    a, b = (halves(kind, generator.normal(size=(16, 16)).astype("float32")) for _ in range(2))
    c, words = np.zeros((2, 16, 16), np.float32), np.zeros((32, 2, 4), np.uint32)
    device.launch(f"{kind}_product", 1, 32, [x.ctypes.data for x in (a, b, c, words)], 3)
    b[15, 8:] = 0  # what is not there was not copied
    left, right = (x.astype(np.float64) for x in (a, b))
    np.testing.assert_allclose(c, [left @ right.T, left @ right], 1e-6, 1e-6)
    bits, turned = a.view(np.uint16).astype(np.uint32), b.view(np.uint16).astype(np.uint32)
    for lane in range(32):
        g, t = divmod(lane, 4)
        for n in range(4):
            row, column = g + n % 2 * 8, 2 * t + n // 2 * 8
            assert words[lane, 0, n] == bits[row, column] | bits[row, column + 1] << 16
            row, column = 2 * t + n % 2 * 8, g + n // 2 * 8
            assert words[lane, 1, n] == turned[row, column] | turned[row + 1, column] << 16


@pytest.mark.parametrize("kind", NAMES)
def test_pairs_are_rounded_as_numpy_rounds(device, kind):
    generator = np.random.default_rng(4)
    given = generator.integers(0, 2**32, 2000, np.uint64).astype(np.uint32).view(np.float32)
    given[:8] = [0, -0.0, np.inf, -np.inf, 65519.0, 65520.0, 2**-25, 2**-24 * 1.5]
    given = np.where(np.isnan(given), np.float32(1), given)
    found = np.zeros(1000, np.uint32)
    device.launch(f"{kind}_packed", 1, 1000, [given.ctypes.data, found.ctypes.data], 1)
    with np.errstate(over="ignore"):
        wanted = halves(kind, given).view(np.uint16)
    np.testing.assert_array_equal(found.view(np.uint16), wanted)


@pytest.mark.parametrize(
    ("kernel", "says"),
    [("apart", "left"), ("odd", "16 bytes"), ("split", "multiple of its bytes")],
)
def test_what_a_device_leaves_undefined_is_said(device, kernel, says):
    with pytest.raises(LaunchError, match=says):
        device.launch(kernel, 1, 32, [np.zeros(64, np.uint32).ctypes.data], 1)


@needs_nvrtc
def test_the_instructions_exist():
    text = "\n".join([device_functions(), *KERNELS.values()])
    assert all(compile_cuda(text, architecture) for architecture in ("sm_80", "sm_90"))
