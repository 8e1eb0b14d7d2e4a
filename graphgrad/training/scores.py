"""BLEU and chrF of translations, by sacrebleu, which says how each was computed.

A BLEU depends on how words are cut. Its signature says so and stands wherever the figure does; one
of text that is tokenised already is not comparable with others, and is called `tokenised_bleu`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from sacrebleu.metrics.bleu import BLEU
from sacrebleu.metrics.chrf import CHRF

LENGTH_RATIO = "length_ratio"
_ANY_LINE = ["a"]  # a signature is known once something was scored


@dataclass(frozen=True)
class Scorer:
    """Figures of translations beside their references.

    `words` is sacrebleu's name of how words are cut: 13a, zh, char, intl or none.
    """

    words: str = "13a"

    @property
    def bleu_name(self) -> str:
        """What the BLEU is called."""
        return "tokenised_bleu" if self.words == "none" else "bleu"

    def score(self, translations: Sequence[str], references: Sequence[str]) -> dict[str, float]:
        """BLEU and chrF of the corpus, from 0 to 100, and words per word of the references."""
        if not references:
            return {}
        given, wanted = list(translations), [list(references)]
        bleu = self._bleu().corpus_score(given, wanted)
        return {
            self.bleu_name: float(bleu.score),
            "chrf": self.chrf(translations, references),
            LENGTH_RATIO: bleu.sys_len / max(bleu.ref_len, 1),
        }

    def chrf(self, translations: Sequence[str], references: Sequence[str]) -> float:
        """The chrF of the corpus alone; 0 for none."""
        if not references:
            return 0.0
        return float(CHRF().corpus_score(list(translations), [list(references)]).score)

    def signatures(self) -> Mapping[str, str]:
        """How each figure is computed, in sacrebleu's words."""
        found = {}
        for name, metric in ((self.bleu_name, self._bleu()), ("chrf", CHRF())):
            metric.corpus_score(_ANY_LINE, [_ANY_LINE])
            found[name] = str(metric.get_signature())
        return found

    def _bleu(self) -> BLEU:
        # `force` keeps it from warning of tokenised text, which is called so here
        return BLEU(tokenize=self.words, force=True)
