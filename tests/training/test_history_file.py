"""The file of recorded figures: bounded, append-only, and exact after any interruption."""

import errno
import json
import os

import numpy as np
import pytest

from graphgrad.errors import DataError, EnvironmentLimitError
from graphgrad.training import history_file
from graphgrad.training.history_file import HISTORY, HistoryWriter, drop_after, read_records

HEADER = {"format": "graphgrad history", "version": 1, "names": [], "statistics": []}
NAMES, STATISTICS = ("x", "x.delta", 'a "quoted"\n<script>'), ("mean", "norm")


@pytest.fixture
def path(tmp_path):
    return tmp_path / HISTORY


def figures(step):
    return np.arange(6.0).reshape(3, 2) + 100 * step


def write(path, steps, every=1, names=NAMES):
    writer = HistoryWriter(path, names, STATISTICS, every)
    for step in steps:
        if writer.wants(step):
            writer.append(step, figures(step)[: len(names)])
    return writer


def test_what_was_appended_is_read_back(path):
    write(path, range(1, 6), every=2)
    records = read_records(path)
    assert (records.names, records.statistics) == (NAMES, STATISTICS)
    assert records.steps.tolist() == [1, 2, 4]  # the first step is always there
    np.testing.assert_array_equal(records.values, [figures(step) for step in (1, 2, 4)])


def test_a_missing_file_has_no_records(path):
    assert read_records(path).steps.size == 0 and drop_after(path, 0) == 0


def test_nan_and_infinity_are_kept(path):
    values = np.array([[np.nan, np.inf], [-np.inf, 0], [1, 2]])
    HistoryWriter(path, NAMES, STATISTICS, 1).append(1, values)
    np.testing.assert_array_equal(read_records(path).values[0], values)


@pytest.mark.parametrize("most", [20, 50])
def test_a_long_history_is_thinned_evenly(path, monkeypatch, most):
    monkeypatch.setattr(history_file, "RECORDS", most)
    write(path, range(1, 5 * most + 1))
    steps = read_records(path).steps
    assert steps.tolist() == [1, *range(8, 5 * most + 1, 8)]
    np.testing.assert_array_equal(read_records(path).values, [figures(step) for step in steps])


def test_large_records_are_fewer(path, monkeypatch):
    monkeypatch.setattr(history_file, "BYTES", 30 * (16 + 6 * 8))
    write(path, range(1, 200))
    assert len(read_records(path).steps) <= 31 and path.stat().st_size < 4096


@pytest.mark.parametrize("stopped, resumed", [(9, 5), (45, 38), (61, 10), (100, 100)])
def test_an_interrupted_run_ends_with_the_same_history(path, monkeypatch, stopped, resumed):
    monkeypatch.setattr(history_file, "RECORDS", 20)
    write(path, range(1, 101))
    whole = path.read_bytes()
    path.unlink()
    write(path, range(1, stopped + 1))
    drop_after(path, resumed)
    assert read_records(path).steps.max(initial=0) <= resumed
    write(path, range(resumed + 1, 101))
    assert path.read_bytes() == whole


@pytest.mark.parametrize("lost", [1, 15, 16, 17, 63])
def test_a_torn_record_is_passed_over_and_replaced(path, lost):
    write(path, [1, 2, 3])
    whole = path.read_bytes()
    os.truncate(path, len(whole) - lost)
    assert read_records(path).steps.tolist() == [1, 2]
    write(path, [3])
    assert path.read_bytes() == whole


def test_the_end_of_a_record_that_never_reached_the_disk_is_torn_too(path):
    write(path, [1, 2, 3])
    data = bytearray(path.read_bytes())
    data[-30:] = bytes(30)
    path.write_bytes(data)
    assert read_records(path).steps.tolist() == [1, 2]
    assert drop_after(path, 3) == 0 and path.stat().st_size < len(data)


def test_damage_elsewhere_is_named(path):
    write(path, [1, 2, 3])
    whole = path.read_bytes()
    for place, problem in ((2, "first line"), (len(whole) - 100, "record 2 .* is damaged")):
        data = bytearray(whole)
        data[place] ^= 0xFF
        path.write_bytes(data)
        with pytest.raises(DataError, match=problem) as error:
            read_records(path)
        assert str(path) in str(error.value) and "delete the file" in str(error.value)


@pytest.mark.parametrize(
    "header, problem",
    [
        ({**HEADER, "version": 4}, "version 4"),
        ({**HEADER, "names": ["a", "a"]}, "damaged"),
        ({**HEADER, "names": [1]}, "damaged"),
        ({"format": "other"}, "damaged"),
        ([], "damaged"),
    ],
)
def test_a_foreign_header_is_refused(path, header, problem):
    path.write_text(json.dumps(header) + "\n")
    with pytest.raises(DataError, match=problem):
        read_records(path)


