"""The peers of the bench: which race with which, and that PyTorch's computes the same."""

from __future__ import annotations

import dataclasses
import importlib
from types import ModuleType
from typing import Any

import pytest

from graphgrad.errors import ConfigurationError
from graphgrad.graph import initial_state
from graphgrad.performance.bench_runner import SLACK, TOLERANCES, batches_of
from graphgrad.performance.bench_worker import CHECK, PARAMETER, TIMING, Workload
from graphgrad.tools.bench import SIZES
from graphgrad.tools.bench_peers import PEERS, Race
from graphgrad.tools.peers import graphgrad_peer

MICRO = Workload(16, 24, 2, 2, 40, 5, 6, 3)
GPT = Workload(16, 24, 2, 2, 40, 0, 6, 3, model="gpt", context=9)


@pytest.fixture
def torch_peer() -> ModuleType:
    pytest.importorskip("torch", reason="the peer of these tests is PyTorch (pip: torch)")
    return importlib.import_module("graphgrad.tools.peers.torch_peer")


def losses_of(peer: Any, variant: str, workload: Workload, steps: int = 3) -> list[float]:
    """The losses of the first steps without dropout, as the bench checks them."""
    graph = graphgrad_peer.training_graph(workload, 0.0)
    state = initial_state(graph, workload.seed)
    parameters = {name: state[name] for name in graph.parameters}
    batch = {
        name.removeprefix(CHECK): array
        for name, array in batches_of(workload).items()
        if name.startswith(CHECK)
    }
    step = peer.build(variant, workload, parameters, batch, 0.0)
    return [step() for _ in range(steps)]


@pytest.mark.parametrize(
    ("workload", "precision"), [(MICRO, "bf16"), (MICRO, "fp16"), (GPT, "fp32")]
)
def test_pytorch_computes_the_same(
    workload: Workload, precision: str, torch_peer: ModuleType
) -> None:
    suffix = "" if precision == "fp32" else f"-{precision}"
    own = losses_of(graphgrad_peer, precision, workload)
    theirs = losses_of(torch_peer, f"eager{suffix}", workload)
    for first, second, tolerance in zip(own, theirs, TOLERANCES, strict=True):
        assert first == pytest.approx(second, SLACK[precision] * tolerance)
    if precision != "fp32":
        exact = losses_of(torch_peer, "eager", workload)
        assert theirs != exact and own != pytest.approx(exact, 1e-6)


def test_pytorch_compiles_in_a_precision(
    torch_peer: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    compiled = []
    monkeypatch.setattr(torch_peer.torch, "compile", lambda m: compiled.append(m) or m)
    found = losses_of(torch_peer, "compile-bf16", MICRO, 1)
    assert len(compiled) == 1 and found == losses_of(torch_peer, "eager-bf16", MICRO, 1)
    assert torch_peer.split_variant("cuda:compile-bf16") == ("cuda", "compile", "bf16")


def test_the_peak_of_pytorch_is_a_rate_of_its_precision(
    torch_peer: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = []
    multiply = torch_peer.torch.matmul
    monkeypatch.setitem(torch_peer.PEAK_SIZES, "cpu", 32)
    monkeypatch.setattr(
        torch_peer.torch, "matmul", lambda a, b: seen.append(a.dtype) or multiply(a, b)
    )
    assert torch_peer.peak_gflops("eager-bf16", 0.0) > 0
    assert set(seen) == {torch_peer.torch.bfloat16}


def test_a_gpt_has_as_many_parameters_as_gpt_2() -> None:
    graph = graphgrad_peer.training_graph(SIZES["gpt2-124m"], 0.0)
    assert sum(leaf.type.size for leaf in graph.parameters.values()) == 124_439_808


def test_batches_of_a_gpt() -> None:
    batches = batches_of(GPT)
    for prefix in (CHECK, TIMING):
        ids, following = (batches[prefix + name] for name in ("ids", "following"))
        assert ids.shape == following.shape == (3, 6) and (ids[:, 1:] == following[:, :-1]).all()
        assert (following == 0).any() == (prefix == CHECK)
    assert not [name for name in batches if name.startswith(PARAMETER) or "source" in name]


@pytest.mark.parametrize(
    ("race", "names"),
    [
        (Race(), "torch jax"),
        (Race(precision="bf16"), "torch-bf16 torch-compile-bf16"),
        (Race(precision="tf32"), ""),
        (Race("cupy", "bf16"), "torch-bf16 torch-compile-bf16 jax-bf16"),
        (Race("cupy", "tf32"), "torch-tf32 torch-compile-tf32 jax-tf32"),
        (Race("cupy", "fp16", every_model=False), "torch-fp16 torch-compile-fp16"),
        (Race(every_model=False), "torch"),
    ],
)
def test_who_races_by_default(race: Race, names: str) -> None:
    own, *peers = race.contenders(None, ())
    assert [peer.name for peer in peers] == names.split()
    assert all(peer.precision == race.precision for peer in (own, *peers))
    assert all(peer.variant.startswith("cuda:") == race.on_device for peer in peers)


@pytest.mark.parametrize(
    ("race", "peer", "reason"),
    [
        (Race(), "torch-tf32", "torch-tf32 needs --backend cupy"),
        (Race(precision="bf16"), "jax-bf16", "jax-bf16 needs --backend cupy"),
        (Race(precision="bf16"), "torch-fp16", "multiplies in fp16 and graphgrad in bf16"),
        (Race(every_model=False), "jax", "not a peer with recipes and GPT"),
        (Race("cupy"), "pytensor", "pytensor does not run on a device"),
    ],
)
def test_who_does_not_race(race: Race, peer: str, reason: str) -> None:
    with pytest.raises(ConfigurationError, match=reason) as caught:
        race.contenders(peer, ())
    listed = caught.value.fix.removeprefix("--peers ").removesuffix(" or none")
    assert listed and race.contenders(listed, ())[1:], "the peers of the fix can race"


def test_the_variants_say_how_graphgrad_is_compiled() -> None:
    own = Race("cupy", "bf16").contenders("none", ["fuse"])
    assert [each.variant for each in own] == ["cupy:bf16", "cupy:bf16:fuse"]
    read = graphgrad_peer.Variant.read(own[1].variant)
    assert dataclasses.astuple(read) == ("cupy", "bf16", ("fuse",))
    assert Race(precision="bf16").contenders("torch", ())[1] is PEERS["torch"]
