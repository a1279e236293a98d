"""A matrix stored as it is: 32-bit floats."""

from collections.abc import Mapping
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from models.matrices.base import Matrix, MatrixSpec, Positive, Prepared, Size, product_of_rows, take
from models.matrices.products import linear


class DenseSpec(MatrixSpec):
    """32-bit floats; initialised uniformly in [-scale, scale]."""

    kind: Literal["dense"] = "dense"
    scale: Positive = 0.05

    def build(self, out_features: int, in_features: int) -> "DenseMatrix":
        """Random numbers."""
        return DenseMatrix(out_features, in_features, scale=self.scale)

    def read(self, tensors: Mapping[str, Tensor], out_features: int, in_features: int) -> "DenseMatrix":
        """``weight``."""
        return DenseMatrix.from_stored(tensors, out_features, in_features)


class DenseMatrix(Matrix):
    """(out, in) 32-bit floats, initialised uniformly in [-scale, scale]."""

    def __init__(self, out_features: int, in_features: int, *, scale: float = 0.05) -> None:
        super().__init__(out_features, in_features)
        self.weight = nn.Parameter(torch.empty(out_features, in_features).uniform_(-scale, scale))

    def prepare(self, x: Tensor) -> Prepared:
        """x itself."""
        return Prepared(x)

    def logits(self, prepared: Prepared, rows: slice) -> Tensor:
        """(N, |rows|)."""
        return linear(prepared.values, self.weight[rows])

    def pairs(self, prepared: Prepared, positions: Tensor, ids: Tensor) -> Tensor:
        """(P,)."""
        return product_of_rows(self.rows, prepared.values, positions, ids)

    def rows(self, ids: Tensor) -> Tensor:
        """(..., in)."""
        return functional.embedding(ids, self.weight)

    def weight_for_training(self) -> Tensor:
        """The parameter."""
        return self.weight

    def _dense(self) -> Tensor:
        return self.weight.detach().clone()

    def size(self) -> Size:
        """Four bytes a parameter."""
        count = self.weight.numel()
        return Size(count, 4 * count, 0, 4 * count)

    def multiply_adds(self) -> int:
        """out * in."""
        return self.out_features * self.in_features

    def stored(self) -> dict[str, Tensor]:
        """``weight``."""
        return {"weight": self.weight.detach()}

    def packed(self) -> Matrix:
        """Itself."""
        return self

    @classmethod
    def from_stored(cls, tensors: Mapping[str, Tensor], out_features: int, in_features: int) -> "DenseMatrix":
        """The matrix of a file."""
        weight = take(tensors, "weight", (out_features, in_features), torch.float32)
        matrix = cls.__new__(cls)
        Matrix.__init__(matrix, out_features, in_features)
        matrix.weight = nn.Parameter(weight)
        return matrix
