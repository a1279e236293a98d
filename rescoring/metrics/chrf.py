"""chrF: character n-gram matches of many hypotheses at once, and sacrebleu's F score of summed counts."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sacrebleu.metrics.chrf import CHRF

from rescoring.metrics.base import (
    VARIOUS,
    References,
    Report,
    check_references,
    check_rows,
    check_segments,
    reference_streams,
    unique_pairs,
)
from rescoring.metrics.ngrams import clipped_matches

ORDER = 6  # Popovic 2015; sacrebleu's default
BETA = 2  # recall counts twice; sacrebleu's default
BLOCK = 1 << 14  # texts at a time: a text has several hundred n-grams


class Chrf:
    """Corpus chrF2, sacrebleu's defaults: six characters, no white space, no words. `lowercase` ignores case.

    Of several references the one with the best F score of the text alone counts, as sacrebleu has it.
    """

    name = "chrf"
    larger_is_better = True
    separable = False
    count_names = tuple(
        f"{what}_{n}" for n in range(1, ORDER + 1) for what in ("ngrams", "reference_ngrams", "matches")
    )

    def __init__(self, lowercase: bool = False) -> None:
        self.lowercase = lowercase

    @property
    def signature(self) -> str:
        """sacrebleu's signature without the number of references."""
        scorer = self._sacrebleu()
        scorer.num_refs = 1
        signature = scorer.get_signature()
        signature.update("nrefs", None)
        return str(signature)

    def signature_for(self, references: References) -> str:
        """sacrebleu's signature, as it stands in its reports on these references."""
        numbers = {len(several) for several in references}
        scorer = self._sacrebleu()
        scorer.num_refs = numbers.pop() if len(numbers) == 1 else VARIOUS
        return str(scorer.get_signature())

    def counts(
        self, texts: Sequence[str], segments: NDArray[np.int64], references: References
    ) -> NDArray[np.int64]:
        """(N, 18) for each order the text's n-grams, the reference's, and the matches."""
        check_rows(texts, segments, references)
        check_references(references)
        first, inverse = unique_pairs(texts, segments)
        counts = np.zeros((len(first), 3 * ORDER), dtype=np.int64)
        spelt = [[self._characters(text) for text in several] for several in references]
        for start in range(0, len(first), BLOCK):
            rows = first[start : start + BLOCK]
            block = [self._characters(texts[row]) for row in rows]
            counts[start : start + BLOCK] = self._best_counts(block, segments[rows], spelt)
        return counts[inverse]

    def score(self, sums: NDArray[Any]) -> NDArray[np.float64]:
        """chrF 0 to 100 (...) of sums (..., 18); ``CHRF._compute_f_score`` for whole arrays."""
        sums = np.asarray(sums, dtype=np.float64)
        ours, theirs, matches = (sums[..., k::3] for k in range(3))  # (..., 6)
        counted = (ours > 0) & (theirs > 0)
        orders = np.maximum(counted.sum(axis=-1), 1)
        precision, recall = (
            np.where(counted, matches / np.maximum(total, 1.0), 0.0).sum(axis=-1) / orders
            for total in (ours, theirs)
        )
        below = BETA**2 * precision + recall
        above = (1 + BETA**2) * precision * recall
        return np.asarray(100.0 * np.divide(above, below, out=np.zeros_like(below), where=below > 0))

    def report(self, texts: Sequence[str], references: References) -> Report:
        """sacrebleu's ``corpus_score`` and signature."""
        check_segments(texts, references)
        check_references(references)
        scorer = self._sacrebleu()
        result = scorer.corpus_score(list(texts), reference_streams(references))
        return Report(float(result.score), str(scorer.get_signature()))

    def _best_counts(
        self, texts: list[str], segments: NDArray[np.int64], references: list[list[str]]
    ) -> NDArray[np.int64]:
        """(B, 18) counts against the reference with which each text scores best; of equals the first."""
        best, highest = np.zeros((len(texts), 3 * ORDER), dtype=np.int64), np.full(len(texts), -1.0)
        numbers = np.array([len(several) for several in references])[segments]
        for k in range(int(numbers.max(initial=0))):
            has = np.flatnonzero(numbers > k)
            wanted, place = np.unique(segments[has], return_inverse=True)
            kth = [[references[segment][k]] for segment in wanted.tolist()]
            matches, lengths = clipped_matches((texts[row] for row in has), place, kth, ORDER)
            ours = np.maximum(lengths[:, None] - np.arange(ORDER), 0)  # (B, 6)
            sizes = np.array([len(one) for (one,) in kth])[place]
            theirs = np.maximum(sizes[:, None] - np.arange(ORDER), 0)
            ours[theirs == 0] = 0  # sacrebleu: no n-gram counts where the reference has none
            found = np.stack([ours, theirs, matches], axis=-1).reshape(len(has), -1)
            scores = self.score(found)
            better = scores > highest[has]
            best[has[better]], highest[has[better]] = found[better], scores[better]
        return best

    def _characters(self, text: str) -> str:
        """sacrebleu's way from a text to its characters."""
        return "".join((text.lower() if self.lowercase else text).split())

    def _sacrebleu(self) -> Any:
        return CHRF(lowercase=self.lowercase)
