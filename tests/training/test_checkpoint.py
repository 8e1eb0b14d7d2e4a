"""Checkpoints: what was saved comes back, and the right ones are kept and found."""

import json

import numpy as np
import pytest
from checkpoints import assert_is, names_in, save
from safetensors.numpy import load_file

from graphgrad.errors import CheckpointError, DataError
from graphgrad.strict_json import parse_json
from graphgrad.training.checkpoint import checkpoint_steps, load_checkpoint, save_checkpoint
from graphgrad.training.checkpoint_format import DTYPES, MANIFEST, STATE

pytestmark = pytest.mark.usefixtures("no_waiting_for_the_disk")


def test_every_allowed_array_comes_back_as_it_was(tmp_path):
    arrays = {dtype: np.arange(6).reshape(2, 3).astype(dtype) for dtype in DTYPES}
    arrays |= {
        "transposed": np.arange(12.0).reshape(3, 4).T,
        "strided": np.arange(20, dtype=np.int32)[::3],
        "fortran": np.asfortranarray(np.arange(6.0).reshape(2, 3)),
        "swapped": np.arange(5, dtype=">f4"),
        "scalar": np.array(2.5),
        "empty": np.zeros((0, 3), np.float16),
        "special": np.array([np.nan, np.inf, -0.0], np.float32),
        'quote" \\ ü/中\n': np.ones(1),
    }
    path = save_checkpoint(tmp_path / "checkpoints", 12, arrays, {"a": 1})
    found = load_checkpoint(tmp_path / "checkpoints")
    assert path.name == "step-000000012" and found.path == path and found.warnings == ()
    assert list(found.arrays) == list(arrays)
    other_reader = load_file(path / STATE)
    for name, array in arrays.items():
        got = found.arrays[name]
        assert got.dtype == array.dtype.newbyteorder("=") and got.shape == array.shape
        assert got.flags.writeable
        np.testing.assert_array_equal(got, array)
        np.testing.assert_array_equal(other_reader[name], array)


def test_every_array_starts_at_a_multiple_of_its_element(tmp_path):
    arrays = {f"{dtype}.{size}": np.ones(size, dtype) for dtype in DTYPES for size in (1, 3)}
    content = (save_checkpoint(tmp_path, 1, arrays, {}) / STATE).read_bytes()
    length = int.from_bytes(content[:8], "little")
    assert length % 8 == 0
    for name, entry in json.loads(content[8 : 8 + length]).items():
        assert entry["data_offsets"][0] % arrays[name].itemsize == 0


def test_no_arrays_and_no_details_are_a_state_too(tmp_path):
    save_checkpoint(tmp_path, 0, {}, {})
    found = load_checkpoint(tmp_path)
    assert (found.step, found.arrays, found.details) == (0, {}, {})


def test_the_manifest_is_strict_json_with_hash_size_dtype_and_shape(tmp_path):
    path = save(tmp_path, 7)
    manifest = parse_json((path / MANIFEST).read_bytes())
    assert manifest["files"][STATE]["bytes"] == (path / STATE).stat().st_size
    assert manifest["step"] == 7 and manifest["version"] == 1
    assert manifest["arrays"][0] == {
        "name": "encoder.0.weight",
        "dtype": "float32",
        "shape": [3, 4],
    }


def test_the_newest_is_found_by_number_not_by_text(tmp_path):
    for step in (999_999_999, 1_000_000_000):
        save(tmp_path, step)
    assert load_checkpoint(tmp_path).step == 1_000_000_000
    assert checkpoint_steps(tmp_path) == (999_999_999, 1_000_000_000)


def test_the_last_few_are_kept(tmp_path):
    for step in range(1, 7):
        save(tmp_path, step, keep=2)
    assert names_in(tmp_path) == ["step-000000005", "step-000000006"]


def test_one_step_can_be_asked_for(tmp_path):
    for step in (1, 2, 3):
        save(tmp_path, step)
    assert_is(load_checkpoint(tmp_path, step=2), 2)
    with pytest.raises(CheckpointError, match="no checkpoint of step 9") as caught:
        load_checkpoint(tmp_path, step=9)
    assert "1, 2, 3" in caught.value.fix


def test_a_step_saved_again_stands_beside_the_first_until_it_is_complete(tmp_path):
    first = save(tmp_path, 5)
    second = save_checkpoint(tmp_path, 5, {"new": np.ones(2)}, {})
    assert second.name == "step-000000005-2" and not first.exists()
    assert list(load_checkpoint(tmp_path, step=5).arrays) == ["new"]
    assert save(tmp_path, 5).name == "step-000000005-3"
    assert names_in(tmp_path) == ["step-000000005-3"]


def test_saving_gives_up_the_future_that_the_run_left(tmp_path):
    for step in (10, 20, 30):
        save(tmp_path, step)
    save(tmp_path, 15)
    assert checkpoint_steps(tmp_path) == (10, 15)
    assert_is(load_checkpoint(tmp_path), 15)


def test_foreign_entries_are_left_alone(tmp_path):
    (tmp_path / "step-000000009").write_text("a file")
    (tmp_path / "step-9").mkdir()
    (tmp_path / "notes").mkdir()
    save(tmp_path, 9)
    assert_is(load_checkpoint(tmp_path), 9)
    assert names_in(tmp_path) == ["notes", "step-000000009", "step-000000009-2", "step-9"]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((-1, {}, {}), "step of a checkpoint is a whole number from 0, not -1"),
        ((True, {}, {}), "not True"),
        ((1.0, {}, {}), "not 1.0"),
        ((1, {}, {}, 0), "keep, .* whole number from 1, not 0"),
        ((1, {"a": [1]}, {}), "a is a list"),
        ((1, {"a": np.array([None])}, {}), "a has the dtype object"),
        ((1, {"a": np.zeros(1, np.complex128)}, {}), "complex128"),
        ((1, {"a": np.zeros(1, "f4,i4")}, {}), "void64"),
        ((1, {"": np.ones(1)}, {}), "called ''"),
        ((1, {"__metadata__": np.ones(1)}, {}), "called '__metadata__'"),
        ((1, {"\ud800": np.ones(1)}, {}), "called"),
        ((1, {}, {"loss": float("nan")}), "details.loss is nan"),
    ],
)
def test_what_cannot_be_saved_is_refused_before_the_disk_is_touched(tmp_path, arguments, words):
    with pytest.raises((CheckpointError, DataError), match=words):
        save_checkpoint(tmp_path / "checkpoints", *arguments)
    assert names_in(tmp_path) == []


def test_nothing_there_is_a_clear_error(tmp_path):
    for folder in (tmp_path, tmp_path / "missing"):
        with pytest.raises(CheckpointError, match="there is no checkpoint") as caught:
            load_checkpoint(folder)
        assert caught.value.where == str(folder) and "new run" in caught.value.fix
    assert checkpoint_steps(tmp_path / "missing") == ()
