"""Matrices as whole numbers between each row's least and greatest value."""

import numpy as np
from numpy.typing import NDArray

Vector = NDArray[np.float32]


def bytes_by_row(weight: NDArray[np.float32]) -> tuple[NDArray[np.uint8], Vector, Vector]:
    """(codes (V, K), step (V,), low (V,)): the nearest of 256 between a row's least and greatest."""
    codes, step, least = codes_by_row(weight, 255)
    return codes.astype(np.uint8), step, least


def codes_by_row(weight: NDArray[np.float32], most: int) -> tuple[NDArray[np.int32], Vector, Vector]:
    """(codes (V, K) from 0 to `most`, step (V,), low (V,)): number code stands for low + step code."""
    low, high = weight.min(1), weight.max(1)
    step = np.where(high > low, (high - low) / most, 1).astype(np.float32)
    codes = np.rint((weight - low[:, None]) / step[:, None])
    return codes.clip(0, most).astype(np.int32), step, low.astype(np.float32)
