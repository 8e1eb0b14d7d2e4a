"""Weights in Hugging Face's layout, against randomly initialised models of `transformers`."""

import json

import numpy as np
import pytest

from graphgrad.compile import compile
from graphgrad.errors import CheckpointError, ConfigurationError
from graphgrad.graph import initial_state
from graphgrad.models import bert, gpt
from graphgrad.models.huggingface import CONFIGURATION, WEIGHTS, read_weights, write_weights
from graphgrad.training.state_file import load, save

VOCABULARY, CONTEXT = 19, 12
SETTINGS = {
    "gpt2": gpt.Settings(layers=2, width=12, heads=3, inner=20, context=CONTEXT),
    "bert": bert.Settings(layers=2, width=12, heads=3, inner=20, context=CONTEXT),
}


def graph_of(settings):
    if isinstance(settings, gpt.Settings):
        return gpt.training_graph(settings, VOCABULARY, training=False)
    return bert.training_graph(settings, VOCABULARY, training=False)


def random_state(settings, seed=0):
    """Gains off 1 and biases off 0, so that none can be left out unnoticed."""
    generator, state = np.random.default_rng(seed), initial_state(graph_of(settings), seed)
    for array in state.values():
        array += generator.normal(scale=0.3, size=array.shape).astype(np.float32)
    return state


def batch():
    generator = np.random.default_rng(1)
    ids = generator.integers(1, VOCABULARY, (3, CONTEXT), np.int32)
    return ids, (np.arange(CONTEXT) > generator.integers(2, 9, (3, 1))).astype(np.int32)


def our_logits(weights):
    """Logits [batch, position, vocabulary] of the model that was read."""
    ids, segments = batch()
    graph = graph_of(weights.settings)
    if isinstance(weights.settings, gpt.Settings):
        return compile(graph, ["decoder.logits"])(weights.state, ids=ids, following=ids)[
            "decoder.logits"
        ]
    places = np.tile(np.arange(CONTEXT, dtype=np.int32), (3, 1))
    run = compile(graph, ["output.logits"])
    feeds = {"ids": ids, "segments": segments, "places": places, "targets": ids}
    return run(weights.state, **feeds)["output.logits"]


def their_logits(model):
    import torch

    ids, segments = (torch.tensor(part.astype(np.int64)) for part in batch())
    further = {"token_type_ids": segments} if model.config.model_type == "bert" else {}
    with torch.no_grad():
        return model.eval()(input_ids=ids, **further).logits.numpy()


@pytest.fixture(scope="module")
def transformers():
    pytest.importorskip("torch", reason="the oracle of these tests needs PyTorch (pip: torch)")
    module = pytest.importorskip(
        "transformers", reason="the oracle of these tests is Hugging Face's (pip: transformers)"
    )
    module.logging.set_verbosity_error()
    module.logging.disable_progress_bar()
    return module


def their_model(transformers, kind):
    """A small model whose every array is random."""
    common = {"vocab_size": VOCABULARY, "bos_token_id": 1, "eos_token_id": 2}
    config = {
        "gpt2": lambda: transformers.GPT2Config(
            n_positions=CONTEXT, n_embd=12, n_layer=2, n_head=3, n_inner=20, **common
        ),
        "bert": lambda: transformers.BertConfig(
            max_position_embeddings=CONTEXT,
            hidden_size=12,
            num_hidden_layers=2,
            num_attention_heads=3,
            intermediate_size=20,
            **common,
        ),
    }[kind]()
    name = {"gpt2": "GPT2LMHeadModel", "bert": "BertForMaskedLM"}[kind]
    model = getattr(transformers, name)(config)
    generator = np.random.default_rng(2)
    for parameter in model.parameters():
        noise = generator.normal(scale=0.3, size=tuple(parameter.shape)).astype(np.float32)
        parameter.data += type(parameter.data)(noise)
    return model


@pytest.mark.parametrize("kind", SETTINGS)
def test_weights_that_are_read_give_the_same_logits(transformers, kind, tmp_path):
    model = their_model(transformers, kind)
    model.save_pretrained(tmp_path)
    found, expected = our_logits(read_weights(tmp_path)), their_logits(model)
    assert np.ptp(expected) > 1
    np.testing.assert_allclose(found, expected, rtol=2e-5, atol=2e-5)


