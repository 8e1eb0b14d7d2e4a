"""Formulas as trees: what is mathematics in them is read as such, and every text has a tree."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from graphgrad.page.mathematics import formula_tree

X, Y, DELTA = ["x", -1], ["y"], ["δ"]


def o(sign: str) -> list[object]:
    return ["o", sign]


@pytest.mark.parametrize(
    ("text", "tree"),
    [
        ("x", X),
        ("x₁ x₂", ["row", ["x", 0], ["x", 1]]),
        ("tanh x", ["row", ["f", "tanh"], X]),
        ("1 / x", ["/", ["n", "1"], X]),
        ("δ · (1 - y²)", ["row", DELTA, o("·"), ["(", ["n", "1"], o("−"), ["^", Y, ["n", "2"]]]]),
        ("-δ · y / x₂", ["row", o("−"), ["/", ["row", DELTA, o("·"), Y], ["x", 1]]]),
        ("δ / 2y", ["/", DELTA, ["row", ["n", "2"], Y]]),
        ("x₁ᵀ δ", ["row", ["^", ["x", 0], o("⊤")], DELTA]),
        ("eˣ / Σ eˣ", ["/", ["^", ["i", "e"], X], ["row", o("Σ"), ["^", ["i", "e"], X]]]),
        ("e^(-x²)", ["^", ["i", "e"], ["row", o("−"), ["^", X, ["n", "2"]]]]),
        ("2/√π · x", ["row", ["/", ["n", "2"], ["√", ["i", "π"]]], o("·"), X]),
        ("x₁ · 1/√D_k", ["row", ["x", 0], o("·"), ["/", ["n", "1"], ["√", ["i", "D_k"]]]]),
        ("x₁, x₂, … one after another", ["row", ["*"], ["t", "one after another"]]),
        (
            "x₂ where x₁, else x₃",
            ["row", ["x", 1], ["t", "where"], ["x", 0], ["t", ", else"], ["x", 2]],
        ),
    ],
)
def test_formulas(text: str, tree: list[object]) -> None:
    assert formula_tree(text) == tree


def test_text_that_is_not_mathematics_becomes_words() -> None:
    assert formula_tree("by a rule of the user's")[0] == "row"
    assert formula_tree("<script>") == ["row", o("<"), ["t", "script"], o(">")]
    assert formula_tree(") x (") == ["row", ["o", ")"], X, ["("]]


@settings(max_examples=200, deadline=None)
@given(st.text(alphabet="xyδ₁₂ᵀ²ˣΣ√()^/·-+=, .;eπ12ab<|\u202e", max_size=60))
def test_every_text_has_a_tree_of_plain_lists(text: str) -> None:
    stack: list[object] = [formula_tree(text)]
    while stack:
        part = stack.pop()
        if isinstance(part, list):
            assert isinstance(part[0], str)
            stack.extend(part[1:])
        else:
            assert isinstance(part, str | int)


@pytest.mark.parametrize("text", ["(" * 5000, "√" * 3000 + "x", "x^" * 3000 + "x", "x / " * 3000])
def test_what_is_nested_too_deep_is_text(text: str) -> None:
    assert len(json.dumps(formula_tree(text))) > 5000  # the JSON of a deeper tree would overflow
