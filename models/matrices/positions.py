"""Where the numbers of a sparse matrix stand: a bit a place, or the gaps between them, whichever is shorter.

A gap of b bits counts the empty places before a number; all ones mean 2^b - 1 empty places and no number
yet. Over scattered numbers gaps win up to a density of 0.38 (at 0.1, gaps of 4 bits take 0.50 bits a place;
the entropy is 0.47), above it the mask does, with one bit a place. The writer counts the bytes of each.
"""

import numpy as np
from numpy.typing import NDArray

from models.matrices.assignment import pack_codes, unpack_codes
from nbest.errors import ModelFileError

MASK = 0  # in place of the bits of a gap
MOST_BITS = 16


def pack_positions(positions: NDArray[np.int64], count: int) -> tuple[int, NDArray[np.uint8]]:
    """(bits of a gap or MASK, bytes) for ascending positions in [0, count)."""
    gaps = np.diff(positions, prepend=-1) - 1
    lengths = {bits: _gap_bytes(gaps, bits) for bits in range(1, MOST_BITS + 1)}
    bits = min(lengths, key=lengths.__getitem__)
    if (count + 7) // 8 <= lengths[bits]:
        mask = np.zeros(count, dtype=np.bool_)
        mask[positions] = True
        return MASK, np.packbits(mask)
    escape = (1 << bits) - 1
    codes = np.full(int((gaps // escape + 1).sum()), escape, dtype=np.int32)
    codes[np.cumsum(gaps // escape + 1) - 1] = gaps % escape
    packed = pack_codes(codes, escape + 1)
    unused = -len(codes) * bits % 8  # ones: at most a gap without a number
    if unused:
        packed[-1] |= np.uint8((1 << unused) - 1)
    return bits, packed


def _gap_bytes(gaps: NDArray[np.int64], bits: int) -> int:
    codes = len(gaps) + int((gaps // ((1 << bits) - 1)).sum())
    return (codes * bits + 7) // 8


def unpack_positions(bits: int, packed: NDArray[np.uint8], count: int) -> NDArray[np.int64]:
    """The ascending positions that `pack_positions` packed; raises ModelFileError where they do not fit."""
    if bits > MOST_BITS:
        raise ModelFileError("gaps of an unknown width", expected=f"at most {MOST_BITS} bits", got=str(bits))
    if bits == MASK:
        if len(packed) != (count + 7) // 8:
            raise ModelFileError(
                "a mask of another length", expected=f"{(count + 7) // 8} bytes", got=str(len(packed))
            )
        return np.flatnonzero(np.unpackbits(packed, count=count)).astype(np.int64)
    if len(packed) > (count + 7) // 8:
        raise ModelFileError(
            "gaps longer than a mask", expected=f"at most {(count + 7) // 8} bytes", got=str(len(packed))
        )
    escape = (1 << bits) - 1
    codes = unpack_codes(packed, len(packed) * 8 // bits, escape + 1).astype(np.int64)
    is_number = codes != escape
    positions: NDArray[np.int64] = (np.cumsum(codes + is_number) - 1)[is_number]
    if len(positions) and positions[-1] >= count:
        raise ModelFileError(
            "a number stands outside the matrix", expected=f"below {count}", got=str(positions[-1])
        )
    return positions
