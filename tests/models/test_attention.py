"""The lecture's attention against the lecture's numbers and plain loops."""

import math

import numpy as np
import pytest

from graphgrad.backprop import derive
from graphgrad.compile import compile
from graphgrad.errors import ConfigurationError, DeclarationError
from graphgrad.graph import Graph, initial_state, input
from graphgrad.layers import attention, causal_mask
from graphgrad.models import attention as model
from graphgrad.models.attention import (
    Settings,
    attention_weights,
    look_up,
    masked_attention,
    score,
    self_attention,
    task,
)
from graphgrad.ops import sum as total
from graphgrad.training.optimisers import training_step
from graphgrad.training.settings import with_values
from graphgrad.training.task import load_model


def softmax(scores):
    exponentials = [math.exp(score) for score in scores]
    return np.array(exponentials) / math.fsum(exponentials)


def attention_oracle(queries, keys, values, scale=1.0, allowed=lambda i, j: True):
    """Σ_j α_ij v_j in loops, and the weights α."""
    weights = np.zeros((len(queries), len(keys)))
    for i, query in enumerate(queries):
        seen = [j for j in range(len(keys)) if allowed(i, j)]
        weights[i, seen] = softmax([scale * math.fsum(query * keys[j]) for j in seen])
    return weights @ values, weights


def draw(*shapes, seed=0):
    generator = np.random.default_rng(seed)
    return [generator.normal(size=shape) for shape in shapes]


def nodes(**arrays):
    return {name: input(name, array.shape, "float64") for name, array in arrays.items()}


def run(outputs, **feeds):
    return compile(Graph(outputs))({}, **feeds)


def assert_close(found, expected, tolerance=1e-12):
    np.testing.assert_allclose(found, expected, rtol=tolerance, atol=tolerance)


def test_a_score_is_an_inner_product():
    query, key = draw(4, 4)
    x = nodes(query=query, key=key)
    found = run({"score": score(x["query"], x["key"])}, query=query, key=key)
    assert_close(found["score"], sum(query[d] * key[d] for d in range(4)))


def test_one_query_is_looked_up():
    query, keys, values = draw(4, (5, 4), (5, 3))
    x = nodes(query=query, keys=keys, values=values)
    o = look_up(x["query"], x["keys"], x["values"])
    weights = Graph({"o": o})["weights"]
    found = run({"o": o, "weights": weights}, query=query, keys=keys, values=values)
    expected, alpha = attention_oracle(query[None], keys, values)
    assert_close(found["o"], expected[0])
    assert_close(found["weights"], alpha[0])
    assert found["o"].shape == (3,)


def test_row_i_of_the_weights_belongs_to_query_i():
    queries, keys = draw((2, 4), (3, 4))
    x = nodes(queries=queries, keys=keys)
    weights = run({"w": attention_weights(x["queries"], x["keys"])}, queries=queries, keys=keys)
    _, alpha = attention_oracle(queries, keys, np.zeros((3, 1)))
    assert_close(weights["w"], alpha)
    assert_close(weights["w"].sum(axis=1), 1.0)


def test_the_lectures_numbers():
    """q₁ · k₁ = 112 and q₁ · k₂ = 96; divided by √64 = 8: 14 and 12; softmax: 0.88 and 0.12."""
    query = np.ones((1, 64))
    keys = np.stack([np.full(64, 112 / 64), np.full(64, 96 / 64)])
    values = np.eye(2)
    x = nodes(query=query, keys=keys, values=values)
    o = attention(x["query"], x["keys"], x["values"])
    graph = Graph({"o": o})
    shown = {name: graph[name] for name in ("matches", "scores", "weights")}
    found = run({"o": o, **shown}, query=query, keys=keys, values=values)
    np.testing.assert_array_equal(found["matches"], [[112.0, 96.0]])
    np.testing.assert_array_equal(found["scores"], [[14.0, 12.0]])
    np.testing.assert_array_equal(found["weights"].round(2), [[0.88, 0.12]])
    assert_close(found["o"], found["weights"])


