"""Codes: balanced, by position from their own ids, packed and unpacked without loss."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.matrices import assignment


@pytest.mark.parametrize(("v", "k", "m"), [(100, 4, 50), (10, 3, 7), (5, 2, 10)])
def test_pool_uses_each_sub_vector_as_often_as_the_next(v: int, k: int, m: int) -> None:
    """K*V/M copies of each; the first K*V mod M ids once more."""
    counts = np.bincount(assignment.balanced_pool(v, k, m, seed=1).reshape(-1), minlength=m)
    assert counts.tolist() == [v * k // m + (i < v * k % m) for i in range(m)]


def test_position_draws_from_its_own_ids() -> None:
    codes = assignment.balanced_by_position(100, 4, 40, seed=1)
    for position in range(4):
        counts = np.bincount(codes[:, position], minlength=40)
        assert counts[position * 10 : position * 10 + 10].tolist() == [10] * 10
        assert counts.sum() == 100


def test_codes_are_shuffled_by_the_seed() -> None:
    first, second = (assignment.balanced_pool(50, 4, 20, seed) for seed in (1, 2))
    assert (first != second).any()
    assert (first == assignment.balanced_pool(50, 4, 20, 1)).all()


def test_duplicates_are_counted() -> None:
    assert assignment.duplicate_codes(np.array([[1, 2], [2, 1], [1, 2], [1, 2]], dtype=np.int32)) == 2


def test_packed_codes_golden() -> None:
    """Five values need three bits: 4 0 3 2 -> 100 000 011 010."""
    packed = assignment.pack_codes(np.array([4, 0, 3, 2], dtype=np.int32), 5)
    assert packed.tolist() == [0b10000001, 0b10100000]


@settings(max_examples=50, deadline=None)
@given(st.integers(1, 70_000), st.data())
def test_packing_loses_nothing(values: int, data: st.DataObject) -> None:
    codes = np.array(data.draw(st.lists(st.integers(0, values - 1), max_size=40)), dtype=np.int32)
    packed = assignment.pack_codes(codes, values)
    assert len(packed) == (len(codes) * assignment.bits_per_code(values) + 7) // 8
    assert assignment.unpack_codes(packed, len(codes), values).tolist() == codes.tolist()
