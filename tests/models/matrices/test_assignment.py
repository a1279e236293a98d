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


@pytest.mark.parametrize("values", [1, 2, 5, 300, 1 << 31])
def test_packing_loses_nothing_across_blocks(values: int, monkeypatch: pytest.MonkeyPatch) -> None:
    codes = np.random.default_rng(values).integers(0, min(values, (1 << 31) - 1), 100, dtype=np.int32)
    packed = assignment.pack_codes(codes, values)
    monkeypatch.setattr(assignment, "_BLOCK_CODES", 8)
    for count in (100, 96, 8, 3, 0):
        assert assignment.unpack_codes(packed, count, values).tolist() == codes[:count].tolist()


def test_hashed_codes_are_fixed_for_ever() -> None:
    """Golden values: a file with hashed codes holds none, so the hash is part of the format."""
    pool = assignment.hashed(3, 4, 20, 1, by_position=False)
    assert pool.tolist() == [[5, 19, 10, 15], [1, 8, 5, 13], [0, 10, 17, 10]]
    assert assignment.hashed(3, 4, 20, 1, by_position=True).tolist() == [
        [0, 9, 10, 15],
        [1, 8, 10, 18],
        [0, 5, 12, 15],
    ]
    assert pool.reshape(-1).tolist() == [_splitmix64(key, 1) % 20 for key in range(12)]


def _splitmix64(key: int, seed: int) -> int:
    """The published generator's finalizer (Steele, Lea and Flood, 2014), in integers of any size."""
    mask = (1 << 64) - 1
    z = ((key + 1) * 0x9E3779B97F4A7C15 + seed) & mask
    z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & mask
    z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & mask
    return z ^ (z >> 31)


def test_hashed_codes_are_spread_evenly() -> None:
    codes = assignment.hashed(1000, 20, 400, 5, by_position=True)
    assert np.array_equal(codes // 20, np.tile(np.arange(20), (1000, 1)))
    counts = np.bincount(codes.reshape(-1), minlength=400)
    assert counts.mean() == 50
    assert counts.std() < 10  # Poisson: 7.1
    assert not np.array_equal(codes, assignment.hashed(1000, 20, 400, 6, by_position=True))
