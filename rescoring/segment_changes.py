"""What each segment does to the corpus score where one system's output takes the place of another's."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from rescoring.metrics.base import Metric

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


@dataclass(frozen=True)
class Extremes:
    """The segments that change most; of equals the earlier.

    gains     (S,) points of corpus score, larger is better whatever the metric
    improved  segments with a gain, the largest first
    harmed    segments with a loss, the largest first
    """

    gains: Floats
    improved: Ints
    harmed: Ints


def segment_gains(first: Ints, second: Ints, metric: Metric) -> Floats:
    """(S,) what the first system's corpus score gains if it takes only this segment from the second.

    Counts are (S, K), or (R, S, K) of several runs, whose counts are averaged. For error rates a gain is a
    fall. BLEU does not add up, so the gains need not sum to the difference.
    """
    one, other = (counts.mean(axis=0) if counts.ndim == 3 else counts for counts in (first, second))
    total = one.sum(axis=0)  # (K,)
    sign = 1.0 if metric.larger_is_better else -1.0
    return np.asarray(sign * (metric.score(total - one + other) - metric.score(total)))


def extremes(gains: Floats, most: int) -> Extremes:
    """The `most` improved and the `most` harmed segments."""
    order = np.argsort(-gains, kind="stable")
    improved = order[gains[order] > 0.0][:most]
    order = np.argsort(gains, kind="stable")
    return Extremes(gains, improved, order[gains[order] < 0.0][:most])
