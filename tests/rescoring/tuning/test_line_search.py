"""Line search against trying every stretch of the line, list by list."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rescoring.metrics import Metric, get_metric
from rescoring.tuning.envelope import Heights, Slopes
from rescoring.tuning.line_search import Step, Stretches, best_step, stretches

small = st.integers(-3, 3)
row = st.tuples(small, small, st.integers(0, 3))  # intercept, slope, errors
problem = st.lists(st.lists(row, min_size=1, max_size=6), min_size=1, max_size=4)


class Errors:
    """A metric that counts errors, out of a count that is the same for all."""

    name = "errors"
    count_names = ("errors", "words")
    separable = True
    signature = "errors"

    def __init__(self, larger_is_better: bool = False) -> None:
        self.larger_is_better = larger_is_better

    def score(self, sums: np.ndarray) -> np.ndarray:
        return np.asarray(sums[..., 0] / np.maximum(sums[..., 1], 1))


def search(lists: list[list[tuple[int, int, int]]]) -> Stretches:
    flat = np.array([row for one in lists for row in one], dtype=np.float64)
    offsets = np.concatenate([[0], np.cumsum([len(one) for one in lists])])
    counts = np.column_stack([flat[:, 2], np.ones(len(flat))]).astype(np.int64)
    return stretches(Heights.of(flat[:, 0], offsets), Slopes.of(flat[:, 1], offsets), offsets, counts)


def errors_at(lists: list[list[tuple[int, int, int]]], place: float) -> int:
    """Errors of the first best row of each list."""
    total = 0
    for rows in lists:
        values = [intercept + place * slope for intercept, slope, _ in rows]
        total += rows[values.index(max(values))][2]
    return total


@given(problem)
def test_every_stretch(lists: list[list[tuple[int, int, int]]]) -> None:
    line = search(lists)
    assert (np.diff(line.edges) >= 0).all()
    assert line.sums[:, 1].tolist() == [len(lists)] * len(line.sums)
    for left, right, sums in zip(line.edges[:-1], line.edges[1:], line.sums, strict=True):
        if right - left > 1e-9:
            middle = np.clip([left, right], -1e3, 1e3).mean()
            assert sums[0] == errors_at(lists, middle)


@given(problem, st.booleans(), st.sampled_from([(-np.inf, np.inf), (-0.37, 0.61), (0.0, np.inf)]))
def test_the_best_of_all_places(
    lists: list[list[tuple[int, int, int]]], larger: bool, window: tuple[float, float]
) -> None:
    """Crossings of these integers are at least 1/30 apart: a fine grid visits every stretch."""
    step = best_step(search(lists), Errors(larger), *window)  # type: ignore[arg-type]
    assert step is not None
    low, high = np.clip(window, -8.0, 8.0)
    grid = np.linspace(low + 1.1e-4, high - 1.2e-4, 601)
    scores = [errors_at(lists, place) / len(lists) for place in grid]
    assert step.score == (max(scores) if larger else min(scores))
    assert step.score == errors_at(lists, step.distance) / len(lists)
    assert window[0] <= step.distance <= window[1]


def line(edges: list[float], scores: list[int]) -> Stretches:
    return Stretches(np.array([-np.inf, *edges, np.inf]), np.array([[score, 1] for score in scores]))


@pytest.mark.parametrize(
    ("edges", "errors", "step"),
    [
        ([0.0, 4.0], [2, 1, 2], Step(2.0, 1.0)),  # the middle
        ([0.0, 1.0, 4.0], [2, 1, 1, 2], Step(2.5, 1.0)),  # equal neighbours: that in their middle
        ([0.0, 1.0, 4.0, 6.0], [1, 2, 1, 2, 1], Step(-0.1, 1.0)),  # an open end is the widest
        ([0.0, 2.0, 3.0, 7.0], [2, 1, 2, 1, 2], Step(5.0, 1.0)),  # the wider of two
        ([-20.0], [1, 2], Step(-22.0, 1.0)),  # beyond the last corner: a tenth of its place
        ([30.0], [2, 1], Step(33.0, 1.0)),
        ([], [3], Step(0.0, 3.0)),  # nothing changes
        ([0.0, 2.0, 4.0], [2, 1, 1, 2], Step(1.0, 1.0)),  # not on the corner between two
        ([0.0], [1, 1], Step(-0.1, 1.0)),
        ([1.0, 1.0, 1.0 + 1e-12], [2, 0, 0, 1], Step(1.1, 1.0)),  # too short to stand on
    ],
)
def test_where_to_step(edges: list[float], errors: list[int], step: Step) -> None:
    found = best_step(line(edges, errors), Errors())  # type: ignore[arg-type]
    assert found is not None
    assert found.score == step.score
    assert found.distance == pytest.approx(step.distance)


def test_no_room() -> None:
    assert best_step(line([0.0], [1, 2]), Errors(), 0.0, 0.0) is None  # type: ignore[arg-type]


def test_corners_that_overflowed() -> None:
    step = best_step(line([-np.inf, 1.0, np.inf], [9, 2, 3, 0]), Errors())  # type: ignore[arg-type]
    assert step == Step(0.9, 2.0)


def test_bleu_along_a_line() -> None:
    metric: Metric = get_metric("bleu")
    texts = ["a b c d", "a b x y", "a b c d e", "x"]
    offsets = np.array([0, 2, 4])
    counts = metric.counts(texts, np.array([0, 0, 1, 1]), [["a b c d"], ["a b c d e"]])
    heights = Heights.of(np.array([0.0, 1.0, 0.0, 2.0]), offsets)
    found = best_step(
        stretches(heights, Slopes.of(np.array([1.0, 0.0, 1.0, 0.0]), offsets), offsets, counts), metric
    )
    assert found is not None
    assert found.score == pytest.approx(100.0)
    assert found.distance == pytest.approx(2.2)


def test_a_loss_is_taken_off() -> None:
    """Two stretches score 0.25 and 1: far places are worth less."""
    far = line([0.0, 2.0, 8.0, 10.0], [0, 1, 0, 4, 0])
    larger = Errors(larger_is_better=True)
    assert best_step(far, larger) == Step(9.0, 4.0)  # type: ignore[arg-type]
    near = best_step(far, larger, loss=lambda places: places**2)  # type: ignore[arg-type]
    assert near is not None
    assert (near.distance, near.score) == (1.0, 0.0)
