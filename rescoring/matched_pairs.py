"""The matched-pairs test of word errors, MAPSSWE: two recognisers on segments whose errors are independent.

Gillick and Cox 1989, section 3, as NIST's sc_stats has it: an utterance is cut wherever both systems have two
words right, one after the other; what lies between is a segment. The errors of the two systems in a segment
make a difference, and the mean of these over its standard error is nearly normal where segments are many.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import erfc, sqrt

import numpy as np
from numpy.typing import NDArray

from rescoring.alignment import Alignment

Ints = NDArray[np.int64]

GOOD_WORDS = 2  # that both have right and that end a segment: DEFAULT_MIN_NUM_GOOD of sc_stats
FEW = 50  # Gillick and Cox take W for normal when n is large; below this the p-value is rough


@dataclass(frozen=True)
class MatchedPairs:
    """What the test found.

    segments   n, those in which either system has an error
    mean       of the second system's errors minus the first's, per segment
    statistic  W, the mean over its standard error; None where it is not defined
    p_value    two-sided; None where W is not defined
    """

    segments: int
    mean: float
    statistic: float | None
    p_value: float | None

    @property
    def note(self) -> str | None:
        """Why there is no p-value, or why it is rough."""
        if self.p_value is None:
            return (
                "every segment with errors has the same difference" if self.segments > 1 else "too few errors"
            )
        return f"rough: only {self.segments} segments with errors" if self.segments < FEW else None


def mapsswe(first: Sequence[Alignment], second: Sequence[Alignment]) -> MatchedPairs:
    """The test of two systems' alignments with the same references, utterance by utterance.

    Systems with the same errors in every segment do not differ: p is 1. Where all segments differ by the same
    number, or there is but one, nothing is known of the variance, and there is no p-value.
    """
    pairs = error_segments(first, second)  # (n, 2)
    differences = (pairs[:, 1] - pairs[:, 0]).astype(np.float64)
    count = len(differences)
    if not differences.any():
        return MatchedPairs(count, 0.0, 0.0, 1.0)
    mean = float(differences.mean())
    deviation = float(differences.std(ddof=1)) if count > 1 else 0.0
    if deviation == 0.0:
        return MatchedPairs(count, mean, None, None)
    statistic = mean / (deviation / sqrt(count))
    return MatchedPairs(count, mean, statistic, erfc(abs(statistic) / sqrt(2.0)))


def error_segments(first: Iterable[Alignment], second: Iterable[Alignment]) -> Ints:
    """(n, 2) errors of both systems in each segment that has any."""
    found: list[tuple[int, int]] = []
    for one, other in zip(first, second, strict=True):
        mine, theirs, good = 0, 0, 0  # in the segment so far; words right since its last error
        for place, errors in enumerate(zip(_errors(one), _errors(other), strict=True)):
            if any(errors):
                if good >= GOOD_WORDS and mine + theirs:
                    found.append((mine, theirs))
                    mine = theirs = 0
                mine, theirs, good = mine + errors[0], theirs + errors[1], 0
            else:
                good += place % 2  # odd places are words
        if mine + theirs:
            found.append((mine, theirs))
    return np.array(found, dtype=np.int64).reshape(-1, 2)


def _errors(alignment: Alignment) -> list[int]:
    """(2 R + 1,) errors in and between R reference words: insertions, word, insertions, ..., insertions."""
    errors = [0]
    for edit in alignment:
        if edit.reference is None:
            errors[-1] += 1
        else:
            errors += (int(edit.kind != "equal"), 0)
    return errors
