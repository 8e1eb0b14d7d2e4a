"""JSON is read strictly, and what is written comes back equal."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from graphgrad.errors import DataError
from graphgrad.strict_json import format_json, parse_json


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (b'{"a": 1,\n "a": 2}', "lines 1, 2: the key 'a' stands twice"),
        (b'{"a": 1,\n "b" 2}', "line 2, column 6: Expecting ':' delimiter"),
        (b'{"a": NaN}', "NaN is no finite number"),
        (b"[Infinity]", "Infinity is no finite number"),
        (b"[1e999]", "1e999 is no finite number"),
        (b"[1,\n\xff]", "line 2: byte 0xff is not UTF-8"),
        (b"\xef\xbb\xbf{}", "line 1, column 1"),
        (b"", "line 1, column 1: Expecting value"),
        (b"{} {}", "line 1, column 4: Extra data"),
        (b"[" * 100_000, "nested too deeply"),
        (b"1" * 5000, "limit"),
    ],
)
def test_json_is_read_strictly(text, reason):
    with pytest.raises(ValueError) as caught:
        parse_json(text)
    assert reason in str(caught.value)


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        ({"best": float("nan")}, "details.best is nan"),
        ({"a": [1, float("-inf")]}, r"details.a\[1\] is -inf"),
        ({1: 2}, "details has the key 1"),
        ({"a": {"b": {3}}}, "details.a.b is a set"),
        ({"a": b"x"}, "details.a is a bytes"),
    ],
)
def test_what_json_cannot_hold_is_named(value, reason):
    with pytest.raises(DataError, match=reason):
        format_json(value, "details")


def test_a_value_that_holds_itself_is_refused():
    loop = []
    loop.append(loop)
    with pytest.raises(DataError, match="holds itself"):
        format_json(loop, "details")


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(codec=None)),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=10,
)


@settings(max_examples=60, deadline=None)
@given(JSON)
def test_json_comes_back_equal(value):
    assert parse_json(format_json(value, "value").encode("utf-8")) == value
    assert "\n" not in format_json(value, "value", indent=None)
