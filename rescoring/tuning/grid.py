"""The grid that speech recognition trusts: language model weight by word insertion penalty, as Kaldi scores.

Kaldi's cost of a hypothesis is ``graph + acoustic / LMWT + penalty * words`` (lattice-scale
--inv-acoustic-scale, lattice-add-penalty). Times -LMWT that is a sum of our features, which are log-probs:
the acoustic one weighs 1, the graph ones LMWT, each word -LMWT * penalty.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np
from numpy.typing import NDArray

from nbest.errors import ConfigError, FeatureError, shorten
from rescoring.metrics.base import Metric
from rescoring.nbest import NbestLists
from rescoring.tuning.result import check_counts, score_of

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

LMWT = tuple(float(weight) for weight in range(7, 18))  # Kaldi's steps/score_kaldi.sh
PENALTIES = (0.0, 0.5, 1.0)  # the same


@dataclass(frozen=True)
class Roles:
    """Which feature is what in Kaldi's sum.

    acoustic  the acoustic log-prob
    words     the number of words
    graph     features of the graph -> their share of it: the language model, transitions, pronunciations
    """

    acoustic: str
    words: str
    graph: Mapping[str, float]


@dataclass(frozen=True)
class Point:
    """One place of the grid: its settings, its weights (F,), and the metric of its 1-bests."""

    lmwt: float
    penalty: float
    shares: Mapping[str, float]
    vector: Floats
    score: float

    @property
    def name(self) -> str:
        """As Kaldi's files are called: ``LMWT_PENALTY``."""
        return f"{self.lmwt:g}_{self.penalty:.1f}"


def search(
    lists: NbestLists,
    counts: Ints,
    metric: Metric,
    roles: Roles,
    lmwt: Sequence[float] = LMWT,
    penalties: Sequence[float] = PENALTIES,
    shares: Sequence[Mapping[str, float]] = ({},),
) -> list[Point]:
    """Every point of the grid, in order; `best_point` says which is best.

    `shares` holds what to try in place of shares in `roles`, such as the `mixtures` of two language models.
    Raises FeatureError for a feature that the lists lack or one without a role, ConfigError for an empty
    grid or an LMWT that is not above 0.
    """
    check_counts(lists, counts, metric)
    _check_roles(lists, roles, shares)
    for what, values in (("LMWT", lmwt), ("penalty", penalties), ("shares", shares)):
        if not len(values):
            raise ConfigError(f"the grid has no {what}", expected="at least one value", got="none")
    if min(lmwt) <= 0:
        raise ConfigError("LMWT scales the language model", expected="more than 0", got=f"{min(lmwt):g}")
    points = []
    for weight, penalty, tried in product(lmwt, penalties, shares):
        graph = {**roles.graph, **tried}
        vector = kaldi_weights(lists, roles, weight, penalty, graph)
        points.append(Point(weight, penalty, graph, vector, score_of(lists, counts, metric, vector)))
    return points


def mixtures(old: str, new: str, steps: int = 10) -> list[Mapping[str, float]]:
    """Shares of two language models that sum to 1, from all `old` to all `new`."""
    return [{old: 1.0 - k / steps, new: k / steps} for k in range(steps + 1)]


def best_point(points: Iterable[Point], metric: Metric) -> Point:
    """The best point; of equals the first, as Kaldi's best_wer.sh takes it."""
    return (max if metric.larger_is_better else min)(points, key=lambda point: point.score)


def kaldi_weights(
    lists: NbestLists, roles: Roles, lmwt: float, penalty: float, graph: Mapping[str, float]
) -> Floats:
    """(F,) the weights that rank as Kaldi does with this LMWT and word insertion penalty."""
    vector = np.zeros(lists.features.shape[1])
    vector[lists.columns(roles.acoustic)] = 1.0
    vector[lists.columns(roles.words)] += -lmwt * penalty
    for name, share in graph.items():
        vector[lists.columns(name)] = lmwt * share
    return vector


def table(points: Sequence[Point], metric: Metric) -> str:
    """LMWT down, penalty across, the best shares in each place; a star marks the best point of all."""
    best = best_point(points, metric)
    rows = list(dict.fromkeys(point.lmwt for point in points))
    columns = list(dict.fromkeys(point.penalty for point in points))
    lines = ["LMWT  " + "".join(f"{f'wip {penalty:g}':>10}" for penalty in columns)]
    for lmwt in rows:
        cells = []
        for penalty in columns:
            here = [point for point in points if (point.lmwt, point.penalty) == (lmwt, penalty)]
            one = best_point(here, metric)
            cells.append(f"{one.score:>9.2f}{'*' if one is best else ' '}")
        lines.append(f"{lmwt:<6g}" + "".join(cells))
    return "\n".join(lines)


def _check_roles(lists: NbestLists, roles: Roles, shares: Sequence[Mapping[str, float]]) -> None:
    named = {roles.acoustic, roles.words, *roles.graph, *(name for tried in shares for name in tried)}
    features = [feature.name for feature in lists.schema]
    if roles.acoustic not in features:
        raise FeatureError(
            f"unknown feature {shorten(roles.acoustic)}, which should be the acoustic one",
            where=lists.source,
            expected=f"lists of a recogniser, and as `acoustic` one of {', '.join(features) or 'none'}",
        )
    for name in named:
        lists.columns(name)
    idle = [feature.name for feature in lists.schema if feature.name not in named]
    if idle:
        raise FeatureError(
            f"no role in Kaldi's sum: {', '.join(map(shorten, idle))}",
            where=lists.source,
            expected="acoustic, words or graph for each feature",
            got=", ".join(feature.name for feature in lists.schema),
        )
