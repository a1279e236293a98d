"""Matrices as the compiled kernels read them."""

from typing import Any

import numpy as np

from models.matrices.slim import SlimMatrix


def slim_form(kernels: Any, matrix: SlimMatrix) -> Any:
    """A matrix assigned by position: sub-vectors where they lie, codes of two bytes where that is enough."""
    vectors = matrix.weight.detach().numpy().reshape(matrix.parts, matrix.spec.values, -1)  # (K, M/K, H/K)
    codes = matrix.spec.own_codes(matrix.codes.numpy())  # (V, K)
    return kernels.Matrix.slim(codes.astype(np.uint16) if matrix.spec.values <= 1 << 16 else codes, vectors)
