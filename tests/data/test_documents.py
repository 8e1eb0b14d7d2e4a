"""Documents: how they are read, and what is held out."""

import gzip

import pytest

from graphgrad.data.documents import SEPARATOR, read_documents, split_documents
from graphgrad.errors import ConfigurationError, DataError


def texts(count, length=10):
    return [f"{number:0{length}}\n" for number in range(count)]


def test_every_document_is_on_one_side_and_whole():
    documents = texts(100)
    split = split_documents(documents, 0.2, seed=3)
    assert sorted(split.train + split.held_out) == documents
    assert len(split.held_out) == 20 and split.whole
    assert split_documents(documents, 0.2, seed=3) == split
    assert split_documents(documents, 0.2, seed=4).held_out != split.held_out


def test_the_share_is_one_of_characters():
    long = "x" * 900
    for seed in range(5):
        split = split_documents([*texts(20, 9), long], 0.4, seed)
        size = sum(map(len, split.held_out))
        # documents are taken until the share is reached: the last one may exceed it
        assert size >= 0.4 * 1100 or len(split.train) == 1
        assert size - len(split.held_out[-1]) < 0.4 * 1100 or long in split.held_out


def test_equal_documents_are_one_and_both_sides_have_some():
    split = split_documents(["a\n", "b\n", "a\n", " \n"], 0.01)
    assert sorted(split.train + split.held_out) == ["a\n", "b\n"]
    assert len(split.train) == len(split.held_out) == 1


def test_of_one_document_the_end_is_held_out():
    text = "".join(chr(97 + n % 26) for n in range(1000))
    split = split_documents([text], 0.1)
    assert split.train == (text[:900],) and split.held_out == (text[900:],)
    assert not split.whole and "the last 100 held out" in split.notice


@pytest.mark.parametrize("share", [0.0, 0.5, -0.1, float("nan")])
def test_a_share_that_makes_no_sense_is_refused(share):
    with pytest.raises(ConfigurationError, match="held out"):
        split_documents(texts(3), share)


@pytest.mark.parametrize("given", [[], ["  \n"], ["a"]])
def test_too_little_text_is_refused(given):
    with pytest.raises(DataError, match="text"):
        split_documents(given, 0.1)


def test_the_digest_tells_texts_and_sides_apart():
    one = split_documents(texts(10), 0.2)
    others = [split_documents(texts(10), 0.2, 1), split_documents(texts(11), 0.2)]
    assert len({each.digest() for each in (one, *others)}) == 3
    assert one.digest() == split_documents(texts(10), 0.2).digest()


def test_lines_with_the_separator_part_documents(tmp_path):
    path = tmp_path / "text.txt"
    path.write_bytes(f"one\r\ntwo\n{SEPARATOR}\n\n{SEPARATOR}\nthree {SEPARATOR}\n".encode())
    assert read_documents(path) == ["one\ntwo\n", f"three {SEPARATOR}\n"]
    assert len(read_documents(path, "two")) == 2


def test_a_folder_is_a_document_for_each_file(tmp_path):
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "two.txt").write_text("two")
    (tmp_path / "a.txt").write_bytes(gzip.compress(b"one\n"))
    (tmp_path / ".hidden").write_text("no")
    (tmp_path / "empty").write_text("")
    assert read_documents(tmp_path) == ["one\n", "two\n"]


@pytest.mark.parametrize(("content", "named"), [(b"\xff\n", "UTF-8"), (b"", "empty")])
def test_what_is_no_text_is_refused(tmp_path, content, named):
    path = tmp_path / "text.txt"
    path.write_bytes(content)
    with pytest.raises(DataError, match=named):
        read_documents(path)


def test_an_empty_folder_holds_no_text(tmp_path):
    with pytest.raises(DataError, match="no text"):
        read_documents(tmp_path)
