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


DIGITS = "one two three four five six seven eight nine zero oh point".split(" ")


def corrupted(text: str, random: np.random.Generator, share: float) -> str:
    """A share of the words changed (half of it), left out or followed by another (a quarter each)."""
    words: list[str] = []
    for word in text.split(" "):
        draw = random.random()
        if draw < share / 2:
            words.append(DIGITS[int(random.integers(12))])
        elif draw >= share * 0.75:
            words.append(word)
            if draw < share:
                words.append(DIGITS[int(random.integers(12))])
    return " ".join(words)


@pytest.mark.parametrize(
    ("seed", "shares", "segments", "statistic", "same_alignments"),
    [
        (1, (0.2, 0.2), 91, 1.037, True),
        (3, (0.1, 0.12), 62, 0.685, True),
        (2, (0.3, 0.2), 97, 3.097, False),
        (4, (0.4, 0.5), 84, -2.861, False),
        (5, (0.15, 0.05), 66, 5.755, False),
    ],
)
def test_against_nists_sc_stats(
    seed: int, shares: tuple[float, float], segments: int, statistic: float, same_alignments: bool
) -> None:
    """What sc_stats 1.3 of Debian's sctk 2.4.10 prints for these texts, of the first minus the second.

    sclite aligns at costs 4, 3, 3 where jiwer counts edits, and so makes other segments of texts as ambiguous
    as these. On the 238 test utterances of ../shared, five pairs of systems, all numbers are the same.
    """
    random = np.random.default_rng(seed)
    references = [
        " ".join(DIGITS[k] for k in random.integers(12, size=int(random.integers(3, 13)))) for _ in range(60)
    ]
    first, second = ([corrupted(one, random, share) for one in references] for share in shares)
    found = mapsswe(align(first, references), align(second, references))
    assert found.statistic is not None
    if same_alignments:
        assert (found.segments, round(-found.statistic, 3)) == (segments, statistic)
    else:
        assert found.segments == pytest.approx(segments, rel=0.05)
        assert -found.statistic == pytest.approx(statistic, abs=0.15)


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
