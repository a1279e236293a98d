"""Batch MIRA: small corrections, list by list, from what the model fears to what it hopes.

Hope scores well by the model and by the metric, fear well by the model and badly by the metric (Cherry and
Foster 2012, section 4). What a hypothesis is worth is judged within a decaying background corpus, so any
metric of counts will do. The weights of an epoch are averaged, and the best epoch is kept.
"""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from nbest.errors import ConfigError
from rescoring.metrics.base import Metric
from rescoring.nbest import NbestLists
from rescoring.tuning.result import Tuned, check_counts, checked_initial, checked_ranges, score_of
from rescoring.tuning.space import Space

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

EPOCHS = 60  # section 4.1
STEP = 0.01  # C, the largest step; section 4.1
DECAY = 0.999  # of the background corpus a list; section 3


def tune(
    lists: NbestLists,
    counts: Ints,
    metric: Metric,
    initial: Floats | None = None,
    *,
    epochs: int = EPOCHS,
    step: float = STEP,
    seed: int = 1,
    ranges: Floats | None = None,
    progress: Callable[[int, Tuned], None] | None = None,
) -> Tuned:
    """Weights (F,) for `lists` by `counts` (N, K) of `metric`; other arguments as of `mert.tune`.

    The lists come in another order in each of the `epochs`, drawn by `seed`; `step` bounds what one list
    may change. The initial weights are kept where no epoch is better. `progress` is told after each epoch
    how many are done and what is best so far. Raises as `mert.tune` does.
    """
    first = checked_initial(lists, initial)
    check_counts(lists, counts, metric)
    bounds = checked_ranges(lists, first, ranges)
    if epochs < 1 or not 0.0 < step < np.inf:
        raise ConfigError("nothing to learn with", expected="epochs of at least 1, a step above 0")
    before = score_of(lists, counts, metric, first)
    space = Space.of(lists, counts, metric, bounds)
    best = Tuned(space.scaled(first), before, before, (), space.constant(lists))
    learner = _Learner(space, first * space.spreads, step)
    random = np.random.default_rng(seed)
    for number in range(epochs):
        vector = space.weights(learner.epoch(random.permutation(len(lists))))
        score = score_of(lists, counts, metric, vector)
        if space.better(score, best.score):
            best = Tuned(vector, score, before, (), best.constant)
        if progress is not None:
            progress(number + 1, best)
    return best


class _Learner:
    """The weights as they change, and the background corpus that judges hypotheses."""

    def __init__(self, space: Space, start: Floats, step: float) -> None:
        self._space = space
        self._step = step
        self._low, self._high = space.bounds.T
        length = float(np.linalg.norm(start[space.varies]))
        self._weights = np.where(space.varies, start, 0.0)  # (F,)
        if space.scales and length > 0.0:
            self._weights /= length
        pairs = zip(space.offsets[:-1].tolist(), space.offsets[1:].tolist(), strict=True)
        self._lists = [  # (n, F) features and (n, K) counts of each list
            (np.ascontiguousarray(space.columns[:, begin:end].T), space.counts[begin:end])
            for begin, end in pairs
        ]
        self._corpus = space.counts[space.offsets[:-1]].mean(axis=0)  # (K,) one segment to begin with
        self._segments = 1.0
        self._sign = 1.0 if space.metric.larger_is_better else -1.0

    def epoch(self, order: Ints) -> Floats:
        """(F,) the mean of the weights after each list, in this order."""
        total = np.zeros_like(self._weights)
        for segment in order.tolist():
            self._learn(*self._lists[segment])
            total += self._weights
        return total / len(order)

    def _learn(self, features: Floats, counts: Ints) -> None:
        scores = features @ self._weights  # (n,)
        judged = self._sign * self._space.metric.score(self._corpus + counts)
        worth = judged * (self._segments + 1.0) / 100.0  # (n,) of one segment, the metric from 0 to 1
        hope, fear = int(np.argmax(scores + worth)), int(np.argmax(scores - worth))
        apart = features[hope] - features[fear]  # (F,)
        loss = float(worth[hope] - worth[fear]) - float(scores[hope] - scores[fear])
        size = float(apart @ apart)
        if loss > 0.0 and size > 0.0:
            moved = self._weights + min(self._step, loss / size) * apart
            self._weights = np.clip(moved, self._low, self._high)
        self._corpus = DECAY * (self._corpus + counts[hope])
        self._segments = DECAY * (self._segments + 1.0)
