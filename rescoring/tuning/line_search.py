"""Exact line search: the metric at every point of a line of weights, and the middle of its best stretch.

The lists' envelopes say where each 1-best changes. One sort of all corners and one cumulative sum of the
changes in the counts give the summed counts, and so the corpus score, of every stretch between two corners.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from rescoring.metrics.base import Metric
from rescoring.tuning.envelope import Heights, Slopes, upper_envelopes

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

RESOLUTION = 1e-9  # of the place on the line: a shorter stretch may be made of rounding, no place to stand
OPEN_END = 0.1  # of the place on the line: how far to step past the last corner


@dataclass(frozen=True)
class Stretches:
    """The line cut at the corners: M stretches, in order.

    edges  (M+1,) their bounds; the first is -inf, the last inf
    sums   (M, K) summed counts of the lists' best hypotheses on each
    """

    edges: Floats
    sums: Ints


@dataclass(frozen=True)
class Step:
    """Where on the line to go, and the corpus score there."""

    distance: float
    score: float


def stretches(heights: Heights, slopes: Slopes, offsets: Ints, counts: Ints) -> Stretches:
    """The line ``heights + g * slopes``, cut where a 1-best of the lists changes; `counts` are (N, K)."""
    envelopes = upper_envelopes(heights, slopes, offsets)
    counted = counts[envelopes.rows]  # (E, K)
    changes = np.delete(np.diff(counted, axis=0, prepend=0), envelopes.starts, axis=0)
    corners = np.delete(envelopes.corners, envelopes.starts)
    order = np.argsort(corners)
    start = counted[envelopes.starts].sum(axis=0, keepdims=True)  # (1, K) far to the left
    return Stretches(
        edges=np.concatenate([[-np.inf], corners[order], [np.inf]]),
        sums=np.cumsum(np.concatenate([start, changes[order]]), axis=0),
    )


def best_step(
    line: Stretches,
    metric: Metric,
    low: float = -np.inf,
    high: float = np.inf,
    loss: Callable[[Floats], Floats] | None = None,
) -> Step | None:
    """The middle of the best stretch between `low` and `high`; None where no stretch is wide enough.

    `loss` says for places (M,) on the line what is taken off the score of a stretch with that middle.
    Of several best ones that in the middle of the widest run of them: neighbours may well score the same.
    Past the last corner, where there is no middle, the step goes a little beyond the corner.
    """
    edges = np.clip(line.edges, low, high)
    left, right = edges[:-1], edges[1:]
    place = np.minimum(np.abs(left), np.abs(right))
    place[np.isinf(place)] = 1.0
    with np.errstate(invalid="ignore"):  # inf - inf, where a corner overflowed
        wide = right - left > RESOLUTION * np.maximum(1.0, place)
    if not wide.any():
        return None
    left, right = left[wide], right[wide]
    scores = metric.score(line.sums[wide])
    if loss is not None:
        scores = scores - loss(_middle(left, right))
    best = scores.max() if metric.larger_is_better else scores.min()
    turns = np.diff(np.concatenate([[False], scores == best, [False]]))
    begins, ends = np.flatnonzero(turns).reshape(-1, 2).T  # runs of best stretches
    widest = int(np.argmax(right[ends - 1] - left[begins]))
    begin, end = begins[widest], ends[widest]
    centre = _middle(left[begin], right[end - 1])
    at = begin + int(np.searchsorted(right[begin : end - 1], centre))  # never on a corner within the run
    return Step(float(_middle(left[at], right[at])), float(best))


def _middle(left: Floats, right: Floats) -> Floats:
    """The middles of stretches; of an open one a place near its end."""
    with np.errstate(invalid="ignore"):  # inf - inf
        before = right - OPEN_END * np.maximum(1.0, np.abs(right))
        after = left + OPEN_END * np.maximum(1.0, np.abs(left))
        between = (left + right) / 2.0
    ends = [np.isinf(left) & np.isinf(right), np.isinf(left), np.isinf(right)]
    return np.select(ends, [np.zeros_like(left), before, after], between)
