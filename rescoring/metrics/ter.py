"""TER: sacrebleu's translation edit rate, the one metric whose counts sacrebleu itself makes.

Its search for shifts follows Tercom to the letter, beam and all, so its own function is called, once for each
distinct hypothesis, in several processes where there are many.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sacrebleu.metrics.ter import TER

from rescoring.metrics.base import (
    References,
    Report,
    check_rows,
    check_segments,
    single_references,
    unique_pairs,
)
from rescoring.parallel import in_order

BLOCK = 2048  # texts that a process takes at a time


class Ter:
    """Translation edit rate in percent, sacrebleu's defaults: no normalisation, case does not count.

    One reference a segment: sacrebleu takes the average length of several, which is no count. `jobs`
    processes count where there are many texts.
    """

    name = "ter"
    larger_is_better = False
    separable = True
    count_names = ("edits", "reference_words")

    def __init__(self, jobs: int = 1) -> None:
        self.jobs = jobs

    @property
    def signature(self) -> str:
        """sacrebleu's signature without the number of references."""
        scorer = TER()
        scorer.num_refs = 1
        signature = scorer.get_signature()
        signature.update("nrefs", None)
        return str(signature)

    def signature_for(self, references: References) -> str:
        """sacrebleu's signature, as it stands in its reports."""
        scorer = TER()
        scorer.num_refs = 1
        return str(scorer.get_signature())

    def counts(
        self, texts: Sequence[str], segments: NDArray[np.int64], references: References
    ) -> NDArray[np.int64]:
        """(N, 2) shifts and edits of each text, words of its reference."""
        check_rows(texts, segments, references)
        wanted = single_references(references, "translation edit rate")
        first, inverse = unique_pairs(texts, segments)
        pairs = _Pairs(tuple((texts[row], wanted[segments[row]]) for row in first))
        blocks = range(0, len(first), BLOCK)
        found = [np.zeros((0, 2), dtype=np.int64), *in_order(pairs, blocks, self.jobs)]
        return np.concatenate(found)[inverse]

    def score(self, sums: NDArray[Any]) -> NDArray[np.float64]:
        """TER in percent (...) of sums (..., 2); without a reference word 100 where there is any edit."""
        sums = np.asarray(sums, dtype=np.float64)
        edits, words = sums[..., 0], sums[..., 1]
        return np.asarray(100.0 * np.where(words > 0, edits / np.maximum(words, 1.0), np.minimum(edits, 1.0)))

    def report(self, texts: Sequence[str], references: References) -> Report:
        """sacrebleu's ``corpus_score`` and signature."""
        check_segments(texts, references)
        scorer = TER()
        result = scorer.corpus_score(list(texts), [single_references(references, "translation edit rate")])
        return Report(float(result.score), str(scorer.get_signature()))


@dataclass(frozen=True)
class _Pairs:
    """Texts with their references, counted block by block."""

    pairs: tuple[tuple[str, str], ...]

    @cached_property
    def _scorer(self) -> Any:
        return TER()

    def __call__(self, start: int) -> NDArray[np.int64]:
        """(B, 2) counts of the block that begins at `start`."""
        scorer = self._scorer
        known: dict[str, Any] = {}
        counts = []
        for text, reference in self.pairs[start : start + BLOCK]:
            prepared = scorer._preprocess_segment(text)
            if reference not in known:
                known[reference] = scorer._extract_reference_info([reference])
            edits, words = scorer._compute_segment_statistics(prepared, known[reference])
            counts.append((int(edits), int(words)))
        return np.array(counts, dtype=np.int64).reshape(-1, 2)
