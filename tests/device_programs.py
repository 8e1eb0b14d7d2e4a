"""Programs of the device that tests run: from a graph by the passes of the compiler, every region a
kernel, however small."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from cpu_device import Device

from graphgrad import Graph
from graphgrad.backends.cupy.backend import lower
from graphgrad.backends.cupy.launches import DeviceProgram
from graphgrad.backends.cupy.product_groups import join_products
from graphgrad.fusion import fuse
from graphgrad.options import Options
from graphgrad.passes import PASSES, SPECIALISED_PASSES, optimise, specialise
from graphgrad.plan import Plan, make_plan
from graphgrad.schedule import make_schedule


def device_plan(
    graph: Graph,
    guards: Sequence[str] = (),
    epilogues: bool = True,
    precision: str = "fp32",
    **sizes: int,
) -> Plan:
    """The plan of a graph for a device; unless `epilogues`, products are nothing else."""
    first, _ = optimise(graph, PASSES)
    options = Options(fuse=True, smallest_kernel=1, backend="cupy", precision=precision)
    before, after = options.passes_of_a_program(SPECIALISED_PASSES)
    second, _ = optimise(specialise(first, sizes), (*before, *after))
    schedule = make_schedule(second, [second.outputs[name] for name in guards])
    groups = fuse(schedule, options)
    return make_plan(schedule, join_products(schedule, groups) if epilogues else groups)


def device_program(
    graph: Graph,
    guards: Sequence[str] = (),
    joined: bool = True,
    epilogues: bool = True,
    precision: str = "fp32",
    tensor_cores: bool = True,
    **sizes: int,
) -> DeviceProgram:
    """The program of a graph for a device."""
    plan = device_plan(graph, guards, epilogues, precision, **sizes)
    return lower(plan, joined, on_tensor_cores=lambda: tensor_cores)


def device_of(programs: Iterable[DeviceProgram], *flags: str) -> Device:
    """One library of the kernels of all programs."""
    kernels: dict[str, str] = {}
    for program in programs:
        kernels.update(program.kernels)
    return Device(kernels, *flags)
