"""What a metric is: a hypothesis becomes integer counts once; summed counts become a corpus score.

The counts are the currency: corpus score, oracle, tuning and significance all read the same array.
A number that is *reported* is computed by the library the field knows (sacrebleu, jiwer) and carries
its signature; the counts give exactly the same number, which the tests hold them to.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from nbest.errors import ReferenceMismatchError

References = Sequence[Sequence[str]]  # S segments, each with its reference texts
VARIOUS = -1  # sacrebleu's number of references where segments have different ones


@dataclass(frozen=True)
class Report:
    """A corpus score as the reference implementation gives it, and that implementation's signature."""

    score: float
    signature: str


class Metric(Protocol):
    """Texts and references in; counts that add up; a score of summed counts."""

    @property
    def name(self) -> str:
        """``bleu``, ``wer``, ..."""

    @property
    def count_names(self) -> tuple[str, ...]:
        """K names, one for each count."""

    @property
    def larger_is_better(self) -> bool:
        """True for BLEU, False for error rates."""

    @property
    def separable(self) -> bool:
        """Whether choosing each list's best hypothesis alone is best for the corpus: WER yes, BLEU no."""

    @property
    def signature(self) -> str:
        """Tokenisation, smoothing and library version; not the number of references."""

    def signature_for(self, references: References) -> str:
        """The signature of scores against these references: their number is in it where it may vary."""

    def counts(
        self, texts: Sequence[str], segments: NDArray[np.int64], references: References
    ) -> NDArray[np.int64]:
        """(N, K) counts of `texts`; text n belongs to segment ``segments[n]``, an index into `references`.

        Raises ReferenceMismatchError for a segment without usable references.
        """

    def score(self, sums: NDArray[Any]) -> NDArray[np.float64]:
        """Corpus scores (...) of summed counts (..., K); always finite."""

    def report(self, texts: Sequence[str], references: References) -> Report:
        """Corpus score of S texts against S segments' references, by the reference implementation.

        Raises ReferenceMismatchError where the two numbers of segments differ or there are none.
        """


def check_segments(texts: Sequence[str], references: References) -> None:
    """Raises ReferenceMismatchError unless there is one text for each segment, and at least one."""
    if len(texts) != len(references):
        raise ReferenceMismatchError(
            "hypotheses and references differ in number",
            expected=f"{len(references)} hypotheses, as there are references",
            got=f"{len(texts)}",
        )
    if not texts:
        raise ReferenceMismatchError("nothing to score", expected="at least one segment", got="0")


def check_rows(texts: Sequence[str], segments: NDArray[np.int64], references: References) -> None:
    """Raises ReferenceMismatchError unless every text has a segment that exists."""
    if len(texts) != len(segments):
        raise ReferenceMismatchError(
            "texts and segment numbers differ in number", expected=f"{len(texts)}", got=f"{len(segments)}"
        )
    if len(segments) and not 0 <= int(segments.min()) <= int(segments.max()) < len(references):
        raise ReferenceMismatchError(
            "a hypothesis belongs to a segment that has no reference",
            expected=f"segments 0 to {len(references) - 1}, as there are {len(references)} references",
            got=f"segments {int(segments.min())} to {int(segments.max())}",
        )


def check_references(references: References) -> None:
    """Raises ReferenceMismatchError for a segment without a reference."""
    for segment, several in enumerate(references):
        if not several:
            raise ReferenceMismatchError(
                "segment without a reference", where=f"segment {segment}", expected="one or more", got="0"
            )


def single_references(references: References, metric: str) -> list[str]:
    """The one reference of each segment, for a `metric` that knows no more."""
    for segment, several in enumerate(references):
        if len(several) != 1:
            raise ReferenceMismatchError(
                f"{metric} needs one reference a segment",
                where=f"segment {segment}",
                expected="1",
                got=str(len(several)),
            )
    return [several[0] for several in references]


def reference_streams(references: References) -> list[list[str | None]]:
    """The k-th references of all segments, for each k, as sacrebleu takes them; None where there is none."""
    most = max(len(several) for several in references)
    return [[several[k] if k < len(several) else None for several in references] for k in range(most)]


def unique_pairs(texts: Sequence[str], segments: NDArray[np.int64]) -> tuple[list[int], NDArray[np.int64]]:
    """(U) first rows of the distinct (segment, text) pairs, and (N,) the pair each row has.

    Lists that are not distinct repeat most of their texts; each is counted once.
    """
    numbers: dict[tuple[int, str], int] = {}
    first: list[int] = []
    inverse = np.empty(len(texts), dtype=np.int64)
    for row, pair in enumerate(zip(segments.tolist(), texts, strict=True)):
        number = numbers.setdefault(pair, len(first))
        if number == len(first):
            first.append(row)
        inverse[row] = number
    return first, inverse
