"""TER: sacrebleu's translation edit rate, the one metric whose counts sacrebleu itself makes.

Its search for shifts follows Tercom to the letter, beam and all, so its own function is called, once for each
distinct hypothesis, in several processes where there are many.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sacrebleu.metrics.ter import TER

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
from rescoring.parallel import in_order

BLOCK = 2048  # texts that a process takes at a time


class Ter:
    """Translation edit rate in percent, sacrebleu's defaults: no normalisation, case does not count.

    Of several references of a segment the nearest counts the edits, and their average length the words, as
    sacrebleu does it. An average is no count: both counts are then those times the least number that makes
    every average whole, which leaves their ratio. `jobs` processes count where there are many texts.
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
        numbers = {len(several) for several in references}
        scorer.num_refs = numbers.pop() if len(numbers) == 1 else VARIOUS
        return str(scorer.get_signature())

    def counts(
        self, texts: Sequence[str], segments: NDArray[np.int64], references: References
    ) -> NDArray[np.int64]:
        """(N, 2) shifts and edits of each text, words of its reference; of several as the class says."""
        check_rows(texts, segments, references)
        check_references(references)
        wanted = [tuple(several) for several in references]
        whole = math.lcm(*map(len, wanted))
        first, inverse = unique_pairs(texts, segments)
        pairs = _Pairs(tuple((texts[row], wanted[segments[row]]) for row in first), whole)
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
        check_references(references)
        scorer: Any = TER()
        result = scorer.corpus_score(list(texts), reference_streams(references))
        return Report(float(result.score), str(scorer.get_signature()))


@dataclass(frozen=True)
class _Pairs:
    """Texts with their references, counted block by block; the counts are `whole` times sacrebleu's."""

    pairs: tuple[tuple[str, tuple[str, ...]], ...]
    whole: int

    @cached_property
    def _scorer(self) -> Any:
        return TER()

    def __call__(self, start: int) -> NDArray[np.int64]:
        """(B, 2) counts of the block that begins at `start`."""
        scorer = self._scorer
        known: dict[tuple[str, ...], Any] = {}
        counts = []
        for text, references in self.pairs[start : start + BLOCK]:
            prepared = scorer._preprocess_segment(text)
            if references not in known:
                known[references] = scorer._extract_reference_info(references)
            edits, words = scorer._compute_segment_statistics(prepared, known[references])
            counts.append((self.whole * int(edits), round(self.whole * words)))  # whole but for rounding
        return np.array(counts, dtype=np.int64).reshape(-1, 2)
