"""WER: jiwer's substitutions, deletions and insertions of every hypothesis, over the reference words.

An empty reference is legal (silence): every word said there is an insertion. Only a corpus without one
reference word has no WER.
"""

from collections.abc import Iterable, Sequence
from importlib.metadata import version
from typing import Any

import jiwer
import numpy as np
from numpy.typing import NDArray

from nbest.errors import ReferenceMismatchError
from rescoring.metrics.base import References, Report, check_rows, check_segments, unique_pairs

BLOCK = 4096  # texts in one call: jiwer keeps an object for each stretch of an alignment


class Wer:
    """Word error rate in percent; words are what jiwer's default transform leaves, case counts."""

    name = "wer"
    larger_is_better = False
    separable = True  # the denominator is the references'
    count_names = ("substitutions", "deletions", "insertions", "reference_words")

    @property
    def signature(self) -> str:
        """What is compared, and jiwer's version."""
        return f"case:mixed|tok:wer_default|jiwer:{version('jiwer')}"

    def signature_for(self, references: References) -> str:
        """The same: there is one reference a segment."""
        return self.signature

    def counts(
        self, texts: Sequence[str], segments: NDArray[np.int64], references: References
    ) -> NDArray[np.int64]:
        """(N, 4) edits of a shortest alignment, as jiwer chooses it, and the words of the reference."""
        check_rows(texts, segments, references)
        spoken = _single(references)
        first, inverse = unique_pairs(texts, segments)
        counts = np.zeros((len(first), 4), dtype=np.int64)
        for start in range(0, len(first), BLOCK):
            block = first[start : start + BLOCK]
            output = jiwer.process_words([spoken[segments[row]] for row in block], [texts[r] for r in block])
            for row, (chunks, words) in enumerate(
                zip(output.alignments, output.references, strict=True), start=start
            ):
                counts[row] = (*_edits(chunks), len(words))
        return counts[inverse]

    def score(self, sums: NDArray[Any]) -> NDArray[np.float64]:
        """WER in percent (...) of sums (..., 4); with no reference word at all, 100 for each error."""
        sums = np.asarray(sums, dtype=np.float64)
        return np.asarray(100.0 * sums[..., :3].sum(axis=-1) / np.maximum(sums[..., 3], 1.0))

    def report(self, texts: Sequence[str], references: References) -> Report:
        """jiwer's WER over the corpus, in percent."""
        check_segments(texts, references)
        output = jiwer.process_words(list(_single(references)), list(texts))
        if output.hits + output.substitutions + output.deletions == 0:
            raise ReferenceMismatchError(
                "word error rate is undefined", expected="at least one word in the references", got="0"
            )
        return Report(100.0 * float(output.wer), self.signature)


def _single(references: References) -> list[str]:
    """The one reference of each segment; WER knows no more."""
    for segment, several in enumerate(references):
        if len(several) != 1:
            raise ReferenceMismatchError(
                "word error rate needs one reference a segment",
                where=f"segment {segment}",
                expected="1",
                got=str(len(several)),
            )
    return [several[0] for several in references]


def _edits(chunks: Iterable[jiwer.AlignmentChunk]) -> tuple[int, int, int]:
    """Substitutions, deletions, insertions of one alignment."""
    substitutions = deletions = insertions = 0
    for chunk in chunks:
        if chunk.type == "substitute":
            substitutions += chunk.ref_end_idx - chunk.ref_start_idx
        elif chunk.type == "delete":
            deletions += chunk.ref_end_idx - chunk.ref_start_idx
        elif chunk.type == "insert":
            insertions += chunk.hyp_end_idx - chunk.hyp_start_idx
    return substitutions, deletions, insertions
