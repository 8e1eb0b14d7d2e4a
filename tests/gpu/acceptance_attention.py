"""Attention of 16 bits on a device: what kernels on tensor cores compute, and how long they take.

They are used here whatever a trial says of them, so the table has their errors where they are
wrong. An error is a multiple of what roundings explain, by the formulas in float64.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace
from typing import Any

import numpy as np
from acceptance import Row
from acceptance_checks import compiled_for

from graphgrad.backends.cupy.attention_cases import AttentionCase, errors
from graphgrad.backends.cupy.attention_trial import AttentionKernels, Outcome, outcome_on
from graphgrad.backends.cupy.launches import DeviceProgram, Launch
from graphgrad.backends.cupy.module import compile_cuda, module_text
from graphgrad.backends.cupy.observation import action_seconds
from graphgrad.backends.cupy.shared_memory import SharedMemory

BASE = AttentionCase((64, 8), 128, 128, 64, 64, dtype="bfloat16")
LONG = replace(BASE, heads=(2, 8), queries=1024, keys=1024)
CASES = (
    BASE,
    replace(BASE, mask="keys", causal=True, rate=0.1),
    replace(LONG, causal=True),
    AttentionCase((4, 8), 200, 77, 64, 64, mask="all", dtype="float16"),
    AttentionCase((4, 4), 130, 130, 128, 128, causal=True, dtype="bfloat16"),
    AttentionCase((3, 2), 65, 33, 20, 9, mask="keys", rate=0.1, dtype="float16"),
)
SMALL = (CASES[-1],)
SECONDS = 20.0
"""Cases that would begin later are left out, and said to be."""
ROUNDS = 5
KERNELS = {"float* statistics)": "values", "to_value": "to keys", "float* rows": "to queries"}
"""What is in the text of each kernel, and what it computes."""


def attention(device: Any, small: bool = False) -> Iterator[Row]:
    """The trial, unless `small`; each case: errors, bits of two runs, times, and PyTorch's."""
    started = time.monotonic()
    if not device.has_tensor_cores:
        yield Row("attention", "tensor cores", "none that kernels use")
        return
    if not small:
        outcome = outcome_on(device)
        yield Row("attention", "trial", outcome.note or "passed", outcome.passed)
    memory = SharedMemory(device)
    memory.attention = AttentionKernels(device, lambda its: Outcome(True))
    if not small:
        _compile(device, memory)
    for case in SMALL if small else CASES:
        if time.monotonic() - started > SECONDS:
            yield Row("attention", named(case), "left out: the time is over")
            continue
        yield from _rows(device, memory, case, 1 if small else ROUNDS)


def _compile(device: Any, memory: SharedMemory) -> None:
    """Has the kernels of all cases compiled at once, and kept."""

    def compiled(program: DeviceProgram) -> bytes:
        text = module_text(program.kernels)
        return compile_cuda(text, device.architecture, program.names)

    its: list[Any] = [compiled_for(device, case.graph(), memory=memory) for case in CASES]
    with ThreadPoolExecutor() as pool:
        list(pool.map(compiled, [each.program().device_program for each in its]))


def named(case: AttentionCase) -> str:
    """A case in a few words."""
    keys = f"/{case.keys}" if case.keys != case.queries else ""
    sizes = "×".join(map(str, (*case.heads, f"{case.queries}{keys}", case.width)))
    marks = [case.mask, "causal" if case.causal else "", f"drop {case.rate}" if case.rate else ""]
    return " ".join([case.dtype.replace("loat", ""), sizes, *filter(None, marks)])


def _rows(device: Any, memory: SharedMemory, case: AttentionCase, rounds: int) -> Iterator[Row]:
    graph, name = case.graph(), named(case)
    feeds = case.feeds(graph)
    compiled = compiled_for(device, graph, memory=memory)
    one, two = ({n: np.array(v) for n, v in compiled({}, feeds).items()} for _ in range(2))
    odd = [each for each in one if one[each].tobytes() != two[each].tobytes()]
    found = dict(errors(case, one, feeds))
    text = ", ".join(f"{each} {error:.2f}" for each, error in found.items())
    good = all(error <= 1 for error in found.values())
    yield Row("attention", name, f"errors {text}", good)
    if odd:
        yield Row("attention", name, f"two runs differ in {', '.join(odd)}", False)
    program: Any = compiled.program()
    seconds, _ = action_seconds(program, {}, feeds, rounds)
    lowered, parts = program.device_program, []
    for action, its in zip(lowered.actions, seconds, strict=True):
        text = lowered.kernels[action.kernel] if isinstance(action, Launch) else ""
        kinds = [kind for part, kind in KERNELS.items() if part in text]
        parts.append(f"{kinds[0] if kinds else 'copy'} {1e6 * its:.1f}")
    yield Row("attention", name, f"µs: {', '.join(parts)}")
    with suppress(ImportError):
        yield Row("attention", f"{name} PyTorch", _peer(case, feeds))


def _peer(case: AttentionCase, feeds: dict[str, Any]) -> str:
    """The microseconds of PyTorch's attention, forward alone and with its deltas."""
    import torch

    if not torch.cuda.is_available():
        return "has no device"
    dtype = getattr(torch, case.dtype)
    q, k, v, sent = (
        torch.from_numpy(feeds[name].astype(np.float32)).to("cuda", dtype)
        for name in ("q", "k", "v", "sent")
    )
    mask = None
    if case.mask:
        seen = np.broadcast_to(feeds["mask"], (*q.shape[:-1], case.keys))
        seen = seen & np.tri(case.queries, case.keys, dtype=bool) if case.causal else seen
        mask = torch.from_numpy(np.array(seen)).cuda()
    leaves = [x.requires_grad_() for x in (q, k, v)]

    def forward() -> Any:
        causal = case.causal and mask is None
        return torch.nn.functional.scaled_dot_product_attention(
            q, k, v, mask, dropout_p=case.rate, is_causal=causal
        )

    def both() -> None:
        torch.autograd.grad(forward(), leaves, sent)

    with torch.no_grad():
        alone = _microseconds(torch, forward)
    return f"µs: forward {alone:.1f}, with deltas {_microseconds(torch, both):.1f}"


def _microseconds(torch: Any, call: Any) -> float:
    begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    call()
    begin.record()
    for _ in range(ROUNDS):
        call()
    end.record()
    torch.cuda.synchronize()
    return 1000 * float(begin.elapsed_time(end)) / ROUNDS
