"""The fastest output layer of 8-bit products that is near enough, tried on what the model says.

A sketch of as few columns as will do; where none does, more words are computed again.
None is better than one that is too far off.
"""

from bisect import bisect_left
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from models.language_model import LanguageModel
from models.matrices.base import Matrix
from models.matrices.dense import DenseMatrix
from models.scoring.byte_codes import bytes_by_row
from models.scoring.native_forms import LinearKernel, exact_form
from models.scoring.sketch import Sketcher, spoken

# Nats, in the mean and at the 99.9th percentile. In one translation list of 1,000 the best total is less than
# 0.001 nats of a language model's better than the second, in one of 100 less than 0.01.
MEAN_OFF, MOST_OFF = 3.5e-4, 4e-3
AGAIN = (0.003, 0.001, 0.0005)  # shares of the sum from which a word is computed again, in floats
SKETCHED_BYTES = 64 * 1024 * 1024  # a compressed matrix that would be larger in floats is not sketched
PARTS = 8  # sizes of sketches: eighths of the columns


class SketchedOutput:
    """A kernel of a sketch, called as the kernel of the whole layer."""

    def __init__(self, kernel: Any, sketched: LinearKernel) -> None:
        self.pairs = kernel.pairs
        self.size = sketched.rows
        self._kernel, self._sketched = kernel, sketched

    def log_normalizers(self, x: NDArray[np.float32], out: NDArray[np.float64], threads: int = 1) -> None:
        """ln of the sum over all words (N,) after outputs x (N, H)."""
        self._kernel.log_normalizers(x, out, threads, self._sketched(x, threads))


def byte_output(kernels: Any, model: LanguageModel, bias: NDArray[np.float32] | None, *, isa: str) -> Any:
    """The kernel, or None where none is near enough; a model's dense, binary or 8-bit output."""
    return nearest(kernels, model.output, bias, spoken(model), isa=isa)


def nearest(kernels: Any, matrix: Matrix, bias: NDArray[np.float32] | None, x: Tensor, *, isa: str) -> Any:
    """Made with one half of the texts of `x` (T, N, H), the layer's inputs, and tried on the other."""
    half = x.shape[1] // 2
    seen, unseen = x[:, :half].flatten(0, 1), x[:, half:].flatten(0, 1).numpy()
    exactly, nearly = np.empty(len(unseen)), np.empty(len(unseen))
    exact = exact_form(kernels, matrix)
    kernels.Output(exact, bias, isa=isa).log_normalizers(unseen, exactly)
    dense = isinstance(matrix, DenseMatrix)
    sketched = dense or 4 * matrix.out_features * matrix.in_features <= SKETCHED_BYTES
    sketcher = Sketcher(matrix.materialize().detach(), bias, seen) if sketched else None

    def made(parts: int, again: float) -> Any:
        options = {"products": "int8", "exact": exact, "again": again, "isa": isa}
        if sketcher is None:
            return kernels.Output(exact, bias, **options)
        sketch = sketcher.sketch(min(matrix.in_features, -(-matrix.in_features * parts // (4 * PARTS)) * 4))
        rows = kernels.Matrix.uint8(*bytes_by_row(sketch.rows.numpy()))
        kernel = kernels.Output(rows, bias, sketch_bias=sketch.bias.numpy(), **options)
        columns, shift = sketch.affine()
        linear = kernels.Linear(kernels.Matrix.float32(columns), bias=shift, isa=isa)
        return SketchedOutput(kernel, LinearKernel(linear, len(columns)))

    def near(parts: int, again: float) -> bool:
        made(parts, again).log_normalizers(unseen, nearly)
        off = np.abs(nearly - exactly)
        return bool(off.mean() < MEAN_OFF and np.quantile(off, 0.999) < MOST_OFF)

    for again in AGAIN:
        if near(PARTS, again):
            fewer = range(1, PARTS) if sketched else range(0)
            parts = 1 + bisect_left(fewer, True, key=lambda parts: near(parts, again))
            return made(parts, again)
    return None
