"""Runs the examples of the guide; as a program, lists those that differ or writes their outputs.

    python tests/guide_examples.py [TOPIC …]
    python tests/guide_examples.py --write [TOPIC …]

A block ```` ```python ```` with `>>>` is run, all blocks of a page in one namespace and in a folder
of their own. The pictures of a page are drawn by its examples. `--write` puts the outputs into the
pages and the pictures beside them; read the difference before you commit it. Replace text that
differs from machine to machine by `...` by hand.
"""

from __future__ import annotations

import contextlib
import doctest
import os
import re
import sys
import tempfile
import traceback
from dataclasses import dataclass
from pathlib import Path

from graphgrad.guide import GENERATED, TOPICS, Topic, guide_file

FOLDER = Path(__file__).parent.parent / "graphgrad" / "guide"
OPTIONS = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
FENCE = re.compile(r"^```(?P<info>[^\n]*)\n(?P<text>.*?)^```$", re.MULTILINE | re.DOTALL)
PICTURE = re.compile(r"!\[[^\]]*\]\((pictures/[^)]+)\)")


@dataclass(frozen=True)
class Difference:
    """An example whose output is not that of the page."""

    source: str
    wanted: str
    got: str

    def __str__(self) -> str:
        return f">>> {self.source}wanted:\n{self.wanted}got:\n{self.got}"


class _Collector(doctest.DocTestRunner):
    """Collects differences instead of printing them."""

    def __init__(self) -> None:
        super().__init__(optionflags=OPTIONS, verbose=False)
        self.differences: list[Difference] = []

    def report_failure(self, out, test, example, got):
        self.differences.append(Difference(example.source, example.want, got))

    def report_unexpected_exception(self, out, test, example, exc_info):
        got = "".join(traceback.format_exception(*exc_info))
        self.differences.append(Difference(example.source, example.want, got))


def blocks(text: str, info: str) -> list[str]:
    """The blocks of a page with this language and these options."""
    return [match["text"] for match in FENCE.finditer(text) if match["info"] == info]


def examples(text: str, info: str = "python") -> list[doctest.DocTest]:
    """The blocks of a page that are to be run."""
    parser = doctest.DocTestParser()
    return [
        parser.get_doctest(block, {}, f"block {number}", None, 0)
        for number, block in enumerate(blocks(text, info), 1)
        if ">>>" in block
    ]


def run(text: str, folder: Path, info: str = "python") -> list[Difference]:
    """Runs the examples of a page in a folder; gives what differs."""
    collector = _Collector()
    namespace: dict[str, object] = {"__name__": "guide"}
    with contextlib.chdir(folder):
        Path("pictures").mkdir(exist_ok=True)
        for test in examples(text, info):
            test.globs = namespace
            collector.run(test, out=lambda _: None, clear_globs=False)
    return collector.differences


def written(text: str, differences: list[Difference]) -> str:
    """The page with what its examples gave in the place of what it said."""
    place = 0
    for difference in differences:
        lines = difference.source.splitlines()
        source = "".join(
            f"{'... ' if n else '>>> '}{line}".rstrip() + "\n" for n, line in enumerate(lines)
        )
        found = text.index(source + difference.wanted, place)
        got = "".join(f"{line or '<BLANKLINE>'}\n" for line in difference.got.splitlines())
        text = text[:found] + source + got + text[found + len(source) + len(difference.wanted) :]
        place = found + len(source)
    return text


def handwritten() -> list[Topic]:
    """The topics that are files."""
    return [topic for topic in TOPICS if topic.name not in GENERATED]


def main(words: list[str]) -> int:
    """Says what differs, or writes it."""
    write = "--write" in words
    wanted = [word for word in words if not word.startswith("--")]
    failed = 0
    for topic in handwritten():
        if wanted and topic.name not in wanted:
            continue
        with tempfile.TemporaryDirectory() as folder:
            text = guide_file(f"{topic.name}.md")
            differences = run(text, Path(folder))
            if write:
                file = FOLDER / f"{topic.name}.md"
                file.write_text(written(text, differences), encoding="utf-8")
                for picture in PICTURE.findall(text):
                    (FOLDER / picture).write_bytes((Path(folder) / picture).read_bytes())
        for difference in differences:
            failed += 1
            print(f"-- {topic.name}\n{difference}")
    print(f"{failed} examples differ{', written' if write and failed else ''}")
    return bool(failed and not write)


if __name__ == "__main__":
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    sys.exit(main(sys.argv[1:]))
