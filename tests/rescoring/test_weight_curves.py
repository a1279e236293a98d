from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from nbest.errors import WeightsError
from rescoring import loglinear
from rescoring.metrics import get_metric
from rescoring.nbest import Feature, NbestLists
from rescoring.weight_curves import POINTS, columns_of, weight_curves

NAMES = ("ac", "lm", "flat", "unused")


def lists_of(make_lists: Callable[..., NbestLists], random: np.random.Generator) -> tuple[Any, Any]:
    texts = [[" ".join(random.choice(list("abcd"), size=5)) for _ in range(9)] for _ in range(20)]
    features = random.normal(size=(180, 4)) * [10, 1, 0, 1]
    features[:, 2] = np.repeat(random.normal(size=20), 9)  # the same within each list
    return make_lists(texts, features, NAMES), [
        [" ".join(random.choice(list("abcd"), size=5))] for _ in texts
    ]


@pytest.mark.parametrize("name", ["bleu", "wer"])
def test_every_point_is_the_score_of_a_ranking(make_lists: Callable[..., NbestLists], name: str) -> None:
    random = np.random.default_rng(5)
    lists, references = lists_of(make_lists, random)
    metric = get_metric(name)
    counts = metric.counts(lists.texts, lists.segments, references)
    vector = np.array([0.3, -2.0, 0.7, 0.0])
    curves = weight_curves(lists, vector, counts, metric, NAMES[:3])
    assert [curve.name for curve in curves] == ["ac", "lm"]
    for curve, column in zip(curves, (0, 1), strict=True):
        assert curve.weight == vector[column]
        assert curve.values[POINTS // 2] == curve.weight
        for value, score in zip(curve.values, curve.scores, strict=True):
            moved = vector.copy()
            moved[column] = value
            best = loglinear.one_best(lists, loglinear.totals(lists, moved))
            assert score == pytest.approx(float(metric.score(counts[best].sum(axis=0))), abs=1e-9)


def test_how_far_a_curve_goes(make_lists: Callable[..., NbestLists]) -> None:
    """To 0 and twice the weight; a column that adds little as far as a quarter of what the strongest adds."""
    lists = make_lists([["a", "b"], ["a", "b"]], [[0, 0], [10, 1], [0, 1], [10, 0]], ("strong", "weak"))
    metric = get_metric("wer")
    counts = metric.counts(lists.texts, lists.segments, [["a"], ["b"]])
    strong, weak = weight_curves(lists, np.array([2.0, 0.01]), counts, metric, ("strong", "weak"))
    assert (strong.values[0], strong.values[-1]) == (0.0, 4.0)
    assert weak.values[-1] - weak.weight == pytest.approx(0.25 * 2 * 10 / 1)
    zero, _ = weight_curves(lists, np.zeros(2), counts, metric, ("strong", "weak"))
    assert (zero.values[0], zero.values[-1]) == (-1.0, 1.0)


def test_ties_are_broken_as_in_the_ranking(make_lists: Callable[..., NbestLists]) -> None:
    lists = make_lists([["b", "a"]], [[1.0], [1.0 + 1e-17]], ("f",))
    twice = make_lists([["b", "a"], ["x", "y"]], [[0.0], [0.0], [0.0], [1.0]], ("f",))
    metric = get_metric("wer")
    assert weight_curves(lists, np.ones(1), np.zeros((2, 4), dtype=np.int64), metric, ("f",)) == []
    counts = metric.counts(twice.texts, twice.segments, [["a"], ["y"]])
    (curve,) = weight_curves(twice, np.zeros(1), counts, metric, ("f",))
    assert curve.score == 100.0  # the first of equals, in both lists
    assert curve.best(larger_is_better=False) == (pytest.approx(1 / 60), 50.0)


def test_columns_of_a_wide_feature(make_lists: Callable[..., NbestLists]) -> None:
    lists = make_lists([["a"]], [[1.0]], ("ac",)).with_feature("tm", np.array([[1.0, 2.0]]))
    assert lists.schema[1] == Feature("tm", 2)
    assert columns_of(lists, {"tm"}) == [(1, "tm[0]"), (2, "tm[1]")]


def test_sums_that_are_not_finite(make_lists: Callable[..., NbestLists]) -> None:
    lists = make_lists([["a", "b"]], [[1e300], [0.0]], ("f",))
    with pytest.raises(WeightsError, match="weighted sum is not finite"):
        weight_curves(lists, np.array([1e300]), np.zeros((2, 4)), get_metric("wer"), ("f",))
