"""The section `attention`: weights and deltas exactly, zeros under the mask, tokens, limits."""

import base64
import json
from typing import Any

import numpy as np
import pytest

from graphgrad.backprop import derive
from graphgrad.graph import Graph, input, parameter
from graphgrad.models import BUILTIN
from graphgrad.ops import matmul, softmax, sum
from graphgrad.ops.evaluate import evaluate
from graphgrad.page.section_attention import MARGIN, attention_section
from graphgrad.passes import sizes_of, specialise
from graphgrad.training.runs import first_state
from graphgrad.training.settings import with_values
from graphgrad.training.task import Task, load_model

SETTINGS = {"layers": 1, "width": 8, "heads": 2, "inner": 8, "batch_size": 3, "dtype": "float64"}


def floats(text: str, *shape: int) -> np.ndarray:
    return np.frombuffer(base64.b64decode(text), "<f4").reshape(shape)


def bits(text: str, *shape: int) -> np.ndarray:
    count = int(np.prod(shape))
    return np.unpackbits(np.frombuffer(base64.b64decode(text), np.uint8))[:count].reshape(shape) > 0


@pytest.fixture(scope="module")
def transformer() -> tuple[Graph, Task, dict[str, np.ndarray], dict[str, np.ndarray]]:
    model = load_model("transformer", BUILTIN)
    settings = with_values(model.settings, SETTINGS)
    task = model.task(settings, {})
    graph = derive(task.graph, "loss", task.graph.parameters.values())
    return graph, task, task.feeds(0), dict(first_state(task, settings))


def test_maps_are_those_of_an_evaluation(transformer: Any) -> None:
    graph, _, feeds, state = transformer
    section = attention_section(graph, feeds, state)
    assert section is not None
    json.dumps(section, allow_nan=False)
    assert [item["name"] for item in section["maps"]] == [
        "encoder.0.attention",
        "decoder.0.attention",
        "decoder.0.cross_attention",
    ]
    sized = specialise(graph, sizes_of(graph, feeds))
    values = evaluate(sized, feeds, state)
    for item in section["maps"]:
        weights = values[sized.names[item["weights"]]]
        deltas = values[sized.names[f"{item['scores']}.delta"]]
        assert item["heads"] == 2
        for number, example in enumerate(item["examples"]):
            shape = 2, example["queries"], example["keys"]
            for found, wanted in ((example["weights"], weights), (example["deltas"], deltas)):
                cut = wanted[number][:, : shape[1], : shape[2]].astype(np.float32)
                np.testing.assert_allclose(floats(found, *shape), cut, 2e-6, 1e-12)
            mask = bits(example["mask"], *shape)
            assert not floats(example["weights"], *shape)[~mask].any()
            assert not floats(example["deltas"], *shape)[~mask].any()
            assert (floats(example["weights"], *shape)[mask] > 0).all()


def test_masks_hide_padding_and_what_comes_later(transformer: Any) -> None:
    graph, _, feeds, state = transformer
    section = attention_section(graph, feeds, state)
    assert section is not None
    own = section["maps"][1]["examples"][0]
    mask = bits(own["mask"], 2, own["queries"], own["keys"])
    assert not np.triu(mask[0], 1).any() and mask[0, :, 0].all()
    lengths = (feeds["source"] != 0).sum(axis=1)
    width = feeds["source"].shape[1]
    for number, length in enumerate(lengths):
        shown = section["maps"][0]["examples"][number]["keys"]
        assert shown == min(length + MARGIN, width)
        assert len(section["examples"][number]["source"]) == shown
    assert lengths.min() + MARGIN < width, "no example is cut, so the test shows nothing"


def test_axes_have_the_tokens_of_their_inputs(transformer: Any) -> None:
    graph, _, feeds, state = transformer
    words = ["<pad>", "<script>alert(1)</script>", "\u202e", "x" * 500]
    section = attention_section(graph, feeds, state, {"source": words})
    assert section is not None
    cross = section["maps"][2]
    assert (cross["query"], cross["key"]) == ("target_input", "source")
    ids = feeds["source"][0]
    shown = section["examples"][0]["source"]
    expected = [words[i][:24] if i < len(words) else f"#{i}" for i in ids[: len(shown)]]
    assert shown == expected and "#" in "".join(shown)


def test_the_size_is_bounded(transformer: Any) -> None:
    graph, _, feeds, state = transformer
    whole = attention_section(graph, feeds, state)
    few = attention_section(graph, feeds, state, examples=2, side=8)
    assert whole is not None and few is not None
    assert len(whole["examples"]) == 3 and len(few["examples"]) == 2
    for item in few["maps"]:
        assert all(max(e["queries"], e["keys"]) <= 8 for e in item["examples"])
    cut = floats(few["maps"][0]["examples"][1]["weights"], 2, 8, 8)
    example = whole["maps"][0]["examples"][1]
    full = floats(example["weights"], 2, example["queries"], example["keys"])
    np.testing.assert_array_equal(cut, full[:, :8, :8])
    budget = 20_000
    small = attention_section(graph, feeds, state, budget=budget)
    assert small is not None and len(small["examples"]) == 1
    packed = sum_of_texts(small)
    assert packed <= budget < sum_of_texts(whole)


def sum_of_texts(section: dict[str, Any]) -> int:
    return np.sum(
        [
            len(example[key])
            for item in section["maps"]
            for example in item["examples"]
            for key in ("weights", "deltas")
        ]
    )


def test_attention_is_found_without_names_masks_or_deltas() -> None:
    q = input("q", ("n", 2), "float64")
    table = parameter("table", (5, 2), dtype="float64")
    weights = softmax(matmul(q, table, transpose_b=True, name="some"), name="other")
    graph = Graph({"out": sum(matmul(weights, table))})
    generator = np.random.default_rng(0)
    feeds, state = {"q": generator.random((3, 2))}, {"table": generator.random((5, 2))}
    section = attention_section(graph, feeds, state)
    assert section is not None
    (item,) = section["maps"]
    (example,) = item["examples"]
    assert (item["scores"], item["query"], item["key"]) == ("some", None, None)
    assert example["deltas"] is None and example["mask"] is None
    found = floats(example["weights"], 1, 3, 5)[0]
    scores = np.exp(feeds["q"] @ state["table"].T)
    np.testing.assert_allclose(found, scores / scores.sum(axis=1, keepdims=True), 1e-6)


def test_a_graph_without_attention_has_no_section() -> None:
    x = input("x", ("batch", 4), "float64")
    graph = Graph({"p": softmax(x)})
    assert attention_section(graph, {"x": np.zeros((2, 4))}, {}) is None
