"""What `save` wrote, `load` gives back; what is damaged or of another model is named."""

from __future__ import annotations

import os

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

import graphgrad as gg
from graphgrad.errors import CheckpointError, EnvironmentLimitError

W, S = gg.parameter("scope.w", (2, 3), gg.normal(1.0)), gg.state("count", (), dtype="int64")
GRAPH = gg.Graph({"y": W.sum()}, {S: S + 1})


@pytest.fixture
def path(tmp_path):
    return tmp_path / "state.safetensors"


def test_what_was_saved_comes_back(path):
    state = gg.initial_state(GRAPH, 3)
    gg.compile(GRAPH)(state)
    gg.save(path, state)
    for found in (gg.load(path), gg.load(str(path), GRAPH)):
        assert set(found) == {"scope.w", "count"} and found["count"] == 1
        np.testing.assert_array_equal(found["scope.w"], state["scope.w"])
        gg.compile(GRAPH)(found)  # it can be trained on
        assert found["count"] == 2


@pytest.mark.parametrize(
    "dtype", ["bool", "int8", "int16", "int32", "int64", "uint8", "float16", "float32", "float64"]
)
def test_every_dtype_and_shape(path, dtype):
    state = {
        "a": np.arange(6).reshape(2, 3).astype(dtype).T,
        "b": np.zeros((0, 2), dtype),
        "c": np.array(1, dtype),
        "é.↔": np.ones(1, "float64"),
    }
    gg.save(path, state)
    for found in (gg.load(path), load_file(path)):  # the format's own reader agrees
        assert set(found) == set(state)
        for name, array in state.items():
            assert found[name].dtype == array.dtype and found[name].shape == array.shape
            np.testing.assert_array_equal(found[name], array)


def test_a_file_of_another_program_is_read(path):
    save_file({"scope.w": np.ones((2, 3), "f4"), "count": np.array(7)}, path, {"format": "pt"})
    assert gg.load(path, GRAPH)["count"] == 7


def test_what_the_graph_does_not_need_is_left_out(path):
    gg.save(path, {**gg.initial_state(GRAPH), "optimiser.w": np.ones(3)})
    assert set(gg.load(path, GRAPH)) == {"scope.w", "count"}


@pytest.mark.parametrize(
    ("state", "reason"),
    [
        ({"scope.w": np.ones((2, 3), "f4")}, "no array 'count'"),
        ({"scope.v": np.ones((2, 3), "f4"), "count": np.array(1)}, "did you mean 'scope.v'"),
        ({"scope.w": np.ones((3, 2), "f4"), "count": np.array(1)}, r"float32\[3, 2\] in the file"),
        ({"scope.w": np.ones((2, 3)), "count": np.array(1)}, r"float64\[2, 3\] in the file"),
    ],
)
def test_the_state_of_another_model_is_refused(path, state, reason):
    gg.save(path, state)
    with pytest.raises(CheckpointError, match=reason):
        gg.load(path, GRAPH)


def test_every_damaged_byte_is_noticed(path):
    state = gg.initial_state(GRAPH, 3)
    gg.save(path, state)
    whole = path.read_bytes()
    for place in range(len(whole)):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
        try:
            found = gg.load(path, GRAPH)
        except CheckpointError as error:
            assert error.where == str(path)
        else:  # a letter of the key under which the sum is kept, which is then another program's
            np.testing.assert_array_equal(found["scope.w"], state["scope.w"])
    for length in (0, 7, 8, 100, len(whole) - 1):
        path.write_bytes(whole[:length])
        with pytest.raises(CheckpointError, match="not a whole safetensors file"):
            gg.load(path)


def test_what_is_no_file_of_arrays(tmp_path, path):
    with pytest.raises(CheckpointError, match="no such file"):
        gg.load(path)
    with pytest.raises(CheckpointError, match="not a regular file"):
        gg.load(tmp_path)
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(CheckpointError, match="not a regular file"):
        gg.load(tmp_path / "pipe")
    import_of_others = b'{"w":{"dtype":"BF16","shape":[1],"data_offsets":[0,2]}}'
    path.write_bytes(len(import_of_others).to_bytes(8, "little") + import_of_others + b"\0\0")
    with pytest.raises(CheckpointError, match="w is BF16"):
        gg.load(path)


@pytest.mark.parametrize(
    "state", [{"w": [1.0]}, {"w": np.array(["a"])}, {"": np.ones(1)}, {"w": np.ones(1, "c8")}]
)
def test_what_cannot_be_saved_leaves_the_old_file(path, state):
    gg.save(path, {"w": np.ones(2)})
    with pytest.raises(CheckpointError):
        gg.save(path, state)
    assert gg.load(path)["w"].tolist() == [1, 1] and len(list(path.parent.iterdir())) == 1


def test_the_arguments_the_wrong_way_round(path):
    with pytest.raises(CheckpointError, match="the path comes first"):
        gg.save({"w": np.ones(2)}, path)


def test_a_folder_that_is_not_there(tmp_path):
    with pytest.raises(EnvironmentLimitError, match="no/state"):
        gg.save(tmp_path / "no" / "state.safetensors", {"w": np.ones(2)})
    assert not list(tmp_path.iterdir())
