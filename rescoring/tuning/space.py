"""Where tuning searches: standardised columns, places with their score, moves along lines.

Each column is centred within its list, which changes no ranking, and divided by its spread, so that a step
means as much for a log-probability of -200 as for a count of 3.
"""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from nbest.errors import FeatureError
from rescoring.metrics.base import Metric
from rescoring.nbest import NbestLists
from rescoring.tuning.envelope import Heights, Slopes
from rescoring.tuning.line_search import best_step, stretches

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]


@dataclass(frozen=True)
class Place:
    """A point (F,) of the search, the scores of all hypotheses there, and what the 1-bests are worth.

    That is the metric, made worse by the pull where there is one.
    """

    point: Floats
    heights: Heights
    score: float


@dataclass(frozen=True)
class Space:
    """The standardised problem.

    columns  (F, N) features, centred within their list, divided by their spread; zero where constant
    spreads  (F,) root mean square of the centred columns
    varies   (F,) whether a column differs within any list
    axes     F slopes along the coordinates; None where constant
    bounds   (F, 2) of a point
    scales   whether points may be scaled: no finite bound but 0
    weighed  (K, N) the counts as floating point, for expectations
    anchor   (F,) the point that pulls
    pull     points of the metric per squared distance from the anchor
    """

    columns: Floats
    spreads: Floats
    varies: Bools
    axes: tuple[Slopes | None, ...]
    bounds: Floats
    scales: bool
    offsets: Ints
    counts: Ints
    weighed: Floats
    metric: Metric
    anchor: Floats
    pull: float = 0.0

    @classmethod
    def of(cls, lists: NbestLists, counts: Ints, metric: Metric, ranges: Floats) -> "Space":
        """The space of `lists`, none of them empty; `ranges` (F, 2) bound the weights of the features.

        Raises FeatureError for a feature whose squares leave the range of a double.
        """
        begins, sizes = lists.offsets[:-1], np.diff(lists.offsets)
        columns = np.array(lists.features.T, order="C")  # (F, N), a copy
        highest = np.maximum.reduceat(columns, begins, axis=1)
        varies: Bools = np.any(highest > np.minimum.reduceat(columns, begins, axis=1), axis=1)
        with np.errstate(over="ignore", invalid="ignore"):
            columns -= np.repeat(np.add.reduceat(columns, begins, axis=1) / sizes, sizes, axis=1)
            spreads = np.where(varies, np.sqrt(np.mean(columns**2, axis=1)), 1.0)
        for column in np.flatnonzero(~np.isfinite(spreads) | (spreads == 0.0)):
            raise FeatureError(
                f"feature {lists.column_names[column]} cannot be standardised",
                where=lists.source,
                expected="values whose squares are neither too large nor too small for a double",
            )
        columns /= spreads[:, None]
        columns[~varies] = 0.0
        scales = bool(np.isin(ranges, (-np.inf, 0.0, np.inf)).all())
        bounds = ranges * spreads[:, None]
        axes = tuple(
            Slopes.of(column, lists.offsets) if differs else None
            for column, differs in zip(columns, varies.tolist(), strict=True)
        )
        weighed = np.array(counts.T, dtype=np.float64, order="C")
        return cls(
            columns=columns,
            spreads=spreads,
            varies=varies,
            axes=axes,
            bounds=bounds,
            scales=scales,
            offsets=lists.offsets,
            counts=counts,
            weighed=weighed,
            metric=metric,
            anchor=np.zeros(len(columns)),
        )

    def pulled(self, anchor: Floats, pull: float) -> "Space":
        """This space with a pull towards `anchor`."""
        return replace(self, anchor=self._unit(anchor), pull=pull)

    def loss(self, points: Floats) -> Floats:
        """(...) what the pull takes from the metric at points (..., F), with the metric's sign."""
        sign = 1.0 if self.metric.larger_is_better else -1.0
        return np.asarray(sign * self.pull * np.sum((self._unit(points) - self.anchor) ** 2, axis=-1))

    def better(self, score: float, than: float) -> bool:
        """Whether a score of the metric is better than another."""
        return score > than if self.metric.larger_is_better else score < than

    def combined(self, point: Floats) -> Floats:
        """(N,) weighted sums of the columns; not by BLAS, whose last bits depend on the number of threads."""
        sums: Floats = np.einsum("f,fn->n", point, self.columns)
        return sums

    def place(self, point: Floats) -> Place:
        """The point, brought within the bounds and to length 1 where the scale is free, and its score."""
        point = self._unit(np.where(self.varies, np.clip(point, *self.bounds.T), 0.0))
        heights = Heights.of(self.combined(point), self.offsets)
        score = float(self.metric.score(self.counts[heights.summits].sum(axis=0)))
        return Place(point, heights, score - float(self.loss(point)) if self.pull else score)

    def move(self, here: Place, direction: Floats, slopes: Slopes | None = None) -> Place:
        """The best place on the line through `here`; `here` itself where none is better.

        `slopes` are those of the direction, where they are known already.
        """
        if slopes is None:
            slopes = Slopes.of(self.combined(direction), self.offsets)
        line = stretches(here.heights, slopes, self.offsets, self.counts)
        low, high = self.reach(here.point, direction)
        loss = (lambda g: self.loss(here.point + g[:, None] * direction)) if self.pull else None
        step = best_step(line, self.metric, low, high, loss)
        if step is None or not self.better(step.score, here.score):
            return here
        there = self.place(here.point + step.distance * direction)
        return there if self.better(there.score, here.score) else here

    def _unit(self, points: Floats) -> Floats:
        """The points (..., F), of length 1 where the scale is free."""
        lengths = np.linalg.norm(points, axis=-1, keepdims=True)
        return points / np.where(lengths > 0.0, lengths, 1.0) if self.scales else points

    def reach(self, point: Floats, direction: Floats) -> tuple[float, float]:
        """How far to both sides the bounds let a point go."""
        moves = direction != 0.0
        ends = (self.bounds[moves] - point[moves, None]) / direction[moves, None]  # (M, 2)
        return min(0.0, float(ends.min(axis=1).max())), max(0.0, float(ends.max(axis=1).min()))

    def constant(self, lists: NbestLists) -> tuple[str, ...]:
        """The columns that are the same throughout every list."""
        return tuple(name for name, one in zip(lists.column_names, self.varies, strict=True) if not one)

    def weights(self, point: Floats) -> Floats:
        """(F,) weights of the features as they stand in the lists."""
        return self.scaled(np.where(self.varies, point / self.spreads, 0.0))

    def scaled(self, vector: Floats) -> Floats:
        """(F,) the weights, their absolute values summing to 1 where the scale is free."""
        total = float(np.abs(vector).sum())
        return vector / total if self.scales and total > 0.0 else vector