@pytest.mark.parametrize("kind", SETTINGS)
def test_weights_that_are_written_give_the_same_logits_there(transformers, kind, tmp_path):
    settings = SETTINGS[kind]
    write_weights(tmp_path, settings, VOCABULARY, random_state(settings))
    name = {"gpt2": "GPT2LMHeadModel", "bert": "BertForMaskedLM"}[kind]
    model, told = getattr(transformers, name).from_pretrained(tmp_path, output_loading_info=True)
    assert not told["missing_keys"] and not told["unexpected_keys"]
    expected = our_logits(read_weights(tmp_path))
    np.testing.assert_allclose(their_logits(model), expected, rtol=2e-5, atol=2e-5)


# ---------------------------------------------------------------- without the oracle


@pytest.mark.parametrize("kind", SETTINGS)
def test_what_is_written_is_read_back(kind, tmp_path):
    settings, state = SETTINGS[kind], random_state(SETTINGS[kind])
    write_weights(tmp_path / "new", settings, VOCABULARY, state)
    weights = read_weights(tmp_path / "new")
    assert weights.vocabulary == VOCABULARY and weights.settings == settings
    assert weights.state.keys() == state.keys()
    for name, array in state.items():
        np.testing.assert_array_equal(weights.state[name], array, err_msg=name)


@pytest.fixture
def written(tmp_path):
    write_weights(tmp_path, SETTINGS["gpt2"], VOCABULARY, random_state(SETTINGS["gpt2"]))
    return tmp_path


def rewritten(folder, change):
    """The arrays of a folder, changed."""
    save(folder / WEIGHTS, change(load(folder / WEIGHTS)))


def test_files_of_older_programs_are_read(written):
    """Without the prefix, with the names of before, and with the buffers of masks."""
    expected = our_logits(read_weights(written))

    def older(arrays):
        old = {name.removeprefix("transformer."): array for name, array in arrays.items()}
        old["ln_f.gamma"], old["ln_f.beta"] = old.pop("ln_f.weight"), old.pop("ln_f.bias")
        return old | {"h.0.attn.bias": np.ones((1, 1, CONTEXT, CONTEXT), np.float32)}

    rewritten(written, older)
    np.testing.assert_array_equal(our_logits(read_weights(written)), expected)


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (lambda a: {n: x for n, x in a.items() if "wpe" not in n}, "no array 'transformer.wpe"),
        (lambda a: a | {"transformer.wpe.weight": np.ones((3, 12), np.float32)}, "is needed"),
        (lambda a: a | {"transformer.h.2.ln_1.bias": np.ones(12, np.float32)}, "h.2.ln_1.bias"),
    ],
)
def test_weights_of_another_model_are_refused(written, change, named):
    rewritten(written, change)
    with pytest.raises(CheckpointError, match=named):
        read_weights(written)


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"model_type": "gpt3"}, "did you mean 'gpt2'"),
        ({"activation_function": "gelu_fast"}, "gelu_fast"),
        ({"layer_norm_epsilon": 1e-6}, "layer_norm_epsilon"),
        ({"n_layer": None}, "n_layer"),
    ],
)
def test_a_configuration_that_is_not_computed_here_is_refused(written, change, named):
    config = json.loads((written / CONFIGURATION).read_text()) | change
    config = {key: value for key, value in config.items() if value is not None}
    (written / CONFIGURATION).write_text(json.dumps(config))
    with pytest.raises(ConfigurationError, match=named):
        read_weights(written)


def test_a_folder_without_a_model_is_named(tmp_path):
    with pytest.raises(CheckpointError, match="no such file"):
        read_weights(tmp_path)


@pytest.mark.parametrize(
    "change", [{"norm": "rms"}, {"positions": "rotary"}, {"key_heads": 1}, {"bias": False}]
)
def test_what_the_layout_has_no_place_for_is_not_written(tmp_path, change):
    settings = gpt.Settings(layers=1, width=12, heads=3, context=CONTEXT, **change)
    with pytest.raises(ConfigurationError, match="no place for"):
        write_weights(tmp_path / "new", settings, VOCABULARY, {})
    assert not (tmp_path / "new").exists()
