"""A matrix of any make whose numbers lie in the file in one byte each: factors, pools, what pruning left.

What is read is the matrix itself, in 32 bits: smaller on disk, not in memory. Dense matrices have a kind of
their own (models/matrices/quantized.py), which stays in bytes.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import Tensor

from models.matrices.base import Matrix, MatrixSpec, Place, Size, take
from models.matrices.frequency import FrequencySpec
from models.matrices.low_rank import LowRankSpec
from models.matrices.pruned import PrunedSpec
from models.matrices.slim import SlimSpec
from models.matrices.tensor_train import TensorTrainSpec
from nbest.errors import ConfigError, ModelFileError

STEPS = 255  # between the least number and the greatest, both of which are kept
CODES, RANGE = ".codes", ".range"

Makes = Annotated[
    SlimSpec | FrequencySpec | LowRankSpec | TensorTrainSpec | PrunedSpec, Field(discriminator="kind")
]


class InBytesSpec(MatrixSpec):
    """Each tensor of numbers of `of` in 256 levels, evenly from its least number to its greatest."""

    made_from = ("slim", "frequency", "low_rank", "tensor_train", "pruned")
    kind: Literal["in_bytes"] = "in_bytes"
    of: Makes

    @property
    def name(self) -> str:
        """The make, and that it is in bytes."""
        return f"{self.of.name}, in bytes"

    def check(self, place: Place, out_features: int, in_features: int) -> None:
        """As the make itself."""
        self.of.check(place, out_features, in_features)

    def build(self, out_features: int, in_features: int) -> Matrix:
        """Never."""
        raise ConfigError(
            "a matrix in bytes is not trained: nbest compress --int8 makes it from a trained one"
        )

    def made_of(self, matrix: Matrix, row_weights: Tensor | None = None) -> Matrix:
        """The same matrix with its numbers rounded."""
        tensors = self.to_file(matrix.packed())
        return self.read(tensors, matrix.out_features, matrix.in_features)

    def to_file(self, matrix: Matrix) -> dict[str, Tensor]:
        """Of a tensor of numbers NAME: ``NAME.codes``, bytes, and ``NAME.range``: least and greatest."""
        found: dict[str, Tensor] = {}
        for name, tensor in matrix.stored().items():
            found |= _encoded(name, tensor) if tensor.is_floating_point() else {name: tensor}
        return found

    def read(self, tensors: Mapping[str, Tensor], out_features: int, in_features: int) -> Matrix:
        """What `to_file` gave."""
        plain = {name: tensor for name, tensor in tensors.items() if not name.endswith((CODES, RANGE))}
        coded = [name.removesuffix(RANGE) for name in tensors if name.endswith(RANGE)]
        coded += [name.removesuffix(CODES) for name in tensors if name.endswith(CODES)]
        for name in dict.fromkeys(coded):
            if name in plain:
                raise ModelFileError(f"tensor {name!r} is there twice, once in bytes")
            plain[name] = _decoded(name, tensors)
        return self.of.read(plain, out_features, in_features)

    def size_of(self, matrix: Matrix) -> Size:
        """A byte a number on disk and a range a tensor; in memory as the make itself."""
        size = matrix.size()
        counts = [
            tensor.numel() for tensor in matrix.packed().stored().values() if tensor.is_floating_point()
        ]
        return replace(
            size,
            paper_bytes=size.paper_bytes - 3 * sum(counts),
            extra_bytes=size.extra_bytes + 8 * len(counts),
        )


def _encoded(name: str, tensor: Tensor) -> dict[str, Tensor]:
    wide = tensor.double()
    low, high = (wide.min(), wide.max()) if wide.numel() else (wide.new_zeros(()), wide.new_zeros(()))
    step = (high - low) / STEPS
    codes = ((wide - low) / step).round_() if float(step) > 0 else torch.zeros_like(wide)
    return {name + CODES: codes.to(torch.uint8), name + RANGE: torch.stack([low, high]).float()}


def _decoded(name: str, tensors: Mapping[str, Tensor]) -> Tensor:
    shape = tuple(tensors[name + CODES].shape) if name + CODES in tensors else ()
    codes = take(tensors, name + CODES, shape, torch.uint8)
    low, high = take(tensors, name + RANGE, (2,), torch.float32).tolist()
    if low > high:
        raise ModelFileError(
            f"tensor '{name}{RANGE}' is upside down", expected="least, greatest", got=f"{low}, {high}"
        )
    numbers: Tensor = codes.double().mul_((high - low) / STEPS).add_(low)
    return numbers.float()
