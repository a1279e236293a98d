"""Matrices as the compiled kernels read them, and the small ones around the large as kernels of their own."""

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from models.layers.affine import Affine
from models.matrices.base import Matrix
from models.matrices.binary import PackedBinaryMatrix
from models.matrices.dense import DenseMatrix
from models.matrices.quantized import INTERVALS, QuantizedMatrix
from models.matrices.slim import SlimMatrix
from models.scoring.byte_codes import Vector, codes_by_row

INT16_MOST = 32_767
ROW_MOST = 2**31 / 4096


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


class LinearKernel:
    """scale * x W^T + bias in floats.

    Torch's own threads, awaited in a loop, would be in the way of the kernels'.
    """

    def __init__(self, kernel: Any, rows: int) -> None:
        self._kernel, self.rows = kernel, rows

    def __call__(self, x: NDArray[np.float32], threads: int) -> NDArray[np.float32]:
        """(N, rows) for x (N, columns)."""
        out = np.empty((len(x), self.rows), dtype=np.float32)
        self._kernel.products(np.ascontiguousarray(x), out, threads)
        return out


def linear_form(
    kernels: Any, matrix: Matrix, affine: Affine | None = None, *, isa: str
) -> LinearKernel | None:
    """A matrix's products, with the scales and biases of the affine map that it belongs to.

    None where the kernels cannot read it, or torch needs fewer products (slim).
    """
    form = None if isinstance(matrix, SlimMatrix) else exact_form(kernels, matrix)
    if form is None:
        return None
    scale = bias = None
    if affine is not None:
        with torch.no_grad():
            scale = None if affine.gamma is None else affine.gamma.exp().numpy()
            bias = affine.shifted(torch.zeros(matrix.out_features)).numpy()
    return LinearKernel(kernels.Linear(form, scale=scale, bias=bias, isa=isa), matrix.out_features)


def form_two_bytes(kernels: Any, weight: NDArray[np.float32]) -> tuple[Any, Any]:
    """(high bytes, low bytes) of the nearest of 65,536 numbers between a row's least and greatest."""
    codes, step, low = codes_by_row(weight, 65_535)
    high, rest = (codes >> 8).astype(np.uint8), (codes & 255).astype(np.uint8)
    return kernels.Matrix.uint8(high, step, low), kernels.Matrix.uint8(rest, step, low)


def form_16_bits(kernels: Any, matrix: Matrix) -> Any:
    """The matrix for products of 16-bit numbers, or None: bits and bytes as they are, dense ones rounded."""
    if not isinstance(matrix, DenseMatrix):
        return exact_form(kernels, matrix)
    weight = matrix.weight.detach().numpy()
    size = np.abs(weight)
    # A row adds up to so little at most that inputs may be whole numbers up to 4,095: sums stay below 2^31.
    step = np.maximum(size.max(1) / INT16_MOST, size.sum(1) / (ROW_MOST - weight.shape[1] / 2))
    step = np.where(step > 0, step, 1).astype(np.float32)
    numbers = np.rint(weight / step[:, None]).clip(-INT16_MOST, INT16_MOST).astype(np.int16)
    return kernels.Matrix.int16(numbers, step, np.zeros_like(step))


def slim_form(kernels: Any, matrix: SlimMatrix) -> Any:
    """A matrix assigned by position: sub-vectors where they lie, codes of two bytes where that is enough."""
    vectors = matrix.weight.detach().numpy().reshape(matrix.parts, matrix.spec.values, -1)  # (K, M/K, H/K)
    codes = matrix.spec.own_codes(matrix.codes.numpy())  # (V, K)
    return kernels.Matrix.slim(codes.astype(np.uint16) if matrix.spec.values <= 1 << 16 else codes, vectors)


def _of_all_rows(value: float) -> Vector:
    return np.full(1, value, dtype=np.float32)
