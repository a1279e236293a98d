"""Minimum error rate training: the weights whose 1-bests score best, by exact line searches (Och 2003).

A descent goes along the coordinates, some random directions and its own last displacement, until a round
gains next to nothing. The first descent starts from the given weights; the others start from random points
or, more often, from the best point so far, shaken.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from nbest.errors import ConfigError, FormatError, WeightsError
from rescoring.loglinear import one_best, totals
from rescoring.metrics.base import Metric
from rescoring.nbest import NbestLists
from rescoring.tuning.space import Place, Space

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Start = Literal["given", "random", "shaken"]

RESTARTS = 20
RANDOM_DIRECTIONS = 16  # a round
RANDOM_STARTS = 0.15  # of the later descents; the others start near the best point so far
SHAKE = (0.1, 0.6)  # length of the shaking vector, the point's own length being 1; drawn log-uniformly
LEAST_GAIN = 1e-3  # points of the metric: a round that gains less is the last


@dataclass(frozen=True)
class Descent:
    """One descent: where it started, the score it reached, the exact line searches it made."""

    start: Start
    score: float
    line_searches: int


@dataclass(frozen=True)
class Tuned:
    """What tuning found.

    vector         (F,) weights, their absolute values summing to 1 unless ranges fix the scale
    score          of the 1-bests under `vector`, on the tuning lists
    initial_score  of the 1-bests under the initial weights
    descents       one for each restart, in order
    constant       columns that are the same throughout every list: their weight is 0
    """

    vector: Floats
    score: float
    initial_score: float
    descents: tuple[Descent, ...]
    constant: tuple[str, ...]

    @property
    def line_searches(self) -> int:
        """Exact line searches of all descents."""
        return sum(descent.line_searches for descent in self.descents)


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
    progress: Callable[[int, Tuned], None] | None = None,
) -> Tuned:
    """Weights (F,) for `lists` whose 1-bests score best by `counts` (N, K) of `metric`.

    `initial` (F,) is where the first of `restarts` descents starts, ones unless given. `ranges` (F, 2) holds
    the lowest and highest weight of each column, infinite where there is none; one that is neither infinite
    nor 0 fixes the scale, else weights are scaled to an absolute sum of 1. `progress` is told after each
    descent how many are done and what is best so far. The same arguments give the same weights.

    Raises FormatError for an empty list, WeightsError for weights or ranges that do not fit.
    """
    first = _initial(lists, initial)
    if counts.shape != (len(lists.texts), len(metric.count_names)):
        raise FormatError(
            "counts do not fit the lists",
            where=lists.source,
            expected=f"shape {(len(lists.texts), len(metric.count_names))}",
            got=f"{counts.shape}",
        )
    if restarts < 1 or random_directions < 0:
        raise ConfigError("no descent to make", expected="restarts of at least 1, directions of at least 0")
    if not len(lists):
        raise FormatError("no lists to tune on", where=lists.source)
    initial_score = _score(lists, counts, metric, first)
    random = np.random.default_rng(seed)
    space = Space.of(lists, counts, metric, _ranges(lists, first, ranges))
    best: Place | None = None
    descents: list[Descent] = []
    while True:
        start, point = _start(space, best, first, random)
        place, line_searches = _descend(space, point, random, random_directions)
        descents.append(Descent(start, place.score, line_searches))
        if best is None or space.better(place.score, best.score):
            best = place
        done = len(descents) == restarts
        if done or progress is not None:
            vector = space.weights(best.point)
            score = _score(lists, counts, metric, vector)
            constant = tuple(np.array(lists.column_names)[~space.varies].tolist())
            tuned = Tuned(vector, score, initial_score, tuple(descents), constant)
            if progress is not None:
                progress(len(descents), tuned)
            if done:
                return tuned


def _descend(
    space: Space, start: Floats, random: np.random.Generator, random_directions: int
) -> tuple[Place, int]:
    """The place that a descent from `start` reaches, and the line searches it made."""
    here = space.place(start)
    axes = [(axis, space.axes[k]) for k, axis in enumerate(np.eye(len(start))) if space.varies[k]]
    line_searches = 0
    while axes:
        before = here
        free = random.normal(size=(random_directions, len(start))) * space.varies
        directions = [*axes, *((one / np.linalg.norm(one), None) for one in free)]
        for k in random.permutation(len(directions)):
            here = space.move(here, *directions[k])
        line_searches += len(directions)
        if here is not before and (here.point != before.point).any():
            here = space.move(here, here.point - before.point)
            line_searches += 1
        if abs(here.score - before.score) < LEAST_GAIN:
            break
    return here, line_searches


def _start(
    space: Space, best: Place | None, first: Floats, random: np.random.Generator
) -> tuple[Start, Floats]:
    """Where the next descent starts."""
    if best is None:
        return "given", first * space.spreads
    low, high = space.bounds.T
    if random.random() < RANDOM_STARTS:
        point = random.uniform(-1.0, 1.0, size=len(first))
        both = np.isfinite(low) & np.isfinite(high)
        with np.errstate(invalid="ignore"):
            point = np.where(both, low + (point + 1.0) / 2.0 * (high - low), point)
        point = np.where(point < low, low + np.abs(point), point)
        return "random", np.where(point > high, high - np.abs(point), point)
    strength = np.exp(random.uniform(*np.log(SHAKE)))
    noise = random.normal(size=len(first)) / np.sqrt(len(first))
    return "shaken", best.point + strength * max(float(np.linalg.norm(best.point)), 1e-9) * noise


def _initial(lists: NbestLists, initial: Floats | None) -> Floats:
    width = lists.features.shape[1]
    first = np.ones(width) if initial is None else np.asarray(initial, dtype=np.float64)
    if first.shape != (width,) or not np.isfinite(first).all():
        raise WeightsError(
            "initial weights do not fit",
            where=lists.source,
            expected=f"{width} finite weights",
            got=str(first),
        )
    return first


def _ranges(lists: NbestLists, first: Floats, ranges: Floats | None) -> Floats:
    if ranges is None:
        return np.tile([-np.inf, np.inf], (len(first), 1))
    ranges = np.asarray(ranges, dtype=np.float64)
    if ranges.shape != (len(first), 2) or np.isnan(ranges).any():
        raise WeightsError(
            "ranges do not fit",
            where=lists.source,
            expected=f"({len(first)}, 2) bounds",
            got=f"{ranges.shape}",
        )
    for column, (low, high) in enumerate(ranges.tolist()):
        if low > high or low == np.inf or high == -np.inf or not low <= first[column] <= high:
            raise WeightsError(
                f"range of {lists.column_names[column]} does not fit",
                where=lists.source,
                expected="low <= initial weight <= high",
                got=f"low {low:g}, initial {first[column]:g}, high {high:g}",
            )
    return ranges


def _score(lists: NbestLists, counts: Ints, metric: Metric, vector: Floats) -> float:
    """The metric of the 1-bests under `vector`, as whoever applies the weights will get them."""
    return float(metric.score(counts[one_best(lists, totals(lists, vector))].sum(axis=0)))
