"""Event files: read back by TensorBoard's own reader where it is there, and by hand."""

import os
import struct

import pytest
from small_runs import QUIET, Model, again, interrupt, new

from graphgrad.training.tensorboard import FOLDER, EventWriter, crc32c, tags_of
from graphgrad.training.trainer import train


@pytest.fixture(autouse=True)
def no_waiting_for_the_disk(monkeypatch):
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)


def records(path):
    """The messages of a record file, each checked by both of its sums."""

    def masked(data):
        value = crc32c(data)
        return (((value >> 15) | (value << 17)) + 0xA282EAD8) & 0xFFFFFFFF

    data, place = path.read_bytes(), 0
    while place < len(data):
        (length,) = struct.unpack_from("<Q", data, place)
        assert struct.unpack_from("<I", data, place + 8) == (masked(data[place : place + 8]),)
        content = data[place + 12 : place + 12 + length]
        assert struct.unpack_from("<I", data, place + 12 + length) == (masked(content),)
        yield content
        place += length + 16


def test_the_check_is_that_of_the_standard():
    """RFC 3720, appendix B.4."""
    assert crc32c(bytes(32)) == 0x8A9136AA
    assert crc32c(b"\xff" * 32) == 0x62A8AB43
    assert crc32c(bytes(range(32))) == 0x46DD794E
    assert crc32c(b"123456789") == 0xE3069283


def test_figures_have_tags_and_the_rest_is_left_out():
    record = {
        "step": 7,
        "loss": 2.5,
        "held_out_bleu": 31,
        "held_out_loss": float("nan"),
        "signatures": {},
        "samples": ["a"],
    }
    assert tags_of(record) == {"training/loss": 2.5, "held_out/bleu": 31.0}


def test_the_bytes_of_an_event_are_those_of_the_format(tmp_path):
    writer = EventWriter(tmp_path / "events", 300, clock=lambda: 1.5)
    writer.add({"step": 301, "loss": 0.5})
    version, start, event = records(writer.path)
    wall = b"\x09" + struct.pack("<d", 1.5)
    assert version == wall + b"\x10\x00" + b"\x1a\x0dbrain.Event:2"
    assert start == wall + b"\x10\xad\x02" + b"\x3a\x02\x08\x01"
    value = b"\x0a\x0dtraining/loss\x15" + struct.pack("<f", 0.5)
    summary = b"\x0a" + bytes([len(value)]) + value
    assert event == wall + b"\x10\xad\x02" + b"\x2a" + bytes([len(summary)]) + summary


def test_tensorboards_own_reader_reads_a_run_that_was_stopped(tmp_path):
    reader = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    model = Model()
    model.before_step = lambda n, feeds: interrupt() if n == 6 else None
    run = new(model, tmp_path / "run", tensorboard=True)
    assert train(run, progress=QUIET()).step == 7
    model.before_step = lambda n, feeds: None
    train(again(model, tmp_path / "run", step=5), progress=QUIET())  # steps 6 and 7 are done again
    found = reader.EventAccumulator(str(tmp_path / "run" / FOLDER))
    found.Reload()
    metrics = run.folder.metrics()
    events = found.Scalars("training/loss")
    assert [event.step for event in events] == list(range(1, 13))
    assert [event.value for event in events] == pytest.approx([line["loss"] for line in metrics])
    assert [event.step for event in found.Scalars("held_out/loss")] == [4, 8]


def test_a_run_writes_none_unless_asked(tmp_path):
    run = new(Model(), tmp_path / "run")
    train(run, progress=QUIET())
    assert not (tmp_path / "run" / FOLDER).exists()
    asked = new(Model(), tmp_path / "asked", tensorboard=True)
    train(asked, progress=QUIET())
    (file,) = (tmp_path / "asked" / FOLDER).iterdir()
    assert len(list(records(file))) == 2 + 12
