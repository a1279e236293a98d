"""WER and CER: jiwer's substitutions, deletions and insertions of a hypothesis, over the reference's units.

An empty reference is legal (silence): every unit said there is an insertion. Only a corpus without one
reference unit has no rate.
"""

from collections.abc import Callable, Iterable, Sequence
from importlib.metadata import version
from typing import Any

import jiwer
import numpy as np
from numpy.typing import NDArray

from nbest.errors import ReferenceMismatchError
from rescoring.metrics.base import (
    References,
    Report,
    check_rows,
    check_segments,
    single_references,
    unique_pairs,
)

BLOCK = 4096  # texts in one call: jiwer keeps an object for each stretch of an alignment


class ErrorRate:
    """Edits of a shortest alignment in percent of the reference's units, as jiwer makes them of a text."""

    larger_is_better = False
    separable = True  # the denominator is the references'

    def __init__(self, name: str, unit: str, full_name: str, align: Callable[..., Any]) -> None:
        self.name = name
        self.count_names = ("substitutions", "deletions", "insertions", f"reference_{unit}")
        self._unit = unit
        self._full_name = full_name
        self._align = align

    @property
    def signature(self) -> str:
        """What is compared, and jiwer's version."""
        return f"case:mixed|tok:{self.name}_default|jiwer:{version('jiwer')}"

    def signature_for(self, references: References) -> str:
        """The same: there is one reference a segment."""
        return self.signature

    def counts(
        self, texts: Sequence[str], segments: NDArray[np.int64], references: References
    ) -> NDArray[np.int64]:
        """(N, 4) edits of a shortest alignment, as jiwer chooses it, and the units of the reference."""
        check_rows(texts, segments, references)
        spoken = single_references(references, self._full_name)
        first, inverse = unique_pairs(texts, segments)
        counts = np.zeros((len(first), 4), dtype=np.int64)
        for start in range(0, len(first), BLOCK):
            block = first[start : start + BLOCK]
            output = self._align([spoken[segments[row]] for row in block], [texts[r] for r in block])
            for row, (chunks, units) in enumerate(
                zip(output.alignments, output.references, strict=True), start=start
            ):
                counts[row] = (*_edits(chunks), len(units))
        return counts[inverse]

    def score(self, sums: NDArray[Any]) -> NDArray[np.float64]:
        """The rate in percent (...) of sums (..., 4); with no reference unit at all, 100 for each error."""
        sums = np.asarray(sums, dtype=np.float64)
        return np.asarray(100.0 * sums[..., :3].sum(axis=-1) / np.maximum(sums[..., 3], 1.0))

    def report(self, texts: Sequence[str], references: References) -> Report:
        """jiwer's rate over the corpus, in percent."""
        check_segments(texts, references)
        output = self._align(single_references(references, self._full_name), list(texts))
        if output.hits + output.substitutions + output.deletions == 0:
            raise ReferenceMismatchError(
                f"{self._full_name} is undefined",
                expected=f"at least one {self._unit[:-1]} in the references",
                got="0",
            )
        return Report(100.0 * float(getattr(output, self.name)), self.signature)


class Wer(ErrorRate):
    """Word error rate in percent; words are what jiwer's default transform leaves, case counts."""

    def __init__(self) -> None:
        super().__init__("wer", "words", "word error rate", jiwer.process_words)


class Cer(ErrorRate):
    """Character error rate in percent; a space between words is a character, as jiwer has it."""

    def __init__(self) -> None:
        super().__init__("cer", "characters", "character error rate", jiwer.process_characters)


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
