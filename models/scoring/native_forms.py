"""Matrices as the compiled kernels read them."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.matrices.base import Matrix
from models.matrices.binary import PackedBinaryMatrix
from models.matrices.dense import DenseMatrix
from models.matrices.quantized import INTERVALS, QuantizedMatrix
from models.matrices.slim import SlimMatrix
from models.scoring.byte_codes import Vector, codes_by_row


def exact_form(kernels: Any, matrix: Matrix) -> Any:
    """The matrix as the kernels read it where it lies, or None."""
    if isinstance(matrix, DenseMatrix):
        return kernels.Matrix.float32(np.ascontiguousarray(matrix.weight.detach().numpy()))
    if isinstance(matrix, PackedBinaryMatrix):
        worth = _of_all_rows(2 * matrix.scale), _of_all_rows(-matrix.scale)
        return kernels.Matrix.bits(matrix.bytes_.numpy(), matrix.in_features, *worth)
    if isinstance(matrix, QuantizedMatrix):
        step = (matrix.high - matrix.low) / INTERVALS
        worth = _of_all_rows(step), _of_all_rows(matrix.low + step / 2)
        return kernels.Matrix.uint8(matrix.codes.numpy(), *worth)
    if isinstance(matrix, SlimMatrix) and matrix.by_position:
        return slim_form(kernels, matrix)
    return None


def form_15_bits(kernels: Any, weight: NDArray[np.float32]) -> tuple[Any, Any]:
    """(high bytes, low 7 bits) of the nearest of 32,768 numbers between a row's least and greatest."""
    codes, step, low = codes_by_row(weight, 32_767)
    high, rest = (codes >> 7).astype(np.uint8), (codes & 127).astype(np.uint8)
    return kernels.Matrix.uint8(high, step, low), kernels.Matrix.uint8(rest, step, low)


def slim_form(kernels: Any, matrix: SlimMatrix) -> Any:
    """A matrix assigned by position: sub-vectors where they lie, codes of two bytes where that is enough."""
    vectors = matrix.weight.detach().numpy().reshape(matrix.parts, matrix.spec.values, -1)  # (K, M/K, H/K)
    codes = matrix.spec.own_codes(matrix.codes.numpy())  # (V, K)
    return kernels.Matrix.slim(codes.astype(np.uint16) if matrix.spec.values <= 1 << 16 else codes, vectors)


def _of_all_rows(value: float) -> Vector:
    return np.full(1, value, dtype=np.float32)
