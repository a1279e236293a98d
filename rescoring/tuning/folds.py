"""A choice between ways of tuning by folds of the dev data alone: test data is for one report at the end.

Each way tunes on all folds but one and is applied to that one; the counts of all folds' 1-bests make one
corpus score, as every segment was held out once.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from nbest.errors import ConfigError
from rescoring.loglinear import one_best, totals
from rescoring.metrics.base import Metric
from rescoring.nbest import NbestLists

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Way = Callable[[NbestLists, Ints], Floats]  # lists, counts (N, K) -> weights (F,)

FOLDS = 5


@dataclass(frozen=True)
class Choice:
    """The held-out score of each way of tuning, and the best way's name; of equals the first."""

    scores: Mapping[str, float]
    best: str


def choose(
    lists: NbestLists,
    counts: Ints,
    metric: Metric,
    ways: Mapping[str, Way],
    folds: int = FOLDS,
    seed: int = 1,
) -> Choice:
    """Compare `ways` on `folds` parts of the lists, drawn by `seed`.

    Raises ConfigError for folds without lists, or no way.
    """
    if not 2 <= folds <= len(lists) or not ways:
        raise ConfigError(
            "no folds to choose on",
            expected=f"2 to {len(lists)} folds, as there are lists, and at least one way",
            got=f"{folds} folds, {len(ways)} ways",
        )
    parts = np.array_split(np.random.default_rng(seed).permutation(len(lists)), folds)
    scores: dict[str, float] = {}
    for name, way in ways.items():
        sums = np.zeros(counts.shape[1], dtype=np.int64)
        for part in parts:
            inside = np.isin(np.arange(len(lists)), part)
            rest = np.flatnonzero(~inside)
            vector = way(lists.select(rest.tolist()), counts[~inside[lists.segments]])
            held = lists.select(np.flatnonzero(inside).tolist())
            rows = one_best(held, totals(held, vector))
            sums += counts[inside[lists.segments]][rows].sum(axis=0)
        scores[name] = float(metric.score(sums))
    best = (max if metric.larger_is_better else min)(scores, key=scores.__getitem__)
    return Choice(scores, best)
