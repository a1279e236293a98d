"""The oracle: the best corpus score that choosing one hypothesis from each list can reach.

For WER each list's best is chosen alone, and that is exact. BLEU does not add up: the choice starts from the
best sentence score of each list and is mended list by list, against the summed counts of all others, until no
single change helps. That is a local optimum, so a lower bound of the true oracle.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from nbest.errors import FormatError
from rescoring.metrics.base import Metric, References
from rescoring.nbest import NbestLists

PERFECT = 100.0  # no score of a metric that grows is above it
Ints = NDArray[np.int64]


EXACT = "a bound that no ranking of these lists can pass, chosen with the references"
SEARCHED = "chosen with the references, by search: the best choice from these lists is at least as good"


@dataclass(frozen=True)
class Oracle:
    """The chosen rows (S,), their corpus score, and whether no choice is better (else: a lower bound)."""

    rows: Ints
    score: float
    exact: bool


def oracle(counts: Ints, offsets: Ints, metric: Metric) -> Oracle:
    """The oracle of lists bounded by `offsets` (S+1,) with `counts` (N, K); of equals the first row.

    Raises FormatError for an empty list.
    """
    if (np.diff(offsets) == 0).any():
        raise FormatError("an empty list has no best hypothesis", where="oracle")
    sign = 1.0 if metric.larger_is_better else -1.0
    alone = sign * metric.score(counts)  # (N,) every hypothesis as a corpus of its own
    pairs = list(zip(offsets[:-1].tolist(), offsets[1:].tolist(), strict=True))
    rows = np.array([begin + int(alone[begin:end].argmax()) for begin, end in pairs], dtype=np.int64)
    total = counts[rows].sum(axis=0)  # (K,)
    changed = not metric.separable
    while changed:
        changed = False
        for segment, (begin, end) in enumerate(pairs):
            others = total - counts[rows[segment]]
            scores = sign * metric.score(others + counts[begin:end])
            best = begin + int(scores.argmax())
            if scores[best - begin] > scores[rows[segment] - begin]:
                rows[segment], changed = best, True
                total = others + counts[best]
    score = float(metric.score(total))
    return Oracle(rows, score, metric.separable or (metric.larger_is_better and score >= PERFECT))


def said(*, exact: bool) -> str:
    """What an oracle is, to stand beside its number: no result, since it looked at the references."""
    return EXACT if exact else SEARCHED


def oracle_rows(lists: NbestLists, references: References, metric: Metric) -> Ints:
    """(S,) the rows of the oracle of `lists`."""
    return oracle(metric.counts(lists.texts, lists.segments, references), lists.offsets, metric).rows
