"""Reads and writes weights of GPT-2 and BERT in the layout of Hugging Face's `transformers`.

A folder holds `config.json` and `model.safetensors`. `read_weights` returns the settings, the size
of the vocabulary and the state of the model that computes the same logits; `write_weights` writes a
folder that `from_pretrained` loads. The files of the tokenizer are not read.

    weights = read_weights("gpt2")
    graph = gpt.training_graph(weights.settings, weights.vocabulary)
    gg.compile(graph, fetch=["decoder.logits"])(weights.state, ids=…, following=…)

Every array is an `Entry` of a table: its name in graphgrad, its name in the file, and whether the
file stores it transposed, or as one third of another array.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from graphgrad.errors import CheckpointError, ConfigurationError
from graphgrad.files import disk_errors, read_file, write_atomically
from graphgrad.graph import Graph
from graphgrad.models import bert, gpt
from graphgrad.strict_json import format_json, parse_json
from graphgrad.text import suggestion
from graphgrad.training.checkpoint_format import checked_array, safetensors_pieces
from graphgrad.training.state_file import load

CONFIGURATION, WEIGHTS = "config.json", "model.safetensors"
Settings = gpt.Settings | bert.Settings
_LIMIT = 1 << 20  # bytes of a configuration


@dataclass(frozen=True)
class Weights:
    """The weights of a model: of gpt or of bert, by the class of its settings."""

    settings: Settings
    vocabulary: int
    state: dict[str, np.ndarray]


@dataclass(frozen=True)
class Entry:
    """The array `ours` is stored as `theirs`, `transposed`, or in one `third` of its columns."""

    ours: str
    theirs: str
    transposed: bool = False
    third: int | None = None


@dataclass(frozen=True)
class Layout:
    """One architecture: its name, the prefix of its arrays, its table, and its configuration."""

    model_type: str
    architecture: str
    prefix: str
    entries: Callable[[Any], Iterator[Entry]]
    settings: Callable[[Mapping[str, Any]], Settings]
    configuration: Callable[[Any], dict[str, Any]]
    graph: Callable[[Any, int], Graph]
    skipped: tuple[str, ...]
    """Ends of the names of arrays that a file may have and that are not read."""


# ---------------------------------------------------------------- GPT-2

ACTIVATIONS = {"gelu_new": "gelu_tanh", "gelu": "gelu", "relu": "relu", "silu": "silu"}
"""Activations: the name in a configuration, and the one of graphgrad."""


def _gpt_entries(settings: gpt.Settings) -> Iterator[Entry]:
    yield Entry("decoder.embedding", "transformer.wte.weight")
    yield Entry("decoder.positions", "transformer.wpe.weight")
    for number in range(settings.layers):
        ours, theirs = f"decoder.{number}", f"transformer.h.{number}"
        yield from _norm(f"{ours}.attention_norm", f"{theirs}.ln_1")
        for third, part in enumerate(("query", "key", "value")):
            for end, name in (("w", "weight"), ("b", "bias")):
                place = f"{theirs}.attn.c_attn.{name}"
                yield Entry(f"{ours}.attention.{part}.{end}", place, third=third)
        yield from _product(f"{ours}.attention.output", f"{theirs}.attn.c_proj", False)
        yield from _norm(f"{ours}.feed_forward_norm", f"{theirs}.ln_2")
        yield from _product(f"{ours}.feed_forward.inner", f"{theirs}.mlp.c_fc", False)
        yield from _product(f"{ours}.feed_forward.outer", f"{theirs}.mlp.c_proj", False)
    yield from _norm("decoder.final_norm", "transformer.ln_f")
    if not settings.tie:
        yield Entry("decoder.output.w", "lm_head.weight")


def _norm(ours: str, theirs: str) -> Iterator[Entry]:
    yield Entry(f"{ours}.gain", f"{theirs}.weight")
    yield Entry(f"{ours}.bias", f"{theirs}.bias")


def _product(ours: str, theirs: str, transposed: bool = True) -> Iterator[Entry]:
    yield Entry(f"{ours}.w", f"{theirs}.weight", transposed)
    yield Entry(f"{ours}.b", f"{theirs}.bias")


def _gpt_settings(config: Mapping[str, Any]) -> gpt.Settings:
    _need(config, "layer_norm_epsilon", 1e-5)
    _need(config, "scale_attn_weights", True)
    _need(config, "scale_attn_by_inverse_layer_idx", False)
    return gpt.Settings(
        layers=config["n_layer"],
        width=config["n_embd"],
        heads=config["n_head"],
        inner=config.get("n_inner") or 4 * config["n_embd"],
        context=config["n_positions"],
        activation=_activation(config.get("activation_function", "gelu_new")),
        tie=config.get("tie_word_embeddings", True),
    )


def _gpt_configuration(settings: gpt.Settings) -> dict[str, Any]:
    wanted = {"norm": "layer", "positions": "learned", "bias": True, "groups": settings.heads}
    for name, value in wanted.items():
        if getattr(settings, name) != value:
            shown = "key_heads" if name == "groups" else name
            raise ConfigurationError(
                f"GPT-2's layout has no place for {shown}={getattr(settings, name)}",
                fix="only a gpt with GPT-2's layers can be written in it",
            )
    return {
        "activation_function": _activation_of(settings.activation),
        "layer_norm_epsilon": 1e-5,
        "n_ctx": settings.context,
        "n_embd": settings.width,
        "n_head": settings.heads,
        "n_inner": settings.units,
        "n_layer": settings.layers,
        "n_positions": settings.context,
        "tie_word_embeddings": settings.tie,
    }


# ---------------------------------------------------------------- BERT


def _bert_entries(settings: bert.Settings) -> Iterator[Entry]:
    table = "bert.embeddings.{}_embeddings.weight"
    yield Entry("encoder.embedding", table.format("word"))
    yield Entry("encoder.segments", table.format("token_type"))
    yield Entry("encoder.positions", table.format("position"))
    yield from _norm("encoder.norm", "bert.embeddings.LayerNorm")
    for number in range(settings.layers):
        ours, theirs = f"encoder.{number}", f"bert.encoder.layer.{number}"
        for part in ("query", "key", "value"):
            yield from _product(f"{ours}.attention.{part}", f"{theirs}.attention.self.{part}")
        yield from _product(f"{ours}.attention.output", f"{theirs}.attention.output.dense")
        yield from _norm(f"{ours}.attention_norm", f"{theirs}.attention.output.LayerNorm")
        yield from _product(f"{ours}.feed_forward.inner", f"{theirs}.intermediate.dense")
        yield from _product(f"{ours}.feed_forward.outer", f"{theirs}.output.dense")
        yield from _norm(f"{ours}.feed_forward_norm", f"{theirs}.output.LayerNorm")
    yield from _product("output.dense", "cls.predictions.transform.dense")
    yield from _norm("output.norm", "cls.predictions.transform.LayerNorm")
    yield Entry("output.b", "cls.predictions.bias")


def _bert_settings(config: Mapping[str, Any]) -> bert.Settings:
    _need(config, "layer_norm_eps", bert.EPSILON)
    _need(config, "type_vocab_size", bert.SEGMENTS)
    _need(config, "tie_word_embeddings", True)
    _need(config, "position_embedding_type", "absolute")
    return bert.Settings(
        layers=config["num_hidden_layers"],
        width=config["hidden_size"],
        heads=config["num_attention_heads"],
        inner=config["intermediate_size"],
        context=config["max_position_embeddings"],
        activation=_activation(config.get("hidden_act", "gelu")),
    )


def _bert_configuration(settings: bert.Settings) -> dict[str, Any]:
    return {
        "hidden_act": _activation_of(settings.activation),
        "hidden_size": settings.width,
        "intermediate_size": settings.inner,
        "layer_norm_eps": bert.EPSILON,
        "max_position_embeddings": settings.context,
        "num_attention_heads": settings.heads,
        "num_hidden_layers": settings.layers,
        "pad_token_id": bert.PAD,
        "tie_word_embeddings": True,
        "type_vocab_size": bert.SEGMENTS,
    }


LAYOUTS: Mapping[str, Layout] = {
    layout.model_type: layout
    for layout in (
        Layout(
            "gpt2",
            "GPT2LMHeadModel",
            "transformer.",
            _gpt_entries,
            _gpt_settings,
            _gpt_configuration,
            partial(gpt.training_graph, training=False),
            (".attn.bias", ".attn.masked_bias", "lm_head.weight"),
        ),
        Layout(
            "bert",
            "BertForMaskedLM",
            "bert.",
            _bert_entries,
            _bert_settings,
            _bert_configuration,
            bert.filling_graph,
            (
                "position_ids",
                "pooler.dense.weight",
                "pooler.dense.bias",
                "cls.seq_relationship.weight",
                "cls.seq_relationship.bias",
                "cls.predictions.decoder.weight",
                "cls.predictions.decoder.bias",
            ),
        ),
    )
}
"""By the `model_type` of their configuration."""


def _need(config: Mapping[str, Any], key: str, value: object) -> None:
    """ConfigurationError for what the model here has not."""
    if config.get(key, value) != value:
        raise ConfigurationError(
            f"the weights are of a model with {key} = {config[key]!r}",
            CONFIGURATION,
            f"only {value!r} is computed here",
        )


def _activation(theirs: str) -> str:
    if theirs not in ACTIVATIONS:
        raise ConfigurationError(
            f"the activation {theirs!r} is not known here",
            CONFIGURATION,
            suggestion(theirs, ACTIVATIONS, "known are"),
        )
    return ACTIVATIONS[theirs]


def _activation_of(ours: str) -> str:
    for theirs, name in ACTIVATIONS.items():
        if name == ours:
            return theirs
    raise ConfigurationError(
        f"the layout has no place for activation={ours}",
        fix=f"only {', '.join(ACTIVATIONS.values())} can be written in it",
    )


# ---------------------------------------------------------------- in


def read_weights(folder: str | Path) -> Weights:
    """The model in a folder of this layout.

    Raises ConfigurationError for a model that is none of `LAYOUTS`, CheckpointError where an array
    is missing, unknown or of another shape.
    """
    config = _configuration(Path(folder) / CONFIGURATION)
    layout = _layout(config, str(Path(folder) / CONFIGURATION))
    try:
        settings, vocabulary = layout.settings(config), int(config["vocab_size"])
    except KeyError as missing:
        raise ConfigurationError(
            f"the configuration has no {missing}", str(Path(folder) / CONFIGURATION), "restore it"
        ) from None
    where = Path(folder) / WEIGHTS
    arrays = {_modern(name, layout): array for name, array in load(where).items()}
    shapes = {name: leaf.shape for name, leaf in layout.graph(settings, vocabulary).states.items()}
    state, used = {}, set()
    for entry in layout.entries(settings):
        state[entry.ours] = _taken(arrays, entry, shapes[entry.ours], str(where))
        used.add(entry.theirs)
    unknown = [n for n in arrays if n not in used and not n.endswith(layout.skipped)]
    if unknown:
        raise CheckpointError(
            f"the file has arrays that no {layout.architecture} has: {', '.join(unknown[:5])}",
            str(where),
            "give the weights of the model that config.json describes",
        )
    return Weights(settings, vocabulary, state)


def _configuration(path: Path) -> Mapping[str, Any]:
    with disk_errors(path, "read"):
        if not path.is_file():
            raise CheckpointError(
                "there is no such file", str(path), "name the folder that save_pretrained wrote"
            )
        text = read_file(path, _LIMIT)
    try:
        config = parse_json(text)
    except ValueError as error:
        raise ConfigurationError(f"the configuration is not JSON: {error}", str(path)) from None
    if not isinstance(config, dict):
        raise ConfigurationError("the configuration is not a JSON object", str(path), "restore it")
    return config


def _layout(config: Mapping[str, Any], where: str) -> Layout:
    kind = str(config.get("model_type"))
    if kind not in LAYOUTS:
        raise ConfigurationError(
            f"a model of type {kind!r} cannot be read",
            where,
            suggestion(kind, LAYOUTS, "types"),
        )
    return LAYOUTS[kind]


def _modern(name: str, layout: Layout) -> str:
    """The name as files have it today: with the prefix of the model, and without gamma and beta."""
    name = name.replace(".gamma", ".weight").replace(".beta", ".bias")
    own = name.startswith((layout.prefix, "cls.", "lm_head."))
    return name if own else layout.prefix + name


def _taken(
    arrays: Mapping[str, np.ndarray], entry: Entry, shape: tuple[Any, ...], where: str
) -> np.ndarray:
    """The array of an entry as it is here, in float32."""
    if entry.theirs not in arrays:
        raise CheckpointError(
            f"the file has no array {entry.theirs!r}",
            where,
            suggestion(entry.theirs, arrays, "it holds"),
        )
    array = arrays[entry.theirs]
    if entry.third is not None and array.shape[-1] % 3 == 0:
        array = np.split(array, 3, axis=-1)[entry.third]
    array = array.T if entry.transposed else array
    if array.shape != shape:
        raise CheckpointError(
            f"{entry.theirs!r} gives {list(array.shape)}, and {list(shape)} is needed",
            where,
            "config.json and model.safetensors are not of one model",
        )
    return np.ascontiguousarray(array, np.float32)


# ---------------------------------------------------------------- out


def write_weights(
    folder: str | Path, settings: Settings, vocabulary: int, state: Mapping[str, np.ndarray]
) -> None:
    """Writes the parameters of a state into a folder, which is made where there is none.

    Raises ConfigurationError for settings that the layout has no place for, before anything is
    written.
    """
    layout = LAYOUTS["gpt2" if isinstance(settings, gpt.Settings) else "bert"]
    config = {
        "architectures": [layout.architecture],
        "model_type": layout.model_type,
        "vocab_size": vocabulary,
        **layout.configuration(settings),
    }
    arrays: dict[str, np.ndarray] = {}
    for entry in layout.entries(settings):
        array = np.asarray(state[entry.ours], np.float32)
        if entry.third:
            array = np.concatenate([arrays[entry.theirs], array], axis=-1)
        arrays[entry.theirs] = np.ascontiguousarray(array.T if entry.transposed else array)
    kept = {name: checked_array(name, array) for name, array in arrays.items()}
    folder = Path(folder)
    with disk_errors(folder, "write"):
        folder.mkdir(parents=True, exist_ok=True)
    write_atomically(folder / WEIGHTS, [*safetensors_pieces(kept, {"format": "pt"})])
    text = format_json(config, CONFIGURATION) + "\n"
    write_atomically(folder / CONFIGURATION, [text.encode()])
