from collections.abc import Callable

import numpy as np
import pytest

from nbest.errors import ConfigError, FeatureError
from rescoring.loglinear import totals
from rescoring.nbest import Feature, NbestLists
from rescoring.tuning.constraints import Constraints, constrained

Make = Callable[..., NbestLists]


@pytest.fixture
def lists(make_lists: Make) -> NbestLists:
    """Features a, wide (3 columns), b."""
    from dataclasses import replace

    random = np.random.default_rng(0)
    made = make_lists([["x"] * 4, ["y"] * 3], random.normal(size=(7, 5)))
    return replace(made, schema=(Feature("a"), Feature("wide", 3), Feature("b")))


def test_without_rules_nothing_changes(lists: NbestLists) -> None:
    problem = constrained(lists, np.arange(5.0), Constraints())
    assert problem.lists is lists
    assert problem.vector(np.arange(5.0)).tolist() == [0, 1, 2, 3, 4]
    assert np.isinf(problem.ranges).all()


def test_fixed_weights_and_ranges(lists: NbestLists) -> None:
    rules = Constraints(fixed={"wide[1]": 0.5}, ranges={"a": (0.0, np.inf), "b": (-1.0, 2.0)})
    problem = constrained(lists, np.full(5, 3.0), rules)
    assert problem.initial.tolist() == [3.0, 3.0, 0.5, 3.0, 2.0]
    assert problem.ranges[[0, 2, 4]].tolist() == [[0.0, np.inf], [0.5, 0.5], [-1.0, 2.0]]


def test_a_group_keeps_its_ratios(lists: NbestLists) -> None:
    initial = np.array([2.0, 1.0, 0.0, -1.0, 4.0])
    problem = constrained(
        lists, initial, Constraints(fixed={"wide[1]": 7.0}, groups=[["b", "a"], ["wide[0]"]])
    )
    assert problem.lists.column_names == ("a+b", "wide[0]", "wide[1]", "wide[2]")
    assert problem.initial.tolist() == [1.0, 1.0, 7.0, -1.0]
    weights = np.array([0.5, 3.0, 7.0, 0.25])
    assert problem.vector(weights).tolist() == [1.0, 3.0, 7.0, 0.25, 2.0]
    assert totals(problem.lists, weights) == pytest.approx(totals(lists, problem.vector(weights)))


@pytest.mark.parametrize(
    ("rules", "error", "message"),
    [
        (Constraints(fixed={"c": 1.0}), FeatureError, "unknown feature 'c'"),
        (Constraints(fixed={"a": 1.0}, groups=[["a", "b"]]), ConfigError, "two rules for the weight of a;"),
        (Constraints(groups=[["wide"], ["wide[2]"]]), ConfigError, r"two rules for the weight of wide\[2\]"),
        (Constraints(ranges={"a": (2.0, 1.0)}), ConfigError, "no range for the weight of 'a'.* got 2:1"),
        (Constraints(groups=[["b"]]), ConfigError, "the group 'b' has no ratios to keep"),
    ],
)
def test_contradictions(lists: NbestLists, rules: Constraints, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        constrained(lists, np.array([1.0, 1.0, 1.0, 1.0, 0.0]), rules)
