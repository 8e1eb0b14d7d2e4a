"""What is told a person who waits while data are read: each stage, and how much of it is done."""

import pytest

from graphgrad.data.parallel import read_pairs
from graphgrad.data.text import read_corpus
from graphgrad.errors import DataError
from graphgrad.models.transformer import Settings
from graphgrad.training import translation_data
from graphgrad.training.data_progress import CUT, LEARNT, READ, cutting, reading
from graphgrad.training.translation_data import load_data
from graphgrad.training.waiting import Waiting

LINE = "x" * 99


@pytest.fixture
def big(tmp_path):
    """Two files of 6 MB and one of 3 MB."""
    paths = [tmp_path / name for name in ("a.en", "a.de", "v.tsv")]
    for number, path in enumerate(paths[:2]):
        path.write_text("".join(f"{LINE[:90]} {n + number:07d}\n" for n in range(60_000)))
    paths[2].write_text("".join(f"{LINE[:40]} {n:07d}\t{LINE[:50]}\n" for n in range(30_000)))
    return paths


def test_the_bytes_of_all_files_are_counted_together(big):
    said = []
    places = [(big[0], big[1]), big[2], None]
    watch = reading(lambda *words: said.append(words), places)
    for place in places[:2]:
        read_pairs(place, watch)
    total = sum(path.stat().st_size for path in big) // 10**6
    assert {stage for stage, _, _ in said} == {READ} and {words[2] for words in said} == {total}
    assert [words[1] for words in said] == sorted(words[1] for words in said)
    assert said[-1] == (READ, total, total) and len(said) > total
    nothing = reading(lambda *words: said.append(words), ["/dev/stdin", big[0].parent / "none"])
    nothing(10)
    assert said[-1] == (READ, total, total)
    cutting(lambda *words: said.append(words), 7)(3)
    assert said[-1] == (CUT, 3, 7)


def test_who_waits_for_a_corpus_is_told_each_stage(tmp_path, monkeypatch):
    said = []

    class Told(Waiting):
        def __call__(self, stage, done, total):
            said.append((stage, done, total))

    monkeypatch.setattr(translation_data, "Waiting", Told)
    rows = [f"word{n} and more" for n in range(40)]
    for name in ("a.en", "a.de"):
        (tmp_path / name).write_text("".join(f"{row}\n" for row in rows))
    settings = Settings(source=str(tmp_path / "a.en"), target=str(tmp_path / "a.de"))
    data = load_data(settings, {})
    assert list(dict.fromkeys(stage for stage, _, _ in said)) == [READ, LEARNT, CUT]
    lines = 2 * len(data.corpus.train)
    assert said[-1] == (CUT, lines, lines)
    said.clear()
    again = load_data(settings, data.files())
    assert not said  # the vocabularies are known, and nobody has asked for the pairs
    again.batches()
    assert said[-1] == (CUT, lines, lines)


def test_bytes_that_are_another_encoding_are_named_before_lines_that_do_not_align(tmp_path):
    source, target = tmp_path / "a.en", tmp_path / "a.de"
    target.write_text("eins\nzwei\n")
    for encoding, likely in (("utf-16", "UTF-16"), ("cp1252", "LATIN1")):
        source.write_bytes("für\nfünf\nzehn\nelf\n".encode(encoding))
        with pytest.raises(DataError, match="this is not UTF-8") as caught:
            read_corpus((source, target))
        assert f"iconv -f {likely} -t UTF-8" in caught.value.fix


def test_bleu_of_a_text_without_spaces_is_doubted(tmp_path):
    for name, line in (("a.en", "good morning {}"), ("a.zh", "早上好{}"), ("a.fr", "bon jour {}")):
        (tmp_path / name).write_text("".join(f"{line.format(n)}\n" for n in range(20)))
    names = {"source": str(tmp_path / "a.en"), "target": str(tmp_path / "a.zh")}
    assert "--set bleu=zh" in load_data(Settings(**names), {}).notice
    assert not load_data(Settings(**names, bleu="zh"), {}).notice.count("bleu")
    names["target"] = str(tmp_path / "a.fr")
    assert not load_data(Settings(**names), {}).notice.count("bleu")
