"""Minimum risk: the metric expected under the lists' posterior, which has a gradient, and the way up it.

The posterior of a list is the softmax of its scores. The metric of the *expected* counts is smooth in the
weights where that of the 1-bests is a staircase, so its best point is found in a few gradient steps; a
penalty on the squared weights keeps the posterior soft (Smith and Eisner 2006; Och 2003, section 3). It is
where descents of `mert` start, and a stable optimizer of its own.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from nbest.errors import ConfigError
from rescoring.metrics.base import Metric
from rescoring.nbest import NbestLists
from rescoring.tuning.result import Tuned, check_counts, checked_initial, checked_ranges, score_of
from rescoring.tuning.space import Space

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

PENALTY = 0.003  # points of the metric per squared weight of a standardised column
MEMORY = 6  # steps that L-BFGS remembers
STEPS = 100  # at most
LEAST_GAIN = 1e-3  # points of the metric: a step that gains less is the last
LEAST_STEP = 1e-3  # of a step's length, when it is halved until it gains
SUFFICIENT = 1e-4  # of what the gradient promises: a step that gains less is halved (Armijo)
DIFFERENCE = 1e-3  # of a count, for the metric's own derivative
SCALES = np.geomspace(0.1, 30.0, 8)  # of the start's length: the sharpness of the first posterior


@dataclass(frozen=True)
class Expected:
    """The expected metric at a point, turned so that more is better, and its gradient (F,)."""

    gain: float
    gradient: Floats


@dataclass(frozen=True)
class Ascent:
    """Where an ascent ended.

    point  (F,) within the bounds
    scale  of the posterior: the expected metric is that at ``scale * point``
    gain   the expected metric there, less the penalty, turned so that more is better
    """

    point: Floats
    scale: float
    gain: float


def expected(space: Space, point: Floats, penalty: float = 0.0) -> Expected:
    """The metric of the counts expected under ``softmax(point . columns)``, less `penalty` x |point|^2."""
    sizes, begins = np.diff(space.offsets), space.offsets[:-1]
    posterior = space.combined(point)  # (N,) scores first
    posterior -= np.repeat(np.maximum.reduceat(posterior, begins), sizes)
    np.exp(posterior, out=posterior)
    posterior /= np.repeat(np.add.reduceat(posterior, begins), sizes)
    sums = np.einsum("n,kn->k", posterior, space.weighed)  # (K,)
    sign = 1.0 if space.metric.larger_is_better else -1.0
    value = sign * float(space.metric.score(sums))
    steps = np.diag(DIFFERENCE * np.maximum(1.0, np.abs(sums)))
    ends = space.metric.score(np.concatenate([sums + steps, np.maximum(sums - steps, 0.0)]))  # (2K,)
    lengths = np.diag(steps) + np.minimum(np.diag(steps), sums)
    slopes = sign * (ends[: len(sums)] - ends[len(sums) :]) / lengths  # (K,)
    worth = np.einsum("kn,k->n", space.weighed, slopes)  # (N,) to first order
    worth -= np.repeat(np.add.reduceat(posterior * worth, begins), sizes)
    gradient = np.einsum("fn,n->f", space.columns, posterior * worth)
    return Expected(value - penalty * float(point @ point), gradient - 2.0 * penalty * point)


def ascend(space: Space, start: Floats, penalty: float) -> Ascent:
    """The point within the bounds to which the expected metric rises from `start`.

    The start is scaled first, to where its expected metric is highest; bounds are scaled with it. Projected
    L-BFGS: Nocedal and Wright 2006, algorithm 7.4.
    """
    scale = _scale(space, start, penalty)
    low, high = (space.bounds * scale).T
    here = np.where(space.varies, np.clip(start * scale, low, high), 0.0)
    now = expected(space, here, penalty)
    moves: list[tuple[Floats, Floats]] = []  # steps, and how much the gradient fell
    for _ in range(STEPS):
        free = space.varies & ((here > low) | (now.gradient > 0.0)) & ((here < high) | (now.gradient < 0.0))
        uphill = np.where(free, now.gradient, 0.0)
        if not uphill.any():
            break
        direction = np.where(free, _curved(uphill, moves), 0.0)
        if direction @ uphill <= 0.0:
            direction = uphill
        if not moves:
            direction *= 0.3 * max(float(np.linalg.norm(here)), 1.0) / float(np.linalg.norm(direction))
        length = 1.0
        while length >= LEAST_STEP:
            there = np.clip(here + length * direction, low, high)
            then = expected(space, there, penalty)
            if then.gain > now.gain + SUFFICIENT * float((there - here) @ uphill):
                break
            length /= 2.0
        else:
            break
        step, fall = there - here, now.gradient - then.gradient
        if step @ fall > 1e-10:
            moves = [*moves, (step, fall)][-MEMORY:]
        gained = then.gain - now.gain
        here, now = there, then
        if gained < LEAST_GAIN:
            break
    return Ascent(here / scale, scale, now.gain)


def _scale(space: Space, start: Floats, penalty: float) -> float:
    """By what to multiply the start so that its expected metric is highest."""
    length = float(np.linalg.norm(start[space.varies]))
    if length == 0.0:
        return 1.0
    scales = SCALES / length
    gains = [expected(space, np.where(space.varies, start * one, 0.0), penalty).gain for one in scales]
    return float(scales[int(np.argmax(gains))])


def _curved(uphill: Floats, moves: list[tuple[Floats, Floats]]) -> Floats:
    """The direction of L-BFGS: the gradient times an estimate of the inverse curvature."""
    direction = uphill.copy()
    pulls: list[float] = []
    for step, fall in reversed(moves):
        pulls.append(float(step @ direction) / float(step @ fall))
        direction -= pulls[-1] * fall
    if moves:
        step, fall = moves[-1]
        direction *= (step @ fall) / (fall @ fall)
    for (step, fall), pull in zip(moves, reversed(pulls), strict=True):
        direction += step * (pull - float(fall @ direction) / float(step @ fall))
    return direction


def tune(
    lists: NbestLists,
    counts: Ints,
    metric: Metric,
    initial: Floats | None = None,
    *,
    l2: float = PENALTY,
    ranges: Floats | None = None,
) -> Tuned:
    """The weights (F,) with which the expected metric, less `l2` times the squared weights, is best.

    Arguments as of `mert.tune`; nothing is random here. The weights keep their scale: it is that of the
    posterior. Raises as `mert.tune` does.
    """
    first = checked_initial(lists, initial)
    check_counts(lists, counts, metric)
    bounds = checked_ranges(lists, first, ranges)
    if not 0.0 <= l2 < np.inf:
        raise ConfigError("not a penalty", where="l2", expected="0 or more", got=f"{l2:g}")
    before = score_of(lists, counts, metric, first)
    space = Space.of(lists, counts, metric, bounds)
    found = ascend(space, first * space.spreads, l2)
    vector = np.where(space.varies, found.point / space.spreads, 0.0)
    if space.scales:
        vector = vector * found.scale
    return Tuned(vector, score_of(lists, counts, metric, vector), before, (), space.constant(lists))