def test_the_factor_keeps_the_delta_alive():
    """Without 1/√D_k the lecture's scores 112 and 96 give weights of 1 and 0, and no delta."""
    query = np.ones((1, 64))
    keys = np.stack([np.full(64, 112 / 64), np.full(64, 96 / 64)])
    sizes = {}
    for scaled in (True, False):
        x = nodes(query=query, keys=keys)
        values = np.array([[1.0], [0.0]])
        store = input("values", (2, 1), "float64")
        o = attention(x["query"], x["keys"], store, scaled=scaled)
        graph = derive(Graph({"loss": total(o)}), "loss")
        found = compile(graph, ["scores.delta"])({}, query=query, keys=keys, values=values)
        sizes[scaled] = np.abs(found["scores.delta"]).max()
    assert sizes[True] > 0.1
    assert sizes[False] < 1e-6


@pytest.mark.parametrize("masked", [False, True])
def test_self_attention_projects_one_input(masked):
    (x,) = draw((4, 6))
    leaf = input("x", (4, 6), "float64")
    mask = causal_mask(4) if masked else None
    graph = Graph({"o": self_attention(leaf, 5, 3, mask)})
    state = dict(
        zip(
            ("attention.W_Q", "attention.W_K", "attention.W_V"),
            draw((6, 5), (6, 5), (6, 3), seed=1),
            strict=True,
        )
    )
    assert set(graph.parameters) == set(state)
    found = compile(graph, ["attention.weights"])(state, x=x)
    query, key, value = (x @ weight for weight in state.values())
    expected, alpha = attention_oracle(
        query, key, value, 1 / math.sqrt(5), lambda i, j: j <= i or not masked
    )
    assert_close(found["o"], expected)
    assert_close(found["attention.weights"], alpha)


def masked_example():
    queries, keys, values, direction = draw((4, 3), (4, 3), (4, 2), (4, 2), seed=5)
    x = nodes(queries=queries, keys=keys, values=values, direction=direction)
    o = masked_attention(x["queries"], x["keys"], x["values"])
    graph = derive(Graph({"loss": total(o * x["direction"]), "o": o}), "loss")
    return graph, {"queries": queries, "keys": keys, "values": values, "direction": direction}


def test_the_mask_example_in_four_steps():
    graph, feeds = masked_example()
    found = compile(graph, ["mask", "scores", "masked_scores", "weights"])({}, **feeds)
    upper = np.triu(np.ones((4, 4), bool), 1)
    np.testing.assert_array_equal(found["mask"], ~upper)
    assert_close(found["scores"], feeds["queries"] @ feeds["keys"].T)
    assert np.all(found["masked_scores"][upper] == -math.inf)
    np.testing.assert_array_equal(found["masked_scores"][~upper], found["scores"][~upper])
    assert np.all(found["weights"][upper] == 0.0)
    assert np.all(found["weights"][~upper] > 0.0)
    expected, alpha = attention_oracle(
        feeds["queries"], feeds["keys"], feeds["values"], allowed=lambda i, j: j <= i
    )
    assert_close(found["weights"], alpha)
    assert_close(found["o"], expected)
    assert_close(found["o"][0], feeds["values"][0])


def test_the_mask_example_sends_nothing_back_to_what_is_masked():
    graph, feeds = masked_example()
    found = compile(graph, ["scores.delta", "weights", "queries.delta", "keys.delta"])({}, **feeds)
    upper = np.triu(np.ones((4, 4), bool), 1)
    delta = found["scores.delta"]
    assert np.all(delta[upper] == 0.0)
    assert np.all(delta[~upper][1:] != 0.0)
    assert_close(found["weights"].sum(axis=1), 1.0)
    assert_close(delta.sum(axis=1), 0.0)
    assert_close(found["queries.delta"], delta @ feeds["keys"])
    assert_close(found["keys.delta"], delta.T @ feeds["queries"])
    assert np.all(found["queries.delta"][0] == 0.0)  # the first query sees one key: no choice


def test_the_future_does_not_reach_the_past():
    graph, feeds = masked_example()
    compiled = compile(graph)
    before = compiled({}, **feeds)["o"]
    for name in ("keys", "values"):
        feeds[name] = feeds[name].copy()
        feeds[name][2:] += 10.0
    after = compiled({}, **feeds)["o"]
    np.testing.assert_array_equal(after[:2], before[:2])
    assert np.all(after[2:] != before[2:])


