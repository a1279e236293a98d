"""BLEU: sacrebleu's sufficient statistics for every hypothesis, and sacrebleu's formula on their sums.

The counts are those of ``sacrebleu.metrics.BLEU`` in its own order: hypothesis length, closest reference
length, matches of order 1 to 4, n-grams of order 1 to 4. `report` goes through sacrebleu itself.
"""

from collections.abc import Callable, Sequence
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray
from sacrebleu.metrics.bleu import BLEU

from nbest.errors import ConfigError
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

ORDER = 4  # Papineni et al. 2002; sacrebleu's default
PERFECT = 100.0  # the logarithms' rounding goes beyond it
TOKENIZERS = ("none", "13a", "intl", "char", "zh")  # those of sacrebleu's that download nothing


class Bleu:
    """Corpus BLEU-4, exponential smoothing, closest reference length: sacrebleu's defaults.

    `tokenize` is sacrebleu's: ``none`` for text that is tokenised already (what decoders' lists hold),
    ``13a`` for plain text. `lowercase` compares without case.
    """

    name = "bleu"
    larger_is_better = True
    separable = False
    count_names = (
        "hypothesis_length",
        "reference_length",
        *(f"matches_{n}" for n in range(1, ORDER + 1)),
        *(f"ngrams_{n}" for n in range(1, ORDER + 1)),
    )

    def __init__(self, tokenize: str = "none", lowercase: bool = False) -> None:
        if tokenize not in TOKENIZERS:
            raise ConfigError("unknown tokenizer", expected=f"one of {', '.join(TOKENIZERS)}", got=tokenize)
        self.tokenize = tokenize
        self.lowercase = lowercase

    @property
    def signature(self) -> str:
        """sacrebleu's signature without the number of references."""
        scorer = self._sacrebleu()
        scorer.num_refs = 1
        signature = scorer.get_signature()
        signature.update("nrefs", None)  # known only once there are references: `signature_for` names it
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
        """(N, 10) what sacrebleu counts for each text; several references as sacrebleu takes them."""
        check_rows(texts, segments, references)
        check_references(references)
        tokens = self._tokens()
        first, inverse = unique_pairs(texts, segments)
        wanted = segments[first]  # (U,)
        known = [[tokens(text) for text in several] for several in references]
        matches, lengths = clipped_matches((tokens(texts[row]) for row in first), wanted, known, ORDER)
        closest = _closest_lengths(lengths, wanted, [[len(ref) for ref in several] for several in known])
        totals = np.maximum(lengths[:, None] - np.arange(ORDER), 0)  # (U, 4)
        return np.column_stack([lengths, closest, matches, totals])[inverse]  # (N, 10)

    def score(self, sums: NDArray[Any]) -> NDArray[np.float64]:
        """BLEU 0 to 100 (...) of sums (..., 10); ``BLEU.compute_bleu`` for whole arrays.

        Without any match, or with an order of which there is no n-gram at all, BLEU is 0.
        """
        sums = np.asarray(sums, dtype=np.float64)
        lengths, wanted = sums[..., 0], sums[..., 1]
        matches, totals = sums[..., 2 : 2 + ORDER], sums[..., 2 + ORDER :]  # (..., 4)
        missing = matches == 0
        # Method 3 of Chen and Cherry 2014: the k-th order without a match counts 1/2**k of a match.
        smoothed = np.where(missing, np.exp2(-np.cumsum(missing, axis=-1, dtype=np.float64)), matches)
        precisions = 100.0 * smoothed / np.maximum(totals, 1.0)
        brevity = np.exp(np.minimum(0.0, 1.0 - wanted / np.maximum(lengths, 1.0)))
        possible = (matches > 0).any(axis=-1) & (totals > 0).all(axis=-1)
        scores = brevity * np.exp(np.log(precisions).sum(axis=-1) / ORDER)
        return np.where(possible, np.minimum(scores, PERFECT), 0.0)

    def report(self, texts: Sequence[str], references: References) -> Report:
        """sacrebleu's ``corpus_score`` and signature."""
        check_segments(texts, references)
        check_references(references)
        scorer = self._sacrebleu()
        result = scorer.corpus_score(list(texts), reference_streams(references))
        return Report(min(float(result.score), PERFECT), str(scorer.get_signature()))

    def _sacrebleu(self) -> Any:
        return BLEU(tokenize=self.tokenize, lowercase=self.lowercase, force=True)

    def _tokens(self) -> Callable[[str], list[str]]:
        """sacrebleu's way from a text to its tokens: strip, tokenise, split at white space."""
        if self.tokenize == "none" and not self.lowercase:
            return str.split
        prepare = cast("Callable[[str], str]", self._sacrebleu()._preprocess_segment)
        return lambda text: prepare(text).split()


def _closest_lengths(
    lengths: NDArray[np.int64], segments: NDArray[np.int64], reference_lengths: list[list[int]]
) -> NDArray[np.int64]:
    """(N,) the reference length closest to each hypothesis' length; the shorter one where two are."""
    most = max((len(several) for several in reference_lengths), default=1)
    padded = np.array([sorted(s) + [s[0]] * (most - len(s)) for s in reference_lengths], dtype=np.int64)
    if not len(segments):
        return np.zeros(0, dtype=np.int64)
    padded = np.sort(padded, axis=1)  # ascending, so that the first of equals is the shorter
    options = padded[segments]  # (N, R)
    nearest = np.abs(options - lengths[:, None]).argmin(axis=1)
    return np.take_along_axis(options, nearest[:, None], axis=1)[:, 0]
