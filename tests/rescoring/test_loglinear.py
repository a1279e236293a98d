import re
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nbest.errors import FormatError, WeightsError
from rescoring import loglinear
from rescoring.nbest import Feature, NbestLists
from rescoring.weights import WeightSet

Make = Callable[..., NbestLists]


def test_by_hand(make_lists: Make) -> None:
    """Two lists; in the first two totals are equal."""
    lists = make_lists([["a", "b", "c"], ["d", "e"]], [[1, 2], [3, 1], [0, 0], [-1, 0], [0, -1]])
    vector = loglinear.vector(WeightSet({"f1": (2.0,), "f0": (1.0,)}), lists)
    assert vector.tolist() == [1.0, 2.0]
    totals = loglinear.totals(lists, vector)
    assert totals.dtype == np.float64
    assert totals.tolist() == [5, 5, 0, -1, -2]
    assert loglinear.ranking(lists, totals).tolist() == [0, 1, 2, 3, 4]
    assert loglinear.one_best(lists, totals).tolist() == [0, 3]
    assert loglinear.ranking(lists, -totals).tolist() == [2, 0, 1, 4, 3]
    assert loglinear.one_best(lists, -totals).tolist() == [2, 4]
    assert loglinear.contributions(lists, vector).tolist() == [[1, 4], [3, 2], [0, 0], [-1, 0], [0, -2]]


def test_contributions_of_a_wide_feature_are_one() -> None:
    lists = NbestLists(
        ("a",), np.array([0, 1]), ("x",), (Feature("tm", 2), Feature("lm")), np.array([[1.0, 2.0, 3.0]])
    )
    assert loglinear.contributions(lists, np.array([10.0, 1.0, 2.0])).tolist() == [[12.0, 6.0]]


@given(st.lists(st.lists(st.integers(-3, 3), min_size=1, max_size=6), min_size=1, max_size=6))
def test_ranking_is_a_stable_sort_of_each_list(make_lists: Make, scores: list[list[int]]) -> None:
    lists = make_lists([["x"] * len(one) for one in scores], [[s] for one in scores for s in one])
    totals = loglinear.totals(lists, np.ones(1))
    wanted = [row for rows in lists for row in sorted(rows, key=lambda row: -totals[row])]
    order = loglinear.ranking(lists, totals)
    assert order.tolist() == wanted
    assert sorted(order.tolist()) == list(range(len(totals)))
    assert loglinear.one_best(lists, totals).tolist() == order[lists.offsets[:-1]].tolist()


def test_totals_do_not_depend_on_how_lists_are_cut(make_lists: Make) -> None:
    random = np.random.default_rng(0)
    lists = make_lists([["x"] * size for size in (3, 1, 40, 7)], random.normal(size=(51, 14)) * 100)
    vector = random.normal(size=14)
    whole = loglinear.totals(lists, vector)
    parts = [loglinear.totals(lists.select([segment]), vector) for segment in range(4)]
    assert np.concatenate(parts).tobytes() == whole.tobytes()
    assert whole == pytest.approx(lists.features @ vector)


def test_no_features_leave_the_order(make_lists: Make) -> None:
    lists = make_lists([["a", "b"]], np.zeros((2, 0)))
    totals = loglinear.totals(lists, np.zeros(0))
    assert loglinear.ranking(lists, totals).tolist() == [0, 1]


def test_what_does_not_fit(make_lists: Make) -> None:
    lists = make_lists([["a", "b"]], [[1e300], [1.0]])
    with pytest.raises(WeightsError, match=re.escape("expected 1 weights; got shape (2,)")):
        loglinear.totals(lists, np.ones(2))
    with pytest.raises(WeightsError, match=r"<memory>, hypothesis 0: weighted sum is not finite"):
        loglinear.totals(lists, np.array([1e300]))
    with pytest.raises(WeightsError, match="the lists lack 'lm'"):
        loglinear.vector(WeightSet({"lm": (1.0,)}), lists)


def test_an_empty_list_has_no_best(make_lists: Make) -> None:
    lists = make_lists([["a"], []], [[1.0]])
    with pytest.raises(FormatError, match="list '1': an empty list has no best hypothesis"):
        loglinear.one_best(lists, np.ones(1))
    assert loglinear.ranking(lists, np.ones(1)).tolist() == [0]
    assert loglinear.one_best(make_lists([], np.zeros((0, 1))), np.zeros(0)).tolist() == []
