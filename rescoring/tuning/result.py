"""What tuning gives back, and the checks of what it is given: the same for every optimizer."""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from nbest.errors import FormatError, WeightsError
from rescoring.loglinear import one_best, totals
from rescoring.metrics.base import Metric
from rescoring.nbest import NbestLists

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Start = Literal["given", "random"]


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
    constant       columns that are the same throughout every list: 0, unless the initial weights were best
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


def check_counts(lists: NbestLists, counts: Ints, metric: Metric) -> None:
    """Raises FormatError unless there are counts (N, K) for the lists, and lists at all."""
    if counts.shape != (len(lists.texts), len(metric.count_names)):
        raise FormatError(
            "counts do not fit the lists",
            where=lists.source,
            expected=f"shape {(len(lists.texts), len(metric.count_names))}",
            got=f"{counts.shape}",
        )
    if not len(lists):
        raise FormatError("no lists to tune on", where=lists.source)


def checked_initial(lists: NbestLists, initial: Floats | None) -> Floats:
    """(F,) the initial weights, ones unless given; raises WeightsError where they do not fit."""
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


def checked_ranges(lists: NbestLists, first: Floats, ranges: Floats | None) -> Floats:
    """(F, 2) the bounds, infinite unless given; raises WeightsError where they do not fit."""
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


def score_of(lists: NbestLists, counts: Ints, metric: Metric, vector: Floats) -> float:
    """The metric of the 1-bests under `vector`, as whoever applies the weights will get them."""
    return float(metric.score(counts[one_best(lists, totals(lists, vector))].sum(axis=0)))