def test_other_columns_join_those_that_are_there(path):
    write(path, [1, 2])
    HistoryWriter(path, ("new", "x"), ("norm", "zeros"), 1).append(3, np.array([[7.0, 8], [9, 10]]))
    records = read_records(path)
    assert records.names == ("new", "x", *NAMES[1:])
    assert records.statistics == ("norm", "zeros", "mean")
    mean, norm = figures(1)[0]
    np.testing.assert_array_equal(records.values[0, 1], [norm, np.nan, mean])
    np.testing.assert_array_equal(records.values[2, :2], [[7, 8, np.nan], [9, 10, np.nan]])
    assert np.isnan(records.values[2, 2:]).all() and np.isnan(records.values[:2, 0]).all()


def test_a_full_disk_leaves_the_file_as_it_was(path, monkeypatch):
    writer = write(path, [1])
    before = path.read_bytes()

    def refuse(*_):
        raise OSError(errno.ENOSPC, "no space")

    monkeypatch.setattr(os, "fsync", refuse)
    with pytest.raises(EnvironmentLimitError, match="disk is full"):
        writer.append(2, figures(2), durable=True)
    assert path.read_bytes() == before


def test_every_bit_of_the_header_and_of_a_record_is_guarded(path):
    write(path, [1, 2, 3])
    content, right = path.read_bytes(), read_records(path)
    for place in range(len(content)):
        data = bytearray(content)
        data[place] ^= 1 << place % 8
        path.write_bytes(data)
        try:
            found = read_records(path)
        except DataError as error:
            assert str(path) in error.where
        else:  # blanks behind the header, or the last record, which may be torn
            assert found.names == right.names and found.statistics == right.statistics
            count = len(found.steps)
            assert count >= 2 and found.steps.tolist() == [1, 2, 3][:count]
            np.testing.assert_array_equal(found.values, right.values[:count])


def test_the_history_of_another_run_is_named(path):
    HistoryWriter(path, NAMES, STATISTICS, 1, "one").append(1, figures(1))
    assert read_records(path, "one").steps.tolist() == [1]
    for other in ("two", ""):
        with pytest.raises(DataError, match="another run"):
            read_records(path, other)


def test_a_file_of_the_first_version_is_read_where_the_run_is_as_old(path):
    write(path, [1, 2])
    header, newline, records = path.read_bytes().partition(b"\n")
    old = {**json.loads(header), "version": 1}
    del old["run"], old["sum"], old["deltas"]
    path.write_bytes(json.dumps(old).encode().ljust(len(header)) + newline + records)
    found = read_records(path)
    assert found.steps.tolist() == [1, 2] and found.deltas == {"x.delta": "x"}
    with pytest.raises(DataError, match="damaged"):
        read_records(path, "a run")


def test_a_file_of_the_second_version_says_by_its_names_which_are_deltas(path):
    body = {
        "format": "graphgrad history",
        "version": 2,
        "run": "",
        "names": list(NAMES),
        "statistics": list(STATISTICS),
    }
    text = json.dumps({**body, "sum": history_file._header_sum(body)})
    path.write_bytes(text.encode() + b" " * (-(len(text) + 1) % 8) + b"\n")
    assert read_records(path).deltas == {"x.delta": "x"}
    HistoryWriter(path, NAMES, STATISTICS, 1, deltas={"x.delta": "x"}).append(1, figures(1))
    assert json.loads(path.read_bytes().partition(b"\n")[0])["version"] == 2, "goes on as it was"
    HistoryWriter(path, NAMES, STATISTICS, 1)  # in the run that goes on it is a node's name
    assert read_records(path).deltas == {} and read_records(path).steps.tolist() == [1]


def test_what_is_no_name_cannot_be_a_delta(path):
    body = {
        "format": "graphgrad history",
        "version": 3,
        "run": "",
        "names": ["x"],
        "statistics": ["norm"],
        "deltas": {"y": "x"},
    }
    path.write_text(json.dumps({**body, "sum": history_file._header_sum(body)}) + "\n")
    with pytest.raises(DataError, match="damaged"):
        read_records(path)


@pytest.mark.parametrize("kind", ["pipe", "huge", "dangling"])
def test_what_is_no_file_of_bounded_size_is_not_read(path, kind):
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "huge":
        path.touch()
        os.truncate(path, 100 << 30)
    else:
        path.symlink_to("/nowhere/history.bin")
    with pytest.raises((DataError, EnvironmentLimitError), match=r"history\.bin"):
        read_records(path)
