"""Matrices as the compiled kernels read them, and the small ones around the large as kernels of their own.

What torch does on several threads leaves these waiting in a loop for a while, in the way of the kernels' own:
nothing between the kernels is done by torch where they can do it.
"""

from collections.abc import Callable
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from models.layers.affine import Affine
from models.matrices.base import Matrix
from models.matrices.binary import PackedBinaryMatrix
from models.matrices.dense import DenseMatrix
from models.matrices.quantized import INTERVALS, QuantizedMatrix
from models.matrices.slim import SlimMatrix
from models.scoring.byte_codes import Vector, codes_by_row

Floats = NDArray[np.float32]
RowsOf = Callable[[NDArray[np.int64]], Floats]  # (N, columns) of ids (N,)
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


def rows_form(kernels: Any, matrix: Matrix) -> RowsOf:
    """Rows in floats, read by the kernels where they can."""
    form = exact_form(kernels, matrix)

    def read(ids: NDArray[np.int64]) -> Floats:
        out = np.empty((len(ids), matrix.in_features), dtype=np.float32)
        form.read(ids, out)
        return out

    return read if form is not None else lambda ids: matrix.rows(torch.from_numpy(ids)).numpy()


class Products(Protocol):
    """Products of a matrix with inputs."""

    def __call__(self, x: Floats, threads: int, out: Floats | None = None) -> Floats:
        """(N, rows) of x (N, columns), on so many threads; written to `out`, where it is given."""


class LinearKernel:
    """scale * x W^T + bias."""

    def __init__(self, kernel: Any, rows: int) -> None:
        self._kernel, self.rows = kernel, rows

    def __call__(self, x: Floats, threads: int, out: Floats | None = None) -> Floats:
        """As all products."""
        out = np.empty((len(x), self.rows), dtype=np.float32) if out is None else out
        self._kernel.products(np.ascontiguousarray(x), out, threads)
        return out


def linear_form(
    kernels: Any, matrix: Matrix, affine: Affine | None = None, *, int16: bool, isa: str
) -> Products:
    """A matrix's products, with the scales and biases of the affine map that it belongs to.

    Torch's where the kernels cannot read it, or torch needs fewer products (slim).

    int16  products of 16-bit numbers instead of floats
    """
    form = None
    if not isinstance(matrix, SlimMatrix):
        form = form_16_bits(kernels, matrix) if int16 else exact_form(kernels, matrix)
    if form is None:

        def products(x: Floats, threads: int, out: Floats | None = None) -> Floats:
            found: Tensor = matrix(torch.from_numpy(x))
            shifted: Floats = (found if affine is None else affine.shifted(found)).numpy()
            if out is not None:
                out[:] = shifted
            return shifted

        return products
    scale = bias = None
    if affine is not None:
        with torch.no_grad():
            scale = None if affine.gamma is None else affine.gamma.exp().numpy()
            bias = affine.shifted(torch.zeros(matrix.out_features)).numpy()
    kernel = kernels.Linear(form, scale=scale, bias=bias, int16=int16, isa=isa)
    return LinearKernel(kernel, matrix.out_features)


def affine_kernel(kernels: Any, matrix: Floats, shift: Vector, *, isa: str) -> LinearKernel:
    """matrix (rows, columns) x + shift (rows,), in products of 16-bit numbers."""
    return LinearKernel(kernels.Linear(_int16(kernels, matrix), bias=shift, int16=True, isa=isa), len(matrix))


def form_two_bytes(kernels: Any, weight: Floats) -> tuple[Any, Any]:
    """(high bytes, low bytes) of the nearest of 65,536 numbers between a row's least and greatest."""
    codes, step, low = codes_by_row(weight, 65_535)
    high, rest = (codes >> 8).astype(np.uint8), (codes & 255).astype(np.uint8)
    return kernels.Matrix.uint8(high, step, low), kernels.Matrix.uint8(rest, step, low)


def form_16_bits(kernels: Any, matrix: Matrix) -> Any:
    """The matrix for products of 16-bit numbers, or None: bits and bytes as they are, dense ones rounded."""
    if not isinstance(matrix, DenseMatrix):
        return exact_form(kernels, matrix)
    return _int16(kernels, matrix.weight.detach().numpy())


def _int16(kernels: Any, weight: Floats) -> Any:
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
