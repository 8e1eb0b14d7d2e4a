import gzip
import unicodedata
from pathlib import Path

import pytest

from graphgrad.data.lines import read_lines
from graphgrad.data.text import read_corpus, read_parallel
from graphgrad.data.vocabulary import normal_form
from graphgrad.errors import ConfigurationError, DataError


def write(folder: Path, name: str, content: str | bytes) -> Path:
    path = folder / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def numbered(folder: Path, count: int) -> tuple[Path, Path]:
    source = write(folder, "source", "".join(f"s{n}\n" for n in range(count)))
    target = write(folder, "target", "".join(f"t{n}\n" for n in range(count)))
    return source, target


def test_pairs_stay_together_and_each_is_on_one_side(tmp_path: Path) -> None:
    corpus = read_parallel(*numbered(tmp_path, 100), validation_share=0.1)
    assert (len(corpus.train), len(corpus.validation), len(corpus.test)) == (80, 10, 10)
    everything = [*corpus.train, *corpus.validation, *corpus.test]
    assert sorted(everything) == sorted((f"s{n}", f"t{n}") for n in range(100))
    assert corpus == read_parallel(*numbered(tmp_path, 100), validation_share=0.1)
    assert corpus.test != read_parallel(*numbered(tmp_path, 100), 0.1, seed=1).test


def test_equal_sources_are_on_one_side(tmp_path: Path) -> None:
    source = write(tmp_path, "source", "a\nb\nc\nd\n" * 5)
    target = write(tmp_path, "target", "".join(f"{n}\n" for n in range(20)))
    corpus = read_parallel(source, target)
    sides = [{s for s, _ in part} for part in (corpus.train, corpus.validation, corpus.test)]
    assert sorted(len(side) for side in sides) == [1, 1, 2]
    assert len(set.union(*sides)) == 4


def test_twins_that_differ_in_normal_form_or_spaces_are_on_one_side(tmp_path: Path) -> None:
    """As the model sees them they are one sentence, so one of them in training tells the other."""
    words = [f"é{n} cat" for n in range(60)]
    twins = [unicodedata.normalize("NFD", word) for word in words]
    spaced = [f"  {word.replace(' ', chr(9) + ' ')} " for word in words]
    source = write(tmp_path, "source", "\n".join([*words, *twins, *spaced]))
    corpus = read_parallel(source, source, 0.1)
    sides = [
        {normal_form(line, "whitespace") for line, _ in part}
        for part in (corpus.train, corpus.validation, corpus.test)
    ]
    assert [len(side) for side in sides] == [48, 6, 6] and len(set.union(*sides)) == 60
    assert [len(corpus.train), len(corpus.test)] == [144, 18]


def test_three_lines_are_enough_and_two_are_not(tmp_path: Path) -> None:
    corpus = read_parallel(*numbered(tmp_path, 3))
    assert [len(p) for p in (corpus.train, corpus.validation, corpus.test)] == [1, 1, 1]
    with pytest.raises(DataError, match="too few"):
        read_parallel(*numbered(tmp_path, 2))


def test_explicit_files_replace_what_is_held_out(tmp_path: Path) -> None:
    files = write(tmp_path, "v.source", "x\n"), write(tmp_path, "v.target", "y\n")
    corpus = read_parallel(*numbered(tmp_path, 1), validation=files, test=files)
    assert corpus.train == (("s0", "t0"),)
    assert corpus.validation == corpus.test == (("x", "y"),)
    corpus = read_parallel(*numbered(tmp_path, 10), validation=files)
    assert (len(corpus.train), len(corpus.test)) == (9, 1)


def test_blank_pairs_are_dropped_and_counted(tmp_path: Path) -> None:
    source = write(tmp_path, "source", "a\n\nb\nc\nd\n")
    target = write(tmp_path, "target", "1\n2\n \n3\n4\n")
    assert read_parallel(source, target).notice == (
        "2 of 5 pairs have a blank side and are left out (lines 2, 3)"
    )
    many = write(tmp_path, "many", "a\nb\nc\n" + "\n" * 9)
    expected = "9 of 12 pairs have a blank side and are left out (lines 4, 5, 6, 7, 8, …)"
    assert read_parallel(many, many).notice == expected
    assert read_parallel(*numbered(tmp_path, 3)).notice == ""
    held_out = read_parallel(*numbered(tmp_path, 5), validation=(many, many)).notice
    assert held_out == expected.replace("pairs", "pairs for validation")
    blank = write(tmp_path, "blank", "\n" * 5)
    with pytest.raises(DataError, match="none of the 5 pairs"):
        read_parallel(blank, target)