def test_the_four_steps_are_the_attention_of_the_layers():
    """Equal operations on equal heads are one node, so the two are not only alike."""
    x = nodes(q=np.zeros((4, 3)), k=np.zeros((4, 3)), v=np.zeros((4, 2)))
    steps = masked_attention(x["q"], x["k"], x["v"])
    assert steps is attention(x["q"], x["k"], x["v"], causal_mask(4), scaled=False)


def test_self_attention_needs_a_known_width():
    with pytest.raises(DeclarationError, match="known number of features"):
        self_attention(input("x", (4, "feature")), 2, 2)


# ---------------------------------------------------------------- the learned look-up


def test_a_look_up_is_learned_from_chance():
    chosen = Settings()
    lookups = task(chosen, {})
    step = compile(training_step(lookups.graph, chosen))
    state = initial_state(step.source_graph, chosen.seed)
    before = lookups.evaluate(state)
    for number in range(chosen.steps):
        step(state, **lookups.feeds(number))
    after = lookups.evaluate(state)
    assert before["right"] < 0.25  # 1 in 8 by chance
    assert after["right"] >= 0.97
    assert after["right"] <= after["best"] + 0.01
    assert after["loss"] < before["loss"] / 20
    assert after["examples"] == 1000
    lines = lookups.examples(state)
    assert len(lines) == 4
    assert sum(line.endswith("right") for line in lines) >= 3
    # the weight in brackets is the one of the key that was meant
    meant = [float(line.partition("[")[2].partition("]")[0]) for line in lines]
    assert sorted(meant)[1] > 0.5


def test_the_learned_match_is_near_the_identity():
    """W^Q W^Kᵀ / √D_k grows towards 1/σ² times the identity: the likelihood of a key."""
    chosen = Settings(steps=600)
    lookups = task(chosen, {})
    step = compile(training_step(lookups.graph, chosen))
    state = initial_state(step.source_graph, chosen.seed)
    for number in range(chosen.steps):
        step(state, **lookups.feeds(number))
    match = state["attention.W_Q"] @ state["attention.W_K"].T / math.sqrt(chosen.width)
    own = np.diagonal(match)
    other = match[~np.eye(chosen.width, dtype=bool)]
    assert own.min() > 4 * np.abs(other).max()
    assert 0.3 < own.mean() * chosen.noise**2 < 1.2


def test_the_data_is_a_function_of_seed_and_step():
    lookups = task(Settings(), {})
    first, again, other = lookups.feeds(0), task(Settings(), {}).feeds(0), lookups.feeds(1)
    seeded = task(Settings(seed=1), {}).feeds(0)
    for name in first:
        np.testing.assert_array_equal(first[name], again[name])
        assert not np.array_equal(first[name], other[name])
        assert not np.array_equal(first[name], seeded[name])
    np.testing.assert_allclose(np.square(first["keys"]).mean(axis=-1), 1.0)


def test_an_answer_is_right_where_it_is_nearest_to_the_meant_value():
    drawn = model.draw_lookups(Settings(), 50, model.HELD_OUT, 0)
    assert model.right(drawn, drawn.feeds["truth"]).all()
    wrong = drawn.feeds["values"][np.arange(50), (drawn.meant + 1) % 8][:, None]
    assert not model.right(drawn, wrong).any()


def test_deltas_of_the_parameters_are_slopes():
    small = task(with_values(Settings(), model.CHECK), {})
    graph = derive(small.graph, "loss")
    compiled = compile(graph, [f"{name}.delta" for name in graph.parameters])
    state = dict(zip(graph.parameters, draw((2, 2), (2, 2)), strict=True))
    deltas = compiled(state, **small.feeds(0))
    for name, value in state.items():
        for place in np.ndindex(value.shape):
            kept, losses = value[place], []
            for change in (1e-6, -1e-6):
                value[place] = kept + change
                losses.append(float(compiled(state, **small.feeds(0))["loss"]))
            value[place] = kept
            slope = (losses[0] - losses[1]) / 2e-6
            assert_close(deltas[f"{name}.delta"][place], slope, 1e-7)


@pytest.mark.parametrize("values", [{"keys": 0}, {"width": 0}, {"noise": -1.0}])
def test_settings_without_sense_are_refused(values):
    with pytest.raises(ConfigurationError, match=next(iter(values))):
        Settings(**values)


def test_commands_find_the_model():
    found = load_model("attention", {"attention": model})
    assert found.settings == Settings()
    assert found.check == model.CHECK
