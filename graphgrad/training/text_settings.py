"""The settings of a model that translates: where its text lies, what a token is, and batches."""

from __future__ import annotations

from dataclasses import dataclass

from graphgrad.data.builtin import BUILTIN, BuiltinText
from graphgrad.data.parallel import Place
from graphgrad.data.tokens import KINDS
from graphgrad.errors import ConfigurationError
from graphgrad.training.setting_values import at_least, below, one_of
from graphgrad.training.settings import TrainingSettings

PARTS = ("", "validation_", "test_")
FILES = tuple(f"{part}{name}" for part in PARTS for name in ("source", "target", "pairs"))
"""The settings that name files of text; on the command line `--validation-source` and so on."""
BLEU_TOKENS = ("", "13a", "zh", "char", "intl", "none")
_MOST = 1 << 30


@dataclass(frozen=True)
class TextSettings(TrainingSettings):
    """What a model that translates adds to the settings of every run."""

    data: str = "dates"
    """Where no files are given: dates, as people write them in twelve languages, or names of
    territories, languages, scripts and currencies in 182 languages."""
    source: str = ""
    """A file of source lines, plain or gzip; empty: the built-in `data`."""
    target: str = ""
    """A file of target lines, aligned with `source`."""
    pairs: str = ""
    """One file instead of the two: a pair a line, with a tab between its sides."""
    validation_source: str = ""
    """A file of source lines to look at while training; empty: some are held out."""
    validation_target: str = ""
    """The lines aligned with `validation_source`."""
    validation_pairs: str = ""
    """One tab-separated file instead of these two."""
    test_source: str = ""
    """A file of source lines for the evaluation at the end; empty: some are held out."""
    test_target: str = ""
    """The lines aligned with `test_source`."""
    test_pairs: str = ""
    """One tab-separated file instead of these two."""
    held_out: float = 0.05
    """For validation and for test each, where they have no files: a share of the distinct source
    lines, or from 1 on their number."""
    validation_size: int = 200
    """How many pairs of validation are looked at while training goes on; 0: all."""
    bleu: str = ""
    """How sacrebleu cuts words for BLEU: 13a, zh, char, intl, or none for text that is tokenised
    already; empty: 13a, and none for presplit tokens."""
    tokens: str = "characters"
    """What a token is: words (between white space), characters, bpe (byte pairs learnt from the
    corpus or read from `tokenizer`), or presplit (words whose pieces end with @@)."""
    tokenizer: str = ""
    """A tokenizer.json to read byte pairs from, for both sides; empty: learn them."""
    joint: bool = False
    """One vocabulary for both sides, learnt from both."""
    maximum_vocabulary: int = 10000
    """How many tokens each side knows, the most frequent ones; others are unknown."""
    maximum_length: int = 128
    """Pairs with more tokens than that, the end counted, are left out."""
    batch_tokens: int = 0
    """Tokens in a batch, padding counted, on its longer side; 0: `batch_size` examples."""
    buckets: int = 8
    """With `batch_tokens`: how many shapes batches have, for each of which a program is compiled.
    More shapes, less padding."""

    def __post_init__(self) -> None:
        TrainingSettings.__post_init__(self)
        one_of("data", self.data, tuple(BUILTIN))
        one_of("tokens", self.tokens, tuple(KINDS))
        one_of("bleu", self.bleu, BLEU_TOKENS)
        for name, least in (
            ("maximum_length", 1),
            ("buckets", 1),
            ("batch_tokens", 0),
            ("validation_size", 0),
        ):
            at_least(name, getattr(self, name), least)
            below(name, getattr(self, name), 1000 if name == "buckets" else _MOST)
        if not (0 < self.held_out < 0.5 or (self.held_out >= 1 and self.held_out % 1 == 0)):
            raise ConfigurationError(
                f"held_out is {self.held_out}",
                fix="a share of the lines above 0 and below 0.5, or a number of them",
            )
        if self.tokenizer and self.tokens != "bpe":
            raise ConfigurationError(
                f"a tokenizer is given, and tokens are {self.tokens}", fix="--set tokens=bpe"
            )
        for part in PARTS:
            self.place(part)
        if not self.reads_files and any(getattr(self, name) for name in FILES):
            raise ConfigurationError(
                "files for validation or test are given, and none to train on",
                fix="give --source and --target, or --pairs",
            )

    @property
    def reads_files(self) -> bool:
        """Whether there is text of the user's own."""
        return bool(self.source or self.pairs)

    @property
    def builtin(self) -> BuiltinText | None:
        """The built-in corpus; None where there is text of the user's own."""
        return None if self.reads_files else BUILTIN[self.data]

    def place(self, part: str = "") -> Place | None:
        """Where the text of a part lies ("", "validation_" or "test_"); None where none is named.

        Raises ConfigurationError where one of two files is missing, or both forms are given.
        """
        source, target, pairs = (
            getattr(self, f"{part}{name}") for name in ("source", "target", "pairs")
        )
        if pairs and (source or target):
            given = [f"{part}{name}" for name in ("source", "target") if getattr(self, part + name)]
            raise ConfigurationError(
                f"{' and '.join(given)} {'are' if given[1:] else 'is'} given, and {part}pairs too",
                fix="give two aligned files, or one tab-separated",
            )
        if bool(source) != bool(target):
            raise ConfigurationError(
                f"{part}source and {part}target belong together", fix="give both files"
            )
        return (source, target) if source else pairs or None
