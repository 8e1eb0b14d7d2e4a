"""The peers of `graphgrad bench`: other libraries, each in the precisions that it has.

A name is that of the library, `-compile` where it compiles the model, and the precision behind a
dash where it is not float32: `torch-compile-bf16`. Which are asked for by default depends on the
precision, the backend and the model.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from pathlib import Path

from graphgrad.errors import ConfigurationError
from graphgrad.options import CHOICES
from graphgrad.performance.bench_runner import Contender
from graphgrad.text import suggestion
from graphgrad.tools.peers import graphgrad_peer


def _file(name: str) -> str:
    return str(Path(graphgrad_peer.__file__).with_name(f"{name}_peer.py"))


def _torch(way: str, precision: str) -> Contender:
    name = "torch" if way == "eager" else f"torch-{way}"
    if precision == "fp32":
        return Contender(name, _file("torch"), way, "torch")
    return Contender(
        f"{name}-{precision}", _file("torch"), f"{way}-{precision}", "torch", precision
    )


def _jax(precision: str) -> Contender:
    name = "jax" if precision == "fp32" else f"jax-{precision}"
    return Contender(name, _file("jax"), precision, "jax", precision)


_ALL = (
    *(_torch(way, "fp32") for way in ("eager", "compile")),
    _jax("fp32"),
    Contender("pytensor", _file("pytensor"), "", "pytensor"),
    *(_torch(way, each) for each in ("bf16", "fp16", "tf32") for way in ("eager", "compile")),
    *map(_jax, ("bf16", "tf32")),
)
PEERS: Mapping[str, Contender] = {peer.name: peer for peer in _ALL}
DEVICE_ONLY = tuple(n for n in PEERS if n.endswith("-tf32") or n == "jax-bf16")
"""On a processor these libraries compute such products in float32."""
ON_DEVICE = tuple(name for name, peer in PEERS.items() if peer.requires in ("torch", "jax"))
ALL_MODELS = tuple(name for name, peer in PEERS.items() if peer.requires == "torch")
"""Those that have GPT and the models of recipes."""
DEFAULTS: Mapping[str, tuple[str, ...]] = {
    "fp32": ("torch", "jax"),
    "bf16": ("torch-bf16", "torch-compile-bf16", "jax-bf16"),
    "fp16": ("torch-fp16", "torch-compile-fp16"),
    "tf32": ("torch-tf32", "torch-compile-tf32", "jax-tf32"),
}
"""Of these the ones that can run where the bench does, and have the model."""


@dataclasses.dataclass(frozen=True)
class Race:
    """What a bench compares: graphgrad's backend and precision, and whether all peers have the
    model."""

    backend: str = "numpy"
    precision: str = "fp32"
    every_model: bool = True

    def contenders(self, peers: str | None, without: Iterable[str]) -> list[Contender]:
        """graphgrad, graphgrad without what is named, and the peers of `--peers`.

        Raises ConfigurationError for a peer that does not exist, that cannot run here, or whose
        time says nothing about graphgrad's.
        """
        names = self._defaults() if peers is None else names_of(peers)
        own = [
            Contender(name, graphgrad_peer.__file__, self._variant(choice), "", self.precision)
            for name, choice in _own_names(without)
        ]
        return [*own, *map(self._peer, names)]

    @property
    def on_device(self) -> bool:
        """Whether the race is on a CUDA device."""
        return self.backend == "cupy"

    def _variant(self, without: str) -> str:
        words = (self.backend, self.precision, without)
        return ":".join(word for word in words if word not in ("", "numpy", "fp32"))

    def _defaults(self) -> list[str]:
        return [name for name in DEFAULTS[self.precision] if self._reason(name) is None]

    def _peer(self, name: str) -> Contender:
        peer = PEERS[known("peer", name, PEERS)]
        if (reason := self._reason(name)) is not None:
            able = [other for other in PEERS if self._reason(other) is None]
            raise ConfigurationError(reason, fix=f"--peers {','.join(able)} or none")
        if not self.on_device:
            return peer
        return dataclasses.replace(peer, variant=f"cuda:{peer.variant}")

    def _reason(self, name: str) -> str | None:
        """Why a peer has no place in this race; None if it has."""
        peer = PEERS[name]
        if self.on_device and name not in ON_DEVICE:
            return f"{name} does not run on a device here"
        if not self.on_device and name in DEVICE_ONLY:
            return f"{name} needs --backend cupy: on a processor its products are float32"
        if not self.every_model and name not in ALL_MODELS:
            return f"{name} is not a peer with recipes and GPT: it has the Transformer of --size"
        if "fp32" not in (peer.precision, self.precision) and peer.precision != self.precision:
            return (
                f"{name} multiplies in {peer.precision} and graphgrad in {self.precision}: "
                "neither time says anything about the other"
            )
        return None


def names_of(text: str) -> list[str]:
    """The names of a list between commas, each once; "none" is not one."""
    names = [name.strip() for name in text.split(",") if name.strip() not in ("", "none")]
    return list(dict.fromkeys(names))


def known(what: str, name: str, names: Iterable[str]) -> str:
    """The name itself. Raises ConfigurationError, with a similar name, if it is unknown."""
    listed = list(dict.fromkeys(names))
    if name in listed:
        return name
    raise ConfigurationError(
        f"there is no {what} called {name!r}", "", suggestion(name, listed, "choose of")
    )


def _own_names(without: Iterable[str]) -> Iterable[tuple[str, str]]:
    yield "graphgrad", ""
    for name in dict.fromkeys(without):
        yield f"graphgrad without {name}", known("choice", name, CHOICES)