def test_line_ends_marks_and_compression(tmp_path: Path) -> None:
    content = "\ufeffé one\r\ntwo\u2028still two\nlast".encode()
    expected = ["é one", "two\u2028still two", "last"]
    assert read_lines(write(tmp_path, "plain", content)) == expected
    assert read_lines(write(tmp_path, "packed.gz", gzip.compress(content))) == expected


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"", "empty"),
        (b"good\nbad \xff\n", "byte 0xff at place 5 of the line\n.*damaged, line 2"),
        (b"\xef\xbb\xbfgo\xff\n", "byte 0xff at place 3 of the line\n.*damaged, line 1"),
        (gzip.compress(b"hello" * 100)[:-9], "gzip file is damaged"),
        (gzip.compress(b"hello")[:10] + b"\xff" * 9, "gzip file is damaged"),
        (b"\x1f\x8b", "gzip file is damaged"),
        (gzip.compress(b""), "empty"),
    ],
)
def test_unusable_files_are_named(tmp_path: Path, content: bytes, problem: str) -> None:
    path = write(tmp_path, "damaged", content)
    with pytest.raises(DataError, match=problem) as caught:
        read_lines(path)
    assert caught.value.where.startswith(str(path)) and caught.value.fix


def test_missing_files_and_directories_are_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no such file"):
        read_lines(tmp_path / "missing")
    with pytest.raises(DataError, match="directory"):
        read_lines(tmp_path)
    with pytest.raises(DataError, match="cannot be read"):
        read_lines(tmp_path / ("x" * 5000))


def test_lines_that_do_not_align_are_counted(tmp_path: Path) -> None:
    source, _ = numbered(tmp_path, 5)
    target = write(tmp_path, "short", "a\nb\n")
    with pytest.raises(DataError, match="5 source lines, 2 target lines"):
        read_parallel(source, target)


@pytest.mark.parametrize("share", [0.0, 0.5, -1.0, float("nan")])
def test_a_senseless_share_is_refused(tmp_path: Path, share: float) -> None:
    with pytest.raises(ConfigurationError, match="validation_share"):
        read_parallel(*numbered(tmp_path, 9), validation_share=share)


def test_pairs_for_evaluation_that_are_trained_on_are_told(tmp_path: Path) -> None:
    """Whatever their spaces: as the model sees them they are the same."""
    source = write(tmp_path, "v.source", "x\n s3 \nx\ns5\ns6\n")
    target = write(tmp_path, "v.target", "y\nt3\ny\nt5\nother\n")
    notice = read_parallel(*numbered(tmp_path, 9), validation=(source, target)).notice
    kept = {line for line, _ in read_parallel(*numbered(tmp_path, 9), test=(source, target)).train}
    assert kept & {"s3", "s5"}
    assert notice.startswith(("2 of 5", "1 of 5")) and "for validation are in training" in notice
    both = read_parallel(*numbered(tmp_path, 9), validation=(source, target), test=(source, target))
    assert "2 of 5 pairs for validation are in training, too (lines 2, 4)" in both.notice
    assert "2 of 5 pairs for test are in training, too (lines 2, 4)" in both.notice


def test_a_number_of_lines_can_be_held_out(tmp_path: Path) -> None:
    path = write(tmp_path, "one", "".join(f"s{n}\tt{n}\n" for n in range(40)))
    corpus = read_corpus(path, held_out=7)
    assert [len(p) for p in (corpus.train, corpus.validation, corpus.test)] == [26, 7, 7]
    with pytest.raises(DataError, match="too few") as error:
        read_corpus(path, held_out=20)
    assert "held_out" in error.value.fix
    with pytest.raises(ConfigurationError, match="held_out"):
        read_corpus(path, held_out=1.5)


def test_columns_that_are_not_looked_at_are_told(tmp_path: Path) -> None:
    path = write(tmp_path, "one", "".join(f"s{n}\tt{n}\tCC-BY\n" for n in range(4)))
    assert "up to 3 columns" in read_corpus(path).notice
