"""Dimensions are exact arithmetic: they agree with integers under every substitution."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from graphgrad import dimension
from graphgrad.errors import DeclarationError
from graphgrad.graph.dimension import Dimension, product, quotient, substitute
from graphgrad.graph.types import as_dtype, as_shape, broadcast, normal_axes

N, M, K = (dimension(name) for name in "nmk")
NAMES = st.sampled_from(["n", "m", "k"])
SIZES = st.fixed_dictionaries({name: st.integers(0, 50) for name in "nmk"})
QUICK = settings(derandomize=True, max_examples=150, deadline=None, database=None)


def expressions(depth: int = 3):
    """Pairs of a text that both Python and Dimension understand: built from + - * and integers."""
    leaves = st.one_of(NAMES, st.integers(-9, 9).map(str))
    return st.recursive(
        leaves,
        lambda inner: st.tuples(inner, st.sampled_from("+-*"), inner).map(
            lambda parts: f"({parts[0]}{parts[1]}{parts[2]})"
        ),
        max_leaves=2**depth,
    )


@QUICK
@given(text=expressions(), sizes=SIZES)
def test_arithmetic_agrees_with_integers(text, sizes):
    symbolic = eval(text, {}, {"n": N, "m": M, "k": K})
    assert substitute(symbolic, sizes) == eval(text, {}, sizes)
    if isinstance(symbolic, Dimension):
        assert symbolic.names <= {"n", "m", "k"}
        # the text of a dimension is the same expression again
        assert eval(str(symbolic), {}, {"n": N, "m": M, "k": K}) == symbolic


@QUICK
@given(left=expressions(), right=expressions(), sizes=SIZES)
def test_equal_dimensions_have_one_form(left, right, sizes):
    a, b = (eval(text, {}, {"n": N, "m": M, "k": K}) for text in (left, right))
    assert a + b == b + a and a * b == b * a and a - b == -1 * (b - a)
    assert hash(a + b) == hash(b + a)
    assert (a - b == 0) == (a == b)
    if a == b:
        assert substitute(a, sizes) == substitute(b, sizes)


@QUICK
@given(text=expressions(), by=st.sampled_from([1, 3, N, 2 * M, N * M]), sizes=SIZES)
def test_quotients_undo_products(text, by, sizes):
    a = eval(text, {}, {"n": N, "m": M, "k": K})
    if a != 0:
        assert quotient(a * by, by) == a


def test_substitution_of_some_names_leaves_the_others():
    assert substitute(N * M + 2, {"n": 3}) == 3 * M + 2
    assert substitute(5, {}) == 5


def test_a_polynomial_without_names_is_an_integer():
    assert type(N - N) is int and type(N - N + 4) is int and N - N + 4 == 4
    assert type(N * 0) is int and type(substitute(N, {"n": 3})) is int


def test_text():
    assert [str(d) for d in (N, 2 * N, N * N, N + 1, N - M, -1 * N, N * M * 3 - 2)] == [
        "n",
        "2*n",
        "n*n",
        "1+n",
        "-m+n",
        "-n",
        "-2+3*m*n",
    ]


@pytest.mark.parametrize(
    ("size", "by"),
    [(N, 2), (N, M), (N + 1, N), (6, N), (N, N + 1), (N, 0), (5, 2), (5, 0)],
    ids=str,
)
def test_an_inexact_quotient_is_refused(size, by):
    with pytest.raises(ValueError, match="not always divisible"):
        quotient(size, by)


@pytest.mark.parametrize("name", ["", "1n", "a b", "n-1", "n\n", "naïve", "n;x"])
def test_a_name_is_an_identifier(name):
    with pytest.raises(DeclarationError, match="identifier"):
        dimension(name)


@pytest.mark.parametrize("other", [1.0, 2.5, "2", None])
def test_sizes_are_never_rounded(other):
    refused = DeclarationError if isinstance(other, float) else TypeError
    with pytest.raises(refused):
        N + other
    with pytest.raises(refused):
        N * other


def test_integers_of_numpys_are_integers():
    for kind in (np.int64, np.int32, np.uint8):
        assert N + kind(2) == kind(2) + N == N + 2 and kind(3) * N == N * kind(3) == 3 * N
        assert N - kind(1) == N - 1 and kind(5) - N == 5 - N and (4 * N) // kind(2) == 2 * N
        assert type(dict((N * kind(3)).terms)[("n",)]) is int


@pytest.mark.parametrize(
    "wrong",
    [
        lambda: N / 2,
        lambda: 1.0 / N,
        lambda: N / M,
        lambda: N * 0.5,
        lambda: 2.5 - N,
        lambda: N + np.float32(1),
    ],
)
def test_a_size_is_no_number_before_it_is_known(wrong):
    with pytest.raises(DeclarationError, match="not known yet") as caught:
        wrong()
    assert "extent(size)" in caught.value.fix and __file__ in caught.value.where


# ---------------------------------------------------------------- shapes


def test_shapes():
    assert as_shape(3) == (3,) and as_shape("n") == (N,) and as_shape(N) == (N,)
    assert as_shape(["n", 3, N * 2]) == (N, 3, 2 * N) and as_shape(()) == ()
    assert product(as_shape(("n", 2, "n"))) == 2 * N * N and product(()) == 1


@pytest.mark.parametrize("shape", [-1, (2, -3), 2.5, (2.0,), None, ("a b",), ((2, 3),)], ids=str)
def test_what_is_no_shape_is_refused(shape):
    with pytest.raises(ValueError, match=r"size|identifier"):
        as_shape(shape)


def test_broadcasting_with_names():
    assert broadcast([(N, 3), (1, 3)]) == (N, 3)
    assert broadcast([(3,), (N, 1)]) == (N, 3)
    assert broadcast([(0, 1), (1, 5)]) == (0, 5)
    assert broadcast([]) == ()
    for left, right in (((N,), (5,)), ((N,), (M,)), ((0,), (5,)), ((2, 3), (3, 2))):
        with pytest.raises(ValueError, match="differ and neither is 1"):
            broadcast([left, right])


def test_axes():
    assert normal_axes(None, 3) == (0, 1, 2) and normal_axes((-1, 0), 3) == (0, 2)
    assert normal_axes((), 3) == ()
    with pytest.raises(ValueError, match="named twice"):
        normal_axes((1, -1), 2)
    with pytest.raises(ValueError, match="axis 2 of a value with 2 axes"):
        normal_axes(2, 2)


@pytest.mark.parametrize("dtype", ["float8", "uint8", "complex64", "object", ">f4", "flout", 7])
def test_other_dtypes_are_refused(dtype):
    with pytest.raises(ValueError, match="is not one of float32"):
        as_dtype(dtype)
