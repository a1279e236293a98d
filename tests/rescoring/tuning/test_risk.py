"""The expected metric against its definition, its gradient against differences, its ascent against a grid."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from rescoring.metrics import Metric, get_metric
from rescoring.nbest import NbestLists
from rescoring.tuning.risk import ascend, expected
from rescoring.tuning.space import Space

Make = Callable[..., NbestLists]
FREE = (-np.inf, np.inf)


@pytest.fixture(scope="module")
def lists(make_lists: Make) -> NbestLists:
    random = np.random.default_rng(3)
    return make_lists([["x"] * size for size in (1, 5, 3, 7, 4)], random.normal(size=(20, 3)))


def counts_for(metric: Metric) -> np.ndarray:
    random = np.random.default_rng(4)
    if metric.name == "wer":
        return np.column_stack([random.integers(0, 5, size=(20, 3)), np.full(20, 9)])
    matches = np.sort(random.integers(1, 9, size=(20, 4)), axis=1)[:, ::-1]
    return np.column_stack([np.full(20, 9), np.full(20, 10), matches, np.tile([9, 8, 7, 6], (20, 1))])


def space_of(lists: NbestLists, metric: Metric, bounds: Any = FREE) -> Space:
    return Space.of(lists, counts_for(metric), metric, np.broadcast_to(np.array(bounds, float), (3, 2)))


@pytest.mark.parametrize("name", ["wer", "bleu"])
def test_the_metric_of_expected_counts(lists: NbestLists, name: str) -> None:
    metric = get_metric(name)
    space, point, penalty = space_of(lists, metric), np.array([0.5, -1.0, 2.0]), 0.1
    counts, sums = counts_for(metric), np.zeros(len(metric.count_names))
    for rows in lists:
        weights = np.exp(point @ space.columns[:, list(rows)])
        sums += weights / weights.sum() @ counts[list(rows)]
    sign = 1 if metric.larger_is_better else -1
    found = expected(space, point, penalty)
    assert found.gain == pytest.approx(sign * float(metric.score(sums)) - penalty * 5.25)
    for axis, step in enumerate(np.eye(3) * 1e-5):
        ends = [expected(space, point + way * step, penalty).gain for way in (1, -1)]
        assert found.gradient[axis] == pytest.approx((ends[0] - ends[1]) / 2e-5, rel=1e-4, abs=1e-6)


@pytest.mark.parametrize("name", ["wer", "bleu"])
def test_no_point_near_by_is_better(lists: NbestLists, name: str) -> None:
    space = space_of(lists, get_metric(name))
    start = np.array([1.0, 1.0, 1.0])
    top = ascend(space, start, 0.05)
    gain = expected(space, top.point * top.scale, 0.05).gain
    assert gain == pytest.approx(top.gain)
    random = np.random.default_rng(0)
    near = [
        expected(space, top.point * top.scale + 0.05 * random.normal(size=3), 0.05).gain for _ in range(50)
    ]
    assert gain > max(near) - 0.01
    scales = np.geomspace(0.01, 100, 50)
    assert gain >= max(expected(space, start * scale, 0.05).gain for scale in scales)
    assert (start == 1.0).all()


def test_bounds_hold_at_any_scale(lists: NbestLists) -> None:
    metric = get_metric("wer")
    signs = ascend(space_of(lists, metric, (0.0, np.inf)), np.ones(3), 0.01).point
    assert (signs >= 0.0).all()
    bounds = np.array([[1.0, 1.0], [-0.5, 2.0], [-np.inf, np.inf]])
    space = space_of(lists, metric, bounds)
    found = ascend(space, np.array([1.0, 0.0, 0.0]) * space.spreads, 0.01)
    point = found.point / space.spreads
    assert point[0] == pytest.approx(1.0)
    assert -0.5 - 1e-12 <= point[1] <= 2.0 + 1e-12


def test_nothing_to_learn(make_lists: Make) -> None:
    """One hypothesis a list, or a start at zero: no gradient, or one that is used all the same."""
    alone = make_lists([["a"], ["b"]], [[1.0], [2.0]])
    space = Space.of(alone, np.ones((2, 4), np.int64), get_metric("wer"), np.array([FREE]))
    assert ascend(space, np.array([3.0]), 0.01).point.tolist() == [0.0]
    pair = make_lists([["a", "b"]], [[1.0], [2.0]])
    counts = np.array([[0, 0, 0, 1], [1, 0, 0, 1]])
    space = Space.of(pair, counts, get_metric("wer"), np.array([FREE]))
    assert ascend(space, np.array([0.0]), 0.01).point[0] < 0.0
