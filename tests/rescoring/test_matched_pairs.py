"""MAPSSWE: by hand, against the state machine of sc_stats, and where nothing differs."""

import math
from statistics import NormalDist

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rescoring.alignment import Alignment, align
from rescoring.matched_pairs import error_segments, mapsswe

REFERENCE = "a b c d e f g h i j"


def both(first: str, second: str, reference: str = REFERENCE) -> list[list[int]]:
    found: list[list[int]] = error_segments(
        align([first], [reference]), align([second], [reference])
    ).tolist()
    return found


def test_two_good_words_end_a_segment() -> None:
    assert both("a X c d e f g h i j", "a b c d X f g h i j") == [[1, 0], [0, 1]]  # c d between
    assert both("a X c d e f g h i j", "a b c X e f g h i j") == [[1, 1]]  # c alone
    assert both("X b c d e f g h i X", REFERENCE) == [[1, 0], [1, 0]]  # at both ends
    assert both(REFERENCE, REFERENCE) == []


def test_insertions_and_deletions() -> None:
    assert both("Z a b c d e f g h i j", REFERENCE) == [[1, 0]]
    assert both("a b c d e f g h i j Z Z", "a b c d e f g h i") == [[2, 1]]
    assert both("a b Z c d e f g h i j", "a b c d Z e f g h i j") == [[1, 0], [0, 1]]
    assert both("a b Z c d e f g h i j", "a b c Z d e f g h i j") == [[1, 1]]
    assert both("", "a b", "") == [[0, 2]]


def test_utterances_are_apart() -> None:
    found = error_segments(align(["a X", "X b"], ["a b", "a b"]), align(["a b", "a b"], ["a b", "a b"]))
    assert found.tolist() == [[1, 0], [1, 0]]


def test_by_hand() -> None:
    """Differences 1, 1, 0, -1, 2: mean 0.6, variance 5.2 / 4 = 1.3, W = 0.6 / sqrt(1.3 / 5) = 1.1767."""
    pairs = [(0, 1), (1, 2), (1, 1), (1, 0), (0, 2)]
    references = ["a b c"] * 5
    first, second = (
        align([" ".join(["X"] * pair[side] + ["a", "b", "c"][pair[side] :]) for pair in pairs], references)
        for side in (0, 1)
    )
    found = mapsswe(first, second)
    assert (found.segments, found.mean) == (5, pytest.approx(0.6))
    assert found.statistic == pytest.approx(0.6 / math.sqrt(1.3 / 5))
    assert found.p_value == pytest.approx(2 * (1 - NormalDist().cdf(1.17670)), abs=1e-5)
    assert found.note == "rough: only 5 segments with errors"


def test_what_has_no_variance() -> None:
    wrong, right = align(["X"] * 9, ["a"] * 9), align(["a"] * 9, ["a"] * 9)
    assert mapsswe(wrong, right).p_value is None
    assert mapsswe(wrong[:1], right[:1]).note == "too few errors"
    assert mapsswe(right, right).p_value == mapsswe(wrong, wrong).p_value == 1.0


def state_machine(first: Alignment, second: Alignment) -> list[tuple[int, int]]:
    """The graph in the comment of sc_stats' test_comp_sents: states b(egin), e(rror), g(ood)."""
    words = [[[0, 0]] for _ in range(2)]  # for each system: [errors before a word, of the word]
    for system, alignment in zip(words, (first, second), strict=True):
        for edit in alignment:
            if edit.reference is None:
                system[-1][0] += 1
            else:
                system[-1][1] = int(edit.kind != "equal")
                system.append([0, 0])
    found, state, good, sums = [], "b", 0, [0, 0]
    for place in range(len(words[0])):
        inserted, own = ([system[place][kind] for system in words] for kind in (0, 1))
        if any(inserted):
            state, good = "e", 0
            sums = [a + b for a, b in zip(sums, inserted, strict=True)]
        if place == len(words[0]) - 1:
            break  # after the last word there is none
        if any(own):
            state, good = "e", 0
            sums = [a + b for a, b in zip(sums, own, strict=True)]
        elif state in "eg":
            state, good = "g", good + 1
            if good == 2:
                found.append((sums[0], sums[1]))
                state, good, sums = "b", 0, [0, 0]
    if state != "b":
        found.append((sums[0], sums[1]))
    return found


words = st.lists(st.sampled_from("abcd"), max_size=12).map(" ".join)


@given(words, words, words)
def test_segments_are_those_of_the_state_machine(first: str, second: str, reference: str) -> None:
    one, other = align([first], [reference]), align([second], [reference])
    assert both(first, second, reference) == [list(pair) for pair in state_machine(one[0], other[0])]


def test_false_positives_are_as_many_as_asked_for() -> None:
    """Two recognisers that err alike, 400 times: about 5% of the tests say p < 0.05, 20% p < 0.2."""
    random = np.random.default_rng(11)
    references = [REFERENCE] * 60

    def recognised() -> list[Alignment]:
        wrong = random.random((60, 10)) < 0.15
        texts = [
            " ".join("X" if bad else word for word, bad in zip(REFERENCE.split(" "), row, strict=True))
            for row in wrong.tolist()
        ]
        return align(texts, references)

    values = []
    for _ in range(400):
        first, second = recognised(), recognised()
        found = mapsswe(first, second)
        assert found.p_value is not None
        values.append(found.p_value)
    for level in (0.05, 0.2, 0.5):
        share = float(np.mean(np.array(values) <= level))
        assert share == pytest.approx(level, abs=3.3 * math.sqrt(level * (1 - level) / 400)), level
