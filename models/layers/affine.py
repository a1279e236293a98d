"""``y = exp(gamma) * sum_i W_i x_i + b``, with gamma and b optional: gates and extra linear layers.

Source: Algorithm 1 of Liu, Cao and Yu, "Binarized LSTM Language Model"; a plain affine map without gamma.
"""

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor, nn

from models.matrices.base import Matrix


class Affine(nn.Module):
    """An affine map of one or more inputs, each with its own matrix of the same number of rows."""

    def __init__(self, matrices: Sequence[Matrix], *, gain: bool, biases: int) -> None:
        super().__init__()
        self.matrices = nn.ModuleList(matrices)
        rows = matrices[0].out_features
        self.gamma = nn.Parameter(torch.zeros(rows)) if gain else None
        self.bias = nn.Parameter(torch.zeros(rows)) if biases else None
        self.second_bias = nn.Parameter(torch.zeros(rows)) if biases > 1 else None

    def forward(self, *inputs: Tensor) -> Tensor:
        """(..., out) from inputs (..., in_i), one per matrix."""
        total: Tensor = sum(matrix(x) for matrix, x in zip(self.matrices, inputs, strict=True))
        return self.shifted(total)

    def shifted(self, total: Tensor) -> Tensor:
        """exp(gamma) * total + b, for total (..., out), the sum of the products."""
        if self.gamma is not None:
            total = total * self.gamma.exp()
        for bias in (self.bias, self.second_bias):
            total = total if bias is None else total + bias
        return total

    def vectors(self) -> Iterator[tuple[str, nn.Parameter]]:
        """gamma and the biases that are there, by name."""
        for name in ("gamma", "bias", "second_bias"):
            vector = getattr(self, name)
            if vector is not None:
                yield name, vector

    def weights_for_training(self) -> list[Tensor] | None:
        """exp(gamma) * W_i for each i as autograd sees them, or None where a matrix keeps no weight."""
        weights: list[Tensor] = []
        for matrix in self.matrices:
            assert isinstance(matrix, Matrix)
            weight = matrix.weight_for_training()
            if weight is None:
                return None
            weights.append(weight if self.gamma is None else weight * self.gamma.exp()[:, None])
        return weights

    def biases_for_training(self) -> tuple[Tensor, Tensor]:
        """Two bias vectors (rows,); zeros for one that is not there."""
        matrix = self.matrices[0]
        assert isinstance(matrix, Matrix)
        zeros = torch.zeros(matrix.out_features, device=next(self.parameters()).device)
        return (
            zeros if self.bias is None else self.bias,
            zeros if self.second_bias is None else self.second_bias,
        )
