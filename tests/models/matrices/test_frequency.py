"""The longest vectors to the most frequent words, and no more numbers than the density allows."""

import numpy as np
import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st
from pydantic import ValidationError

from models.matrices.frequency import FrequencySpec, Segment, words_of_bins
from models.vocabulary import SPECIAL, build_vocabulary
from nbest.errors import ConfigError, ModelFileError


def test_the_example_of_the_paper() -> None:
    """Section 4.1: 43,815 words, k = 20, density 0.2: 25% of length 1, 7.6% of at least 10, 192 of 20."""
    words = words_of_bins(43_815, (1,) * 20, 0.2)
    assert (words[0] - words[1]) / 43_815 == pytest.approx(0.25, abs=0.001)
    assert words[9] / 43_815 == pytest.approx(0.076, abs=0.0005)
    assert words[19] == 192
    assert words[1] / words[0] == pytest.approx(0.75, abs=0.001)
    assert sum(words) == 0.2 * 20 * 43_815


@given(
    st.lists(st.integers(1, 30), min_size=1, max_size=8),
    st.integers(1, 3000),
    st.floats(0.01, 1.0),
)
def test_the_density_is_met_to_half_a_word(widths: list[int], words: int, density: float) -> None:
    assume(density * sum(widths) >= widths[0])
    if len(widths) == 1:
        density = 1.0
    found = words_of_bins(words, tuple(widths), density)
    assert found[0] == words
    assert list(found) == sorted(found, reverse=True)
    assert found[-1] >= 0
    numbers = sum(width * count for width, count in zip(widths, found, strict=True))
    assert abs(numbers - density * sum(widths) * words) <= max(widths) / 2 + 1e-6


def test_a_density_of_one_is_dense() -> None:
    assert words_of_bins(50, (3, 2, 5), 1.0) == (50, 50, 50)
    assert FrequencySpec(density=1.0, bins=4).segments(50, 10) == [Segment(0, 50, 10)]


def test_the_least_density_is_that_of_the_first_bin() -> None:
    assert words_of_bins(50, (3, 2, 5), 0.3) == (50, 0, 0)
    matrix = FrequencySpec(density=0.3, widths=(3, 2, 5)).build(50, 10)
    assert matrix.size().parameters == 150
    with pytest.raises(ConfigError, match=r"the first bin; expected a density of at least 0\.3; got 0\.2"):
        words_of_bins(50, (3, 2, 5), 0.2)


def test_rows_are_numbers_and_zeros_behind_them() -> None:
    torch.manual_seed(1)
    spec = FrequencySpec(density=0.4, widths=(2, 3, 5))
    words = words_of_bins(40, (2, 3, 5), 0.4)
    lengths = [10 if w < words[2] else 5 if w < words[1] else 2 for w in range(40)]
    assert len(set(lengths)) == 3
    for order, wanted in (("up", lengths), ("down", lengths[::-1])):
        dense = spec.model_copy(update={"order": order}).build(40, 10).materialize()
        assert [int((row != 0).sum()) for row in dense] == wanted
        for row, length in zip(dense, wanted, strict=True):
            assert bool((row[length:] == 0).all())
    dealt = spec.model_copy(update={"order": "none"}).build(40, 10).materialize()
    got = [int((row != 0).sum()) for row in dealt]
    assert sorted(got) == sorted(lengths)
    assert got not in (lengths, lengths[::-1])


def test_special_words_count_as_frequent() -> None:
    """Ids stand by descending frequency, the three special words before all."""
    vocabulary = build_vocabulary(["b b b a a c", "d"])
    assert vocabulary.words == (*SPECIAL, "b", "a", "c", "d")
    dense = FrequencySpec(density=0.6, widths=(1, 3)).build(len(vocabulary), 4).materialize()
    assert [int((row != 0).sum()) for row in dense] == [4, 4, 4, 1, 1, 1, 1]


def test_size_is_the_formula() -> None:
    """sum kappa_m V_m numbers, each multiplied once; a permutation of 53 words takes six bits each."""
    words = words_of_bins(53, (4, 6, 10), 0.5)
    count = 4 * words[0] + 6 * words[1] + 10 * words[2]
    spec = FrequencySpec(density=0.5, widths=(4, 6, 10))
    for order, extra, resident in (("up", 0, 4 * count), ("none", 40, 4 * count + 8 * 53)):
        matrix = spec.model_copy(update={"order": order}).build(53, 20)
        size = matrix.size()
        assert (size.parameters, size.paper_bytes, size.extra_bytes) == (count, 4 * count, extra)
        assert size.resident == resident
        assert matrix.multiply_adds() == count


def test_golden_bytes() -> None:
    """The deal of eight words by numpy's PCG64 and seed 1 belongs to the format, as its packing does."""
    spec = FrequencySpec(density=0.5, bins=2, order="none", seed=1)
    stored = spec.build(8, 2).stored()
    assert {name: tuple(tensor.shape) for name, tensor in stored.items()} == {
        "block0": (8, 1),
        "places": (3,),
    }
    places = np.array([6, 0, 3, 1, 5, 7, 2, 4])
    stored["places"] = torch.from_numpy(
        np.packbits((places[:, None] >> np.array([2, 1, 0]) & 1).astype(np.uint8))
    )
    assert stored["places"].tolist() == [0b11000001, 0b10011011, 0b11010100]
    stored["block0"] = torch.arange(8.0)[:, None]
    assert spec.read(stored, 8, 2).materialize()[:, 0].tolist() == places.tolist()


def test_blocks_are_stored_by_length() -> None:
    stored = FrequencySpec(density=0.5, widths=(4, 6, 10)).build(53, 20).stored()
    assert [tensor.shape[1] for tensor in stored.values()] == [20, 10, 4]
    assert sum(len(tensor) for tensor in stored.values()) == 53


def test_the_deal_is_stored_not_drawn_again() -> None:
    spec = FrequencySpec(density=0.5, bins=4, order="none", seed=3)
    stored = spec.build(53, 20).stored()
    other = spec.model_copy(update={"seed": 4}).read(stored, 53, 20)
    assert torch.equal(other.materialize(), spec.read(stored, 53, 20).materialize())


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        (FrequencySpec(density=0.5, bins=11), "more bins than dimensions; expected at most 10; got 11"),
        (
            FrequencySpec(density=0.5, widths=(3, 4)),
            r"the vector; expected a sum of 10; got \[3, 4\]",
        ),
        (FrequencySpec(density=0.1, bins=3), "expected a density of at least 0.4; got 0.1"),
    ],
)
def test_what_does_not_fit(spec: FrequencySpec, message: str) -> None:
    for refuse in (spec.build, lambda *shape: spec.check("output", *shape)):
        with pytest.raises(ConfigError, match=message):
            refuse(30, 10)


def test_more_bins_than_are_solved_for() -> None:
    for values in ({"bins": 1025}, {"widths": [1] * 1025}):
        with pytest.raises(ValidationError, match="1024"):
            FrequencySpec.model_validate({"density": 0.5} | values)


def test_what_cannot_be_read() -> None:
    spec = FrequencySpec(density=0.5, bins=4, order="none")
    stored = spec.build(53, 20).stored()
    stored["places"] = torch.zeros_like(stored["places"])
    with pytest.raises(ModelFileError, match="'places' is no permutation of the words"):
        spec.read(stored, 53, 20)
