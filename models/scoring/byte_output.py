"""The fastest output layer of 8-bit products that is near enough, tried on what the model says.

A sketch of as few columns as will do; where none does, more words are computed again.
None is better than one that is too far off.
"""

from bisect import bisect_left
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from models.language_model import LanguageModel
from models.matrices.base import Matrix
from models.matrices.slim import SlimMatrix
from models.scoring.byte_codes import Vector
from models.scoring.native_forms import LinearKernel, affine_kernel, exact_form
from models.scoring.sketch import Sketcher, nearest_affine, spoken

# Nats, in the mean and at the 99.9th percentile. In one translation list of 1,000 the best total is less than
# 0.001 nats of a language model's better than the second, in one of 100 less than 0.01.
MEAN_OFF, MOST_OFF = 2.8e-4, 1.5e-2
AGAIN = (0.003, 0.001, 0.0005)  # shares of the sum from which a word is computed again, in floats
SKETCHED_OPERATIONS = 5e10  # of words by cells by cells: making a sketch takes several times as many
OFF_RIDGE = 1.0  # of the mean square of the columns, where what a sketch is off by is fitted
PARTS = 64  # sizes of sketches: sixty-fourths of the columns
SLIM_NEAR_BYTES = 512 * 1024  # with a table of partial products no larger, a slim matrix is the faster one
SLIM_LANES = 16  # tokens that a table is for, at least


class SketchedOutput:
    """A kernel of a sketch, called as the kernel of the whole layer."""

    def __init__(self, kernel: Any, sketched: LinearKernel, slopes: LinearKernel) -> None:
        self.pairs = kernel.pairs
        self.size = sketched.rows
        self._kernel, self._sketched, self._slopes = kernel, sketched, slopes

    def log_normalizers(self, x: NDArray[np.float32], out: NDArray[np.float64], threads: int = 1) -> None:
        """ln of the sum over all words (N,) after outputs x (N, H)."""
        sketched = self._sketched(x, threads)
        self._kernel.log_normalizers(x, out, threads, sketched, self._slopes(sketched, threads))


def log_normalizers(output: Any, x: NDArray[np.float32]) -> NDArray[np.float64]:
    """(N,) of an output's kernel, after outputs x (N, H)."""
    found = np.empty(len(x))
    output.log_normalizers(x, found)
    return found


def byte_output(kernels: Any, model: LanguageModel, bias: NDArray[np.float32] | None, *, isa: str) -> Any:
    """The kernel, or None where none is near enough; a model's output in a form that the kernels read."""
    return nearest(kernels, model.output, bias, spoken(model), isa=isa)


def nearest(kernels: Any, matrix: Matrix, bias: NDArray[np.float32] | None, x: Tensor, *, isa: str) -> Any:
    """Its size is found with half of the texts of `x` (T, N, H), the layer's inputs, tried on the others.

    It is then made from all of them: the more texts, the nearer.
    """
    if not worth_a_sketch(matrix):
        return None
    half = x.shape[1] // 2
    layer = _Layer(
        kernels, matrix, bias, torch.cat([x[:, :half].flatten(0, 1), x[:, half:].flatten(0, 1)]), isa
    )
    seen, unseen, both = slice(0, len(x) * half), slice(len(x) * half, None), slice(None)
    for again in AGAIN:
        is_near = partial(layer.sketches(seen, again).is_near, unseen)
        if is_near(PARTS):
            return layer.sketches(both, again).output(1 + bisect_left(range(1, PARTS), True, key=is_near))
    return None


class _Layer:
    """An output layer: its inputs in a sample (N, H), and what is exact of them."""

    def __init__(
        self, kernels: Any, matrix: Matrix, bias: NDArray[np.float32] | None, x: Tensor, isa: str
    ) -> None:
        self.kernels, self.matrix, self.bias, self.x, self.isa = kernels, matrix, bias, x, isa
        self.exact = exact_form(kernels, matrix)
        self._log_normalizers = log_normalizers(kernels.Output(self.exact, bias, isa=isa), x.numpy())

    def sketches(self, which: slice, again: float) -> "_Sketches":
        """Made from those inputs."""
        exactly = torch.from_numpy(self._log_normalizers[which]).float()
        return _Sketches(self, which, again, Sketcher(self.matrix, self.bias, self.x[which], exactly, again))

    def off(self, output: SketchedOutput, which: slice) -> NDArray[np.float64]:
        """By how much its normalisers are too small."""
        return self._log_normalizers[which] - log_normalizers(output, self.x[which].numpy())


@dataclass(frozen=True)
class _Sketches:
    """Outputs of any size, made from some of a layer's inputs.

    again  share of the sum from which a word is computed again
    """

    layer: _Layer
    which: slice
    again: float
    sketcher: Sketcher

    def is_near(self, which: slice, parts: int) -> bool:
        """Whether the output of this size may be taken, as other inputs say."""
        each = np.abs(self.layer.off(self.output(parts), which))
        return bool(each.mean() < MEAN_OFF and np.quantile(each, 0.999) < MOST_OFF)

    def output(self, parts: int) -> SketchedOutput:
        """Of so many sixty-fourths of the columns; corrected by what it is off by in the mean, as far as that
        is an affine function of what the sketch tells.
        """
        layer, isa = self.layer, self.layer.isa
        size = min(layer.matrix.in_features, -(-layer.matrix.in_features * parts // (4 * PARTS)) * 4)
        sketch = self.sketcher.sketch(size)
        rows = layer.kernels.Matrix.uint8(sketch.codes, sketch.step, sketch.low)
        options = {"products": "int8", "exact": layer.exact, "again": self.again, "isa": isa}
        kernel = layer.kernels.Output(rows, layer.bias, sketch_bias=sketch.bias, **options)
        columns = affine_kernel(layer.kernels, sketch.columns, sketch.shift, isa=isa)

        def corrected(slope: NDArray[np.float32], shift: Vector) -> SketchedOutput:
            slopes = np.concatenate([sketch.slopes, slope]), np.concatenate([sketch.slope_shift, shift])
            return SketchedOutput(kernel, columns, affine_kernel(layer.kernels, *slopes, isa=isa))

        plain = corrected(np.zeros((1, size), np.float32), np.zeros(1, np.float32))
        told = columns(layer.x[self.which].numpy(), 1)
        return corrected(*nearest_affine(told, layer.off(plain, self.which)[:, None], OFF_RIDGE))


def worth_a_sketch(matrix: Matrix) -> bool:
    """Whether one is made in reasonable time, and likely to be faster than the matrix itself."""
    if matrix.out_features * matrix.in_features**2 > SKETCHED_OPERATIONS:
        return False
    return not isinstance(matrix, SlimMatrix) or matrix.sub_vectors * SLIM_LANES * 4 > SLIM_NEAR_BYTES
