"""Envelopes against the slow obvious way: between any two crossings, look which line is highest."""

import itertools
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rescoring.tuning.envelope import Envelopes, Heights, Slopes, first_highest, upper_envelopes

small = st.integers(-4, 4)
line = st.tuples(
    small, small
)  # intercept, slope: small integers, so that lines coincide, are parallel, meet in one point
lists_of_lines = st.lists(st.lists(line, min_size=1, max_size=9), min_size=1, max_size=5)


def envelopes_of(lists: list[list[tuple[float, float]]]) -> Envelopes:
    flat = np.array([line for one in lists for line in one], dtype=np.float64).reshape(-1, 2)
    offsets = np.concatenate([[0], np.cumsum([len(one) for one in lists])])
    return upper_envelopes(Heights.of(flat[:, 0], offsets), Slopes.of(flat[:, 1], offsets), offsets)


def by_list(found: Envelopes) -> list[tuple[list[int], list[float]]]:
    bounds = [*found.starts.tolist(), len(found.rows)]
    return [
        (found.rows[begin:end].tolist(), found.corners[begin:end].tolist())
        for begin, end in itertools.pairwise(bounds)
    ]


def between_crossings(lines: list[tuple[int, int]]) -> list[Fraction]:
    """A place in every stretch of the line in which nothing crosses."""
    crossings = sorted(
        {Fraction(a1 - a2, b2 - b1) for (a1, b1), (a2, b2) in itertools.combinations(lines, 2) if b1 != b2}
    )
    if not crossings:
        return [Fraction(0)]
    middles = [(x + y) / 2 for x, y in itertools.pairwise(crossings)]
    return [crossings[0] - 1, *middles, crossings[-1] + 1]


def first_best(lines: list[tuple[int, int]], place: Fraction) -> int:
    values = [intercept + place * slope for intercept, slope in lines]
    return values.index(max(values))


@given(lists_of_lines)
def test_the_best_line_everywhere(lists: list[list[tuple[int, int]]]) -> None:
    begin = 0
    for lines, (rows, corners) in zip(lists, by_list(envelopes_of(lists)), strict=True):
        assert corners[0] == -np.inf
        slopes = [lines[row - begin][1] for row in rows]
        assert slopes == sorted(set(slopes))
        for place in between_crossings(lines):
            at = max(k for k, corner in enumerate(corners) if corner < place)
            assert rows[at] == begin + first_best(lines, place)
        begin += len(lines)


def test_by_hand() -> None:
    """Och 2003, figure 2, in numbers: three lines of which one is nowhere best; a parallel; a single line."""
    lists = [[(0.0, -1.0), (1.0, 0.0), (0.0, 0.5), (0.5, 0.0), (0.0, 1.0)], [(3.0, 7.0)]]
    found = envelopes_of(lists)
    assert found.rows.tolist() == [0, 1, 4, 5]
    assert found.starts.tolist() == [0, 3]
    assert found.corners.tolist() == [-np.inf, -1.0, 1.0, -np.inf]


def test_identical_lines_go_to_the_earlier() -> None:
    assert envelopes_of([[(0.0, 0.0), (1.0, 2.0), (1.0, 2.0), (0.0, 0.0)]]).rows.tolist() == [0, 1]


def test_nearly_parallel_lines_meet_far_away() -> None:
    """The crossing overflows; no warning, no NaN."""
    found = envelopes_of([[(1e200, 0.0), (0.0, 1e-200)]])
    assert found.rows.tolist() == [0, 1]
    assert found.corners.tolist() == [-np.inf, np.inf]


def walk(intercepts: np.ndarray, slopes: np.ndarray) -> list[int]:
    """One list's envelope by walking it: from the lowest slope always to the next crossing."""
    row = int(np.lexsort((-intercepts, slopes))[0])
    rows = [row]
    while (steeper := np.flatnonzero(slopes > slopes[row])).size:
        crossings = (intercepts[row] - intercepts[steeper]) / (slopes[steeper] - slopes[row])
        nearest = steeper[crossings == crossings.min()]
        row = int(nearest[np.argmax(slopes[nearest])])
        rows.append(row)
    return rows


@pytest.mark.parametrize("seed", range(3))
def test_large_lists(seed: int) -> None:
    random = np.random.default_rng(seed)
    sizes = [1, 2, 500, 3, 60, 200]
    offsets = np.concatenate([[0], np.cumsum(sizes)])
    intercepts, slopes = random.normal(size=(2, offsets[-1]))
    slopes[offsets[4] : offsets[5]] = random.integers(0, 4, size=60)  # counts: many equal slopes
    found = by_list(upper_envelopes(Heights.of(intercepts, offsets), Slopes.of(slopes, offsets), offsets))
    for (begin, end), (rows, _) in zip(itertools.pairwise(offsets.tolist()), found, strict=True):
        assert rows == [begin + row for row in walk(intercepts[begin:end], slopes[begin:end])]


def test_first_highest() -> None:
    values = np.array([1.0, 3.0, 3.0, 0.0, 5.0, 5.0])
    offsets = np.array([0, 3, 4, 6])
    assert first_highest(values, np.arange(6), offsets).tolist() == [1, 3, 4]
    assert first_highest(values, np.array([0, 2, 3, 5]), offsets).tolist() == [2, 3, 5]
