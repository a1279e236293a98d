"""Positions come back, and are stored the shortest way."""

import math
import random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.matrices.positions import MASK, MOST_BITS, pack_positions, unpack_positions
from nbest.errors import ModelFileError


def _positions(count: int, density: float, seed: int = 1) -> np.ndarray:
    return np.flatnonzero(np.random.default_rng(seed).random(count) < density).astype(np.int64)


def test_golden_mask() -> None:
    positions = np.array([0, 1, 2, 4, 5, 7, 8])
    bits, packed = pack_positions(positions, 9)
    assert bits == MASK
    assert packed.tolist() == [0b11101101, 0b10000000]


def test_golden_gaps() -> None:
    """Gaps 3, 9, 0, 21 in 3 bits, 7 for seven empty places: 3 | 7 2 | 0 | 7 7 7 0; ones fill a byte up."""
    positions = np.array([3, 13, 14, 36])
    bits, packed = pack_positions(positions, 60)
    codes = [3, 7, 2, 0, 7, 7, 7, 0]
    assert bits == 3
    text = "".join(f"{code:03b}" for code in codes)
    assert "".join(f"{byte:08b}" for byte in packed) == text
    assert unpack_positions(3, packed, 60).tolist() == positions.tolist()
    shorter = unpack_positions(3, np.array([0b01111111], dtype=np.uint8), 60)  # 3, then ones to the end
    assert shorter.tolist() == [3]


@given(st.integers(1, 300), st.data())
def test_positions_come_back(count: int, data: st.DataObject) -> None:
    chosen = np.array(sorted(data.draw(st.sets(st.integers(0, count - 1)))), dtype=np.int64)
    bits, packed = pack_positions(chosen, count)
    assert unpack_positions(bits, packed, count).tolist() == chosen.tolist()
    assert len(packed) <= (count + 7) // 8


@pytest.mark.parametrize("density", [0.0, 0.0001, 0.01, 0.05, 0.1, 0.25, 0.37, 0.4, 0.7, 1.0])
def test_it_is_the_shortest_way_and_near_the_entropy(density: float) -> None:
    count = 200_000
    positions = _positions(count, density)
    bits, packed = pack_positions(positions, count)
    assert unpack_positions(bits, packed, count).tolist() == positions.tolist()
    assert (bits == MASK) == (density >= 0.4)
    p = len(positions) / count
    entropy = -(p * math.log2(p) + (1 - p) * math.log2(1 - p)) if 0 < p < 1 else 0.0
    taken = 8 * len(packed) / count  # bits a place
    assert taken == 1 if bits == MASK else taken <= 1.16 * entropy + 0.001
    if density == 0.1:
        assert bits == 4
        assert taken == pytest.approx(0.504, abs=0.005)


def test_what_cannot_be_read() -> None:
    with pytest.raises(ModelFileError, match="a mask of another length; expected 2 bytes; got 3"):
        unpack_positions(MASK, np.zeros(3, dtype=np.uint8), 9)
    with pytest.raises(ModelFileError, match="gaps of an unknown width; expected at most 16 bits; got 17"):
        unpack_positions(MOST_BITS + 1, np.zeros(3, dtype=np.uint8), 9)
    with pytest.raises(ModelFileError, match="a number stands outside the matrix; expected below 3; got 3"):
        unpack_positions(8, np.array([3], dtype=np.uint8), 3)
    with pytest.raises(ModelFileError, match="gaps longer than a mask; expected at most 1 bytes; got 2"):
        unpack_positions(8, np.array([1, 3], dtype=np.uint8), 4)
    broken = random.Random(1).randbytes(40)
    for bits in range(MOST_BITS + 1):  # whatever stands there: positions in range, or the error
        try:
            found = unpack_positions(bits, np.frombuffer(broken, dtype=np.uint8), 320)
        except ModelFileError:
            continue
        assert np.all(np.diff(found) > 0)
        assert np.all((found >= 0) & (found < 320))
