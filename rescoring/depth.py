"""How much longer lists are worth: the 1-best and the oracle of lists cut to their first hypotheses."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from rescoring.metrics.base import Metric
from rescoring.oracle import oracle

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

DEPTHS = (1, 2, 5, 10, 20, 50, 100, 200)


@dataclass(frozen=True)
class Depth:
    """Lists cut to `depth` hypotheses: corpus scores of the highest totals and of the oracle.

    exact  whether the oracle is the best there is (else: at least this)
    """

    depth: int
    best: float
    oracle: float
    exact: bool


def depths(totals: Floats, counts: Ints, offsets: Ints, metric: Metric) -> list[Depth]:
    """Both scores at each of DEPTHS that the longest list reaches, and at that list's own length.

    The first hypotheses are those of the lists as they stand, `totals` (N,) choose among them, of equal ones
    the earlier; a list that is shorter is taken whole. Raises FormatError for an empty list.
    """
    sizes = np.diff(offsets)
    longest = int(sizes.max(initial=0))
    places = np.arange(len(totals)) - np.repeat(offsets[:-1], sizes)  # (N,) rank in the list
    found = []
    for depth in sorted({*(d for d in DEPTHS if d < longest), longest}):
        rows = np.flatnonzero(places < depth)
        cut = np.concatenate([[0], np.cumsum(np.minimum(sizes, depth))]).astype(np.int64)
        ideal = oracle(counts[rows], cut, metric)
        chosen = rows[_first_highest(totals[rows], cut)]
        score = float(metric.score(counts[chosen].sum(axis=0)))
        found.append(Depth(depth, score, ideal.score, ideal.exact))
    return found


def _first_highest(values: Floats, offsets: Ints) -> Ints:
    """(S,) the first row with the highest value of each list."""
    sizes = np.diff(offsets)
    top = np.flatnonzero(values == np.repeat(np.maximum.reduceat(values, offsets[:-1]), sizes))
    return np.asarray(top[np.searchsorted(top, offsets[:-1])], dtype=np.int64)
