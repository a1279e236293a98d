"""Which sub-vector stands where: the (V, K) codes of a slim matrix, balanced and fixed before training.

Source: Li et al., "Slim Embedding Layers for Recurrent Neural Language Models". Codes are stored with the
model, bit-packed: no library's shuffle is trusted to stay the same.
"""

import numpy as np
from numpy.typing import NDArray

_BLOCK_CODES = 1 << 17  # a multiple of 8: each block begins at a byte; some 8 MB of bits


def balanced_pool(vocabulary_size: int, parts: int, sub_vectors: int, seed: int) -> NDArray[np.int32]:
    """(V, K) codes in [0, M): K*V/M copies of each code, shuffled (Fisher-Yates).

    Where M does not divide K*V, the first K*V mod M codes have one copy more.
    """
    codes = np.arange(vocabulary_size * parts, dtype=np.int32) % np.int32(sub_vectors)
    np.random.default_rng(seed).shuffle(codes)
    return codes.reshape(vocabulary_size, parts)


def balanced_by_position(vocabulary_size: int, parts: int, sub_vectors: int, seed: int) -> NDArray[np.int32]:
    """(V, K) codes; position k draws from its own M/K ids [k*M/K, (k+1)*M/K), one shuffle per position."""
    each = sub_vectors // parts
    random = np.random.default_rng(seed)
    codes = np.empty((vocabulary_size, parts), dtype=np.int32)
    for position in range(parts):
        own = np.arange(vocabulary_size, dtype=np.int32) % np.int32(each)
        random.shuffle(own)
        codes[:, position] = own + position * each
    return codes


def hashed(
    vocabulary_size: int, parts: int, sub_vectors: int, seed: int, *, by_position: bool
) -> NDArray[np.int32]:
    """(V, K) codes from a hash of seed, word and position: nothing to store (Chen et al., "HashNet").

    The hash is splitmix64's finalizer; its values are a golden test, for they belong to the file format.
    """
    values = np.uint64(sub_vectors // parts if by_position else sub_vectors)
    keys = np.arange(vocabulary_size * parts, dtype=np.uint64)
    with np.errstate(over="ignore"):
        keys = (keys + np.uint64(1)) * np.uint64(0x9E3779B97F4A7C15) + np.uint64(seed)
        keys = (keys ^ (keys >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        keys = (keys ^ (keys >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        keys ^= keys >> np.uint64(31)
    codes = (keys % values).astype(np.int32).reshape(vocabulary_size, parts)
    if by_position:
        codes += np.arange(parts, dtype=np.int32) * np.int32(values)
    return codes


def duplicate_codes(codes: NDArray[np.int32]) -> int:
    """How many words share all their codes with an earlier word, and so cannot be told from it."""
    return len(codes) - len(np.unique(codes, axis=0))


def bits_per_code(values: int) -> int:
    """Bits that hold one of `values` different codes."""
    return max(1, (values - 1).bit_length())


def pack_codes(codes: NDArray[np.int32], values: int) -> NDArray[np.uint8]:
    """Codes in [0, values) flat, `bits_per_code` bits each, most significant first."""
    bits = bits_per_code(values)
    shifts = np.arange(bits - 1, -1, -1, dtype=np.int32)
    return np.packbits(((codes.reshape(-1, 1) >> shifts) & 1).astype(np.uint8).reshape(-1))


def unpack_codes(packed: NDArray[np.uint8], count: int, values: int) -> NDArray[np.int32]:
    """(count,) codes that `pack_codes` packed."""
    bits = bits_per_code(values)
    weights = (1 << np.arange(bits - 1, -1, -1)).astype(np.int32)
    codes = np.empty(count, dtype=np.int32)
    for start in range(0, count, _BLOCK_CODES):  # unpacked a bit takes four bytes
        block = codes[start : start + _BLOCK_CODES]
        flat = np.unpackbits(packed[start * bits // 8 :], count=len(block) * bits).reshape(-1, bits)
        block[:] = flat.astype(np.int32) @ weights
    return codes
