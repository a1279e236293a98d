"""Untuned weights: the same ranking whatever scale a total comes in, and whatever stands beside a list."""

from statistics import pstdev

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from rescoring import loglinear
from rescoring.formats.totals import total_name
from rescoring.nbest import Feature, NbestLists
from rescoring.untuned import SCALE, spread_ratios, untuned_vectors


def lists_of(features: dict[str, list[float]], sizes: list[int]) -> NbestLists:
    count = sum(sizes)
    return NbestLists(
        ids=tuple(map(str, range(len(sizes)))),
        offsets=np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64),
        texts=tuple(f"text {n}" for n in range(count)),
        schema=tuple(map(Feature, features)),
        features=np.array(list(features.values()), dtype=np.float64).T.reshape(count, len(features)),
    )


def slow_totals(lists: NbestLists, models: list[str]) -> list[float]:
    """The docstring's formula, list by list."""
    found = []
    for block in lists:
        rows = list(block)
        total = [float(lists.feature("total")[row, 0]) for row in rows]
        sums = list(total)
        for name in models:
            log_probs = [float(lists.feature(name)[row, 0]) for row in rows]
            spread = 1.0
            if pstdev(total) and pstdev(log_probs):
                power = (len(rows) - 1) / (len(rows) + 1)
                spread = (pstdev(total) / pstdev(log_probs)) ** power
            weight = SCALE / len(models) * spread
            sums = [sum_ + weight * one for sum_, one in zip(sums, log_probs, strict=True)]
        found += sums
    return found


def totals(lists: NbestLists, models: list[str]) -> NDArray[np.float64]:
    return loglinear.totals(lists, untuned_vectors(lists, total_name(lists.schema), models))


@pytest.mark.parametrize("models", [["a"], ["a", "b"]])
def test_scores_are_those_of_the_formula(models: list[str]) -> None:
    random = np.random.default_rng(1)
    sizes = random.integers(1, 12, 30).tolist()
    columns = {name: random.normal(-50, 9, sum(sizes)).tolist() for name in ("total", "a", "b")}
    lists = lists_of(columns, sizes)
    assert totals(lists, models).tolist() == pytest.approx(slow_totals(lists, models), abs=1e-9)


def test_figures_by_hand() -> None:
    # sd of the total 2, of the model 0.5: ratio 4; of three hypotheses the power is (3 - 1) / (3 + 1)
    spread = np.sqrt(1.5)  # sd of (-1, 0, 1) is 1 / spread of it
    first, second = 2 * spread * np.array([-1.0, 0, 1]), 0.5 * spread * np.array([1.0, -1, 0])
    assert spread_ratios(first, second, np.array([0, 3])).tolist() == pytest.approx([2.0])


@given(
    st.lists(
        st.tuples(st.integers(-1000, 1000), st.integers(-1000, 1000)), min_size=3, max_size=12, unique=True
    ),
    st.floats(0.001, 1000),
    st.floats(-1000, 1000),
)
@settings(max_examples=60, deadline=None)
def test_a_total_in_another_scale_gets_nearly_the_same_say(
    pairs: list[tuple[int, int]], factor: float, shift: float
) -> None:
    total, model = (np.array(side, dtype=np.float64) for side in zip(*pairs, strict=True))
    offsets = np.array([0, len(pairs)])
    before = spread_ratios(total, model, offsets)[0]
    after = spread_ratios(total * factor + shift, model, offsets)[0]
    if len(set(total)) > 1 and len(set(model)) > 1:
        power = (len(pairs) - 1) / (len(pairs) + 1)
        assert after == pytest.approx(before * factor**power, rel=1e-3)


def test_a_list_is_ranked_as_if_alone() -> None:
    random = np.random.default_rng(2)
    sizes = random.integers(1, 40, 20).tolist()
    lists = lists_of({name: random.normal(-9, 3, sum(sizes)).tolist() for name in ("total", "lm")}, sizes)
    together = totals(lists, ["lm"])
    for segment, block in enumerate(lists):
        assert totals(lists.select([segment]), ["lm"]).tolist() == together[list(block)].tolist()


@pytest.mark.parametrize(
    ("total", "model", "best"),
    [
        ([-3.0, -3.0, -3.0], [-9.0, -1.0, -5.0], 1),  # totals that say nothing: the model decides
        ([-0.1, -0.1, -0.1], [-9.0, -1.0, -5.0], 1),  # whose mean is rounded
        ([-3.0, -2.0, -5.0], [-9.0, -9.0, -9.0], 1),  # a model that says nothing
        ([-101.0, -101.5], [-60.0, -40.0], 1),  # two hypotheses: as natural logarithms
        ([-101.0, -121.5], [-41.0, -40.0], 0),
        ([-5.0], [-1.0], 0),
    ],
)
def test_short_and_flat_lists(total: list[float], model: list[float], best: int) -> None:
    lists = lists_of({"total": total, "lm": model}, [len(total)])
    assert int(totals(lists, ["lm"]).argmax()) == best


def test_without_a_total_models_weigh_one_each() -> None:
    lists = lists_of({"a": [-1.0, -2.0], "b": [-3.0, -1.0]}, [2])
    assert untuned_vectors(lists, None, ["a", "b"]).tolist() == [[1.0, 1.0]]


def test_no_lists() -> None:
    assert untuned_vectors(lists_of({"total": [], "lm": []}, []), "total", ["lm"]).shape == (0, 2)
