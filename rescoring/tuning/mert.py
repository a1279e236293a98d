"""Minimum error rate training: the weights whose 1-bests score best, by exact line searches (Och 2003).

The 1-bests' score is a staircase full of small local optima, so a descent starts where the expected score,
which is smooth, is best (`risk`). From there it goes along the coordinates, random directions and its own
last displacement, until a round gains next to nothing. The first descent sets out from the given weights, the
others from random ones; none knows of another, so they may run in any order and in several processes.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from nbest.errors import ConfigError
from rescoring.metrics.base import Metric
from rescoring.nbest import NbestLists
from rescoring.parallel import in_order
from rescoring.tuning.result import (
    Descent,
    Start,
    Tuned,
    check_counts,
    checked_initial,
    checked_ranges,
    score_of,
)
from rescoring.tuning.risk import PENALTY, ascend
from rescoring.tuning.space import Place, Space

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

RESTARTS = 20
RANDOM_DIRECTIONS = 12  # a round; every other one moves a few columns only
FEW = (2, 4)  # columns that such a direction moves
PENALTIES = (0.001, 0.1)  # of the later descents'; drawn log-uniformly
LEAST_GAIN = 1e-3  # points of the metric: a round that gains less is the last


def tune(
    lists: NbestLists,
    counts: Ints,
    metric: Metric,
    initial: Floats | None = None,
    *,
    restarts: int = RESTARTS,
    seed: int = 1,
    random_directions: int = RANDOM_DIRECTIONS,
    ranges: Floats | None = None,
    l2: float = 0.0,
    jobs: int = 1,
    progress: Callable[[int, Tuned], None] | None = None,
) -> Tuned:
    """Weights (F,) for `lists` whose 1-bests score best by `counts` (N, K) of `metric`.

    `initial` (F,) is where the first of `restarts` descents sets out, ones unless given. `ranges` (F, 2)
    holds the lowest and highest weight of each column, infinite where there is none; one that is neither
    infinite nor 0 fixes the scale, else weights are scaled to an absolute sum of 1. `l2` stabilises: so many
    points of the metric are taken off for each unit of squared distance from the minimum-risk weights, both
    in standardised columns and of length 1 where the scale is free. `jobs` processes share the descents.
    `progress` is told after each descent how many are done and what is best so far. The same arguments give
    the same weights, whatever the `jobs`, and they never score less than the initial ones.

    Raises FormatError for an empty list, WeightsError for weights or ranges that do not fit.
    """
    first = checked_initial(lists, initial)
    check_counts(lists, counts, metric)
    if restarts < 1 or random_directions < 0:
        raise ConfigError("no descent to make", expected="restarts of at least 1, directions of at least 0")
    if not 0.0 <= l2 < np.inf:
        raise ConfigError("not a penalty", where="l2", expected="0 or more", got=f"{l2:g}")
    bounds = checked_ranges(lists, first, ranges)
    best = start = Tuned(first, *2 * (score_of(lists, counts, metric, first),), (), ())
    space = Space.of(lists, counts, metric, bounds)
    best = start = replace(start, vector=space.scaled(first), constant=space.constant(lists))
    if l2:
        space = space.pulled(ascend(space, first * space.spreads, PENALTY).point, l2)
    task = _Descents(space, first * space.spreads, seed, random_directions)
    highest: float | None = None
    for descent, point in in_order(task, range(restarts), jobs):
        best = replace(best, descents=(*best.descents, descent))
        if highest is None or space.better(descent.score, highest):
            highest, vector = descent.score, space.weights(point)
            score = score_of(lists, counts, metric, vector)
            if not space.better(start.score, score):
                best = replace(best, vector=vector, score=score)
        if progress is not None:
            progress(len(best.descents), best)
    return best


@dataclass(frozen=True)
class _Descents:
    """Descent k of a space, for any k: each has random numbers of its own."""

    space: Space
    first: Floats
    seed: int
    random_directions: int

    def __call__(self, number: int) -> tuple[Descent, Floats]:
        """What descent `number` did, and the point (F,) it reached."""
        random = np.random.default_rng([self.seed, number])
        start, penalty = self.first, PENALTY
        if number:
            start = _random_point(self.space, random)
            penalty = float(np.exp(random.uniform(*np.log(PENALTIES))))
        smooth = ascend(self.space, start, penalty).point
        place, line_searches = _descend(self.space, smooth, random, self.random_directions)
        kind: Start = "random" if number else "given"
        return Descent(kind, place.score, line_searches), place.point


def _descend(
    space: Space, start: Floats, random: np.random.Generator, random_directions: int
) -> tuple[Place, int]:
    """The place that a descent from `start` reaches, and the line searches it made."""
    here = space.place(start)
    axes = [(axis, space.axes[k]) for k, axis in enumerate(np.eye(len(start))) if space.varies[k]]
    line_searches = 0
    while axes:
        before = here
        free = [(_direction(space, random, few=bool(k % 2)), None) for k in range(random_directions)]
        directions = [*axes, *free]
        for k in random.permutation(len(directions)):
            here = space.move(here, *directions[k])
        line_searches += len(directions)
        if here is not before and (here.point != before.point).any():
            here = space.move(here, here.point - before.point)
            line_searches += 1
        if abs(here.score - before.score) < LEAST_GAIN:
            break
    return here, line_searches


def _direction(space: Space, random: np.random.Generator, *, few: bool) -> Floats:
    """(F,) a random unit vector, of all columns that vary or of a few."""
    direction = random.normal(size=len(space.varies)) * space.varies
    varying = np.flatnonzero(space.varies)
    if few and len(varying) > FEW[0]:
        moved = random.permutation(varying)[: random.integers(FEW[0], FEW[1] + 1)]
        direction *= np.isin(np.arange(len(direction)), moved)
    return direction / np.linalg.norm(direction)


def _random_point(space: Space, random: np.random.Generator) -> Floats:
    """(F,) any direction within the bounds; between two finite bounds anywhere."""
    low, high = space.bounds.T
    point = random.normal(size=len(low))
    share = random.uniform(size=len(low))
    both = np.isfinite(low) & np.isfinite(high)
    with np.errstate(invalid="ignore"):
        point = np.where(both, low + share * (high - low), point)
    point = np.where(point < low, low + np.abs(point), point)
    return np.where(point > high, high - np.abs(point), point)
