"""A matrix as the product of two thin ones: (out, r) times (r, in).

Source: Eq. 11 of Grachev, Ignatov and Savchenko, "Neural Networks Compression for Language Modeling".
"""

from collections.abc import Mapping
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from models.matrices.base import (
    Count,
    Matrix,
    MatrixSpec,
    Place,
    Positive,
    Prepared,
    Size,
    product_of_rows,
    take,
)
from models.matrices.products import linear
from nbest.errors import ConfigError


def principal_directions(weight: Tensor, rank: int, row_weights: Tensor | None = None) -> Tensor:
    """(rank, in) orthonormal rows P, float64, for which W P^T P is nearest to W (out, in), by least squares.

    row_weights  (out,): how much each row's squares count

    The first right singular vectors, from the (in, in) Gram matrix: its float64 holds the squares of 32-bit
    numbers whole, and it is small where W has a row a word.
    """
    wide = weight.detach().double()
    if row_weights is not None:
        wide = wide * row_weights.to(wide.device)[:, None].sqrt()
    _, vectors = torch.linalg.eigh(wide.t() @ wide)  # columns, ascending
    directions: Tensor = vectors[:, -rank:].flip(1).t().contiguous()
    return directions


def factors(weight: Tensor, rank: int, row_weights: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """(out, r) and (r, in), float64: the truncated SVD, the lengths of columns shared evenly between both."""
    directions = principal_directions(weight, rank, row_weights)
    return balanced(weight.detach().double() @ directions.t(), directions)


def balanced(left: Tensor, right: Tensor) -> tuple[Tensor, Tensor]:
    """The same product of U S (out, r) and orthonormal rows (r, in), with the root of S on either side."""
    roots = left.norm(dim=0).sqrt()
    return left / roots.clamp_min(torch.finfo(roots.dtype).tiny), roots[:, None] * right


class LowRankSpec(MatrixSpec):
    """(out, rank)(rank, in); numbers of the product vary at first as those of a dense matrix of `scale`."""

    made_from = ("dense", "low_rank")
    kind: Literal["low_rank"] = "low_rank"
    rank: Count
    scale: Positive = 0.05

    def check(self, place: Place, out_features: int, in_features: int) -> None:
        """The rank is at most that of a dense matrix."""
        super().check(place, out_features, in_features)
        self._check_shape(out_features, in_features)

    def _check_shape(self, out_features: int, in_features: int) -> None:
        most = min(out_features, in_features)
        if self.rank > most:
            raise ConfigError(
                "low rank: more than the matrix can have", expected=f"at most {most}", got=str(self.rank)
            )

    def build(self, out_features: int, in_features: int) -> "LowRankMatrix":
        """Two uniform factors of one width: an entry's variance r s^4 is scale^2 / 3."""
        self._check_shape(out_features, in_features)
        width = 3**0.5 * (self.scale**2 / 3 / self.rank) ** 0.25
        return LowRankMatrix(
            torch.empty(out_features, self.rank).uniform_(-width, width),
            torch.empty(self.rank, in_features).uniform_(-width, width),
        )

    def from_trained(self, weight: Tensor, row_weights: Tensor | None = None) -> "LowRankMatrix":
        """The truncated SVD: nearest by least squares, weighted or not."""
        self._check_shape(*weight.shape)
        left, right = factors(weight, self.rank, row_weights)
        return LowRankMatrix(left.float(), right.float())

    def read(self, tensors: Mapping[str, Tensor], out_features: int, in_features: int) -> "LowRankMatrix":
        """``left`` and ``right``."""
        return LowRankMatrix(
            take(tensors, "left", (out_features, self.rank), torch.float32),
            take(tensors, "right", (self.rank, in_features), torch.float32),
        )


class LowRankMatrix(Matrix):
    """`left` (out, r) times `right` (r, in); r = rank."""

    def __init__(self, left: Tensor, right: Tensor) -> None:
        super().__init__(len(left), right.shape[1])
        self.left = nn.Parameter(left)
        self.right = nn.Parameter(right)

    def prepare(self, x: Tensor) -> Prepared:
        """(N, r): x times the right factor."""
        return Prepared(linear(x, self.right))

    def logits(self, prepared: Prepared, rows: slice) -> Tensor:
        """(N, |rows|)."""
        return linear(prepared.values, self.left[rows])

    def pairs(self, prepared: Prepared, positions: Tensor, ids: Tensor) -> Tensor:
        """(P,): r numbers a pair."""
        return product_of_rows(self._left_rows, prepared.values, positions, ids)

    def rows(self, ids: Tensor) -> Tensor:
        """(..., in)."""
        return self._left_rows(ids) @ self.right

    def _left_rows(self, ids: Tensor) -> Tensor:
        return functional.embedding(ids, self.left)  # (..., r)

    def _dense(self) -> Tensor:
        return (self.left @ self.right).detach()

    def size(self) -> Size:
        """Four bytes a parameter, r (out + in) of them."""
        count = self.left.numel() + self.right.numel()
        return Size(count, 4 * count, 0, 4 * count)

    def multiply_adds(self) -> int:
        """r (in + out)."""
        return self.left.numel() + self.right.numel()

    def stored(self) -> dict[str, Tensor]:
        """``left`` and ``right``."""
        return {"left": self.left.detach(), "right": self.right.detach()}

    def packed(self) -> Matrix:
        """Itself."""
        return self
