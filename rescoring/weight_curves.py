"""The corpus score against each weight, the others fixed: how sharp the optimum is, and whether it is one.

Exact at every point: the line search of MERT cuts the line of one weight where a 1-best changes, and the
counts between two cuts give the score.
"""

from collections.abc import Container
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from rescoring import loglinear
from rescoring.metrics.base import Metric
from rescoring.nbest import NbestLists
from rescoring.tuning.envelope import Heights, Slopes
from rescoring.tuning.line_search import stretches

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

POINTS = 121  # of a curve; odd, so that the weight itself is one of them
LEAST_SHARE = 0.25  # of the largest contribution: how far a curve goes at least, in what the column adds


@dataclass(frozen=True)
class WeightCurve:
    """One column's weight.

    name       of the column
    weight     where the system stands
    values     (POINTS,) weights, ascending, the system's in the middle
    scores     (POINTS,) corpus scores at them
    """

    name: str
    weight: float
    values: Floats
    scores: Floats

    @property
    def score(self) -> float:
        """At the system's own weight."""
        return float(self.scores[len(self.scores) // 2])

    def best(self, *, larger_is_better: bool) -> tuple[float, float]:
        """(weight, score) of the best point of the curve; of equals that nearest to the system's weight."""
        signed = self.scores if larger_is_better else -self.scores
        top = np.flatnonzero(signed == signed.max())
        place = int(top[np.abs(top - len(self.scores) // 2).argmin()])
        return float(self.values[place]), float(self.scores[place])


def weight_curves(
    lists: NbestLists, vector: Floats, counts: Ints, metric: Metric, features: Container[str]
) -> list[WeightCurve]:
    """A curve for each column of these features that can change a ranking, from all counts (N, K).

    It goes from 0 to twice the weight; where the column contributes little, as far as it would take to add
    LEAST_SHARE of what the strongest column adds. Contributions are compared by their standard deviation
    within lists. A column that is constant in every list has no curve. Raises WeightsError for weighted sums
    that are not finite, FormatError for an empty list.
    """
    heights = Heights.of(loglinear.totals(lists, vector), lists.offsets)
    here = loglinear.one_best(lists, heights.values)
    score = float(metric.score(counts[here].sum(axis=0)))
    spreads = _spreads(lists)  # (F,)
    strongest = float((np.abs(vector) * spreads).max(initial=0.0))
    curves = []
    for column, name in columns_of(lists, features):
        spread, weight = float(spreads[column]), float(vector[column])
        if spread == 0.0:
            continue
        reach = max(abs(weight), LEAST_SHARE * strongest / spread) or 1.0
        line = stretches(
            heights, Slopes.of(lists.features[:, column].copy(), lists.offsets), lists.offsets, counts
        )
        steps = np.linspace(-reach, reach, POINTS)
        scores = metric.score(line.sums[np.searchsorted(line.edges[1:-1], steps, side="right")])
        scores[POINTS // 2] = score  # of equal totals the first wins, which a line does not know
        curves.append(WeightCurve(name, weight, weight + steps, scores))
    return curves


def columns_of(lists: NbestLists, features: Container[str]) -> list[tuple[int, str]]:
    """The place and name of each column of these features."""
    owners = [feature.name for feature in lists.schema for _ in range(feature.width)]
    pairs = zip(enumerate(lists.column_names), owners, strict=True)
    return [place for place, owner in pairs if owner in features]


def _spreads(lists: NbestLists) -> Floats:
    """(F,) the standard deviation of each column about its mean in the list."""
    sizes = np.diff(lists.offsets)
    means = np.add.reduceat(lists.features, lists.offsets[:-1], axis=0) / sizes[:, None]
    deviations = lists.features - np.repeat(means, sizes, axis=0)
    constant = (
        np.maximum.reduceat(lists.features, lists.offsets[:-1], axis=0)
        == np.minimum.reduceat(lists.features, lists.offsets[:-1], axis=0)
    ).all(axis=0)
    spreads = np.sqrt(np.square(deviations).mean(axis=0))
    spreads[constant] = 0.0  # and not what rounding leaves
    return np.asarray(spreads)
