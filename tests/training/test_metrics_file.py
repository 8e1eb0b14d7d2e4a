"""The metrics of a run: damage and lines of another run are named, gaps are told in words."""

import json

import pytest

from graphgrad.errors import DataError
from graphgrad.training.metrics_file import (
    METRICS,
    append_record,
    drop_records,
    gap_before,
    read_lines,
)


@pytest.fixture
def path(tmp_path):
    return tmp_path / METRICS


def write(path, steps, identity="one"):
    for step in steps:
        append_record(path, identity, {"step": step, "loss": 1 / step})


def records(path, identity="one"):
    return [record for _, record in read_lines(path, identity)]


def test_every_bit_of_a_whole_line_is_guarded(path):
    write(path, [1, 2, 3])
    content, right = path.read_bytes(), records(path)
    for place in range(len(content)):
        for bit in range(8):
            data = bytearray(content)
            data[place] ^= 1 << bit
            path.write_bytes(data)
            try:
                found = records(path)
            except DataError as error:
                assert "metrics.jsonl, line " in error.where
            else:  # the last line break is what makes a line whole
                assert found == right[: len(found)] and place >= len(content) - 1


def test_lines_of_another_run_are_named(path):
    write(path, [1], "one")
    write(path, [2], "other")
    with pytest.raises(DataError, match="of another run") as error:
        records(path)
    assert error.value.where == f"{path}, line 2"


def test_lines_from_before_there_were_sums_are_read_where_the_run_is_as_old(path):
    path.write_text('{"step": 1, "loss": 0.5}\n')
    append_record(path, "", {"step": 2})
    assert records(path, "") == [{"step": 1, "loss": 0.5}, {"step": 2}]
    assert drop_records(path, "", 1) == 1
    assert path.read_text() == '{"step": 1, "loss": 0.5}\n'
    with pytest.raises(DataError, match="altered"):
        records(path, "one")


def test_a_line_stays_one_object_of_json(path):
    write(path, [3])
    assert {"step": 3, "loss": 1 / 3}.items() < json.loads(path.read_text()).items()
    with pytest.raises(DataError, match="no figure called `sum`"):
        append_record(path, "one", {"step": 1, "sum": 2})


@pytest.mark.parametrize(
    ("steps", "upto", "words"),
    [
        ([1, 2, 3], 3, ""),
        ([1, 2, 3], 2, ""),
        ([1, 2], 5, "steps 3 to 5"),
        ([], 1, "steps 1"),
        ([1, 3, 5], 5, "2 of the steps 2 to 4"),
    ],
)
def test_what_is_missing_is_told_in_words(path, steps, upto, words):
    write(path, steps)
    assert gap_before(read_lines(path, "one"), upto) == words
