"""A matrix of one byte a number: which of 256 equal intervals between its least and its greatest it lies in.

Made from a trained matrix; not trained. Source: Section 3.1 of Grachev, Ignatov and Savchenko, "Neural
Networks Compression for Language Modeling".
"""

from collections.abc import Mapping
from typing import Literal

import torch
from torch import Tensor

from models.matrices.base import Matrix, MatrixSpec, Prepared, Size, product_of_rows, products_by_tile, take
from nbest.errors import ConfigError, ModelFileError

INTERVALS = 256
TILE_BYTES = 4 * 1024 * 1024  # of rows as 32-bit numbers at a time; stays near the L2 cache


class QuantizedSpec(MatrixSpec):
    """One byte a number, worth the middle of its interval."""

    made_from = ("dense",)
    kind: Literal["quantized"] = "quantized"

    def build(self, out_features: int, in_features: int) -> "QuantizedMatrix":
        """Never."""
        raise ConfigError(
            "a quantized matrix is not trained: nbest compress --int8 makes it from a trained one"
        )

    def from_trained(self, weight: Tensor, row_weights: Tensor | None = None) -> "QuantizedMatrix":
        """The interval of each number; no number moves by more than a 512th of the range."""
        wide = weight.detach().double()
        low, high = float(wide.min()), float(wide.max())
        step = (high - low) / INTERVALS or 1.0  # of equal numbers all are in the first interval
        codes = ((wide - low) / step).floor_().clamp_(0, INTERVALS - 1)
        return QuantizedMatrix(codes.to(torch.uint8), low, high)

    def read(self, tensors: Mapping[str, Tensor], out_features: int, in_features: int) -> "QuantizedMatrix":
        """``codes`` and ``range``."""
        codes = take(tensors, "codes", (out_features, in_features), torch.uint8)
        low, high = take(tensors, "range", (2,), torch.float32).tolist()
        if low > high:
            raise ModelFileError(
                "tensor 'range' is upside down", expected="least, greatest", got=f"{low}, {high}"
            )
        return QuantizedMatrix(codes, low, high)


class QuantizedMatrix(Matrix):
    """(out, in) bytes; rows become numbers a tile at a time."""

    codes: Tensor

    def __init__(self, codes: Tensor, low: float, high: float) -> None:
        super().__init__(*codes.shape)
        self.low = low
        self.high = high
        self.register_buffer("codes", codes)
        self.tile_rows = max(1, TILE_BYTES // (4 * self.in_features))

    def _numbers(self, codes: Tensor) -> Tensor:
        """The middles of the intervals, 32-bit."""
        step = (self.high - self.low) / INTERVALS
        return codes.float().mul_(step).add_(self.low + step / 2)

    def prepare(self, x: Tensor) -> Prepared:
        """x itself."""
        return Prepared(x)

    def logits(self, prepared: Prepared, rows: slice) -> Tensor:
        """(N, |rows|)."""
        start, stop, _ = rows.indices(self.out_features)
        return products_by_tile(self._rows_between, prepared.values, start, stop, self.tile_rows)

    def _rows_between(self, start: int, stop: int) -> Tensor:
        return self._numbers(self.codes[start:stop])

    def pairs(self, prepared: Prepared, positions: Tensor, ids: Tensor) -> Tensor:
        """(P,)."""
        return product_of_rows(self.rows, prepared.values, positions, ids)

    def rows(self, ids: Tensor) -> Tensor:
        """(..., in)."""
        return self._numbers(self.codes[ids])

    def _dense(self) -> Tensor:
        return self._numbers(self.codes)

    def size(self) -> Size:
        """A byte a number; the range is extra."""
        count = self.codes.numel()
        return Size(count, count, 8, count)

    def multiply_adds(self) -> int:
        """out * in: bytes become numbers before they are multiplied."""
        return self.codes.numel()

    def stored(self) -> dict[str, Tensor]:
        """``codes`` (out, in) and ``range``: least and greatest."""
        return {"codes": self.codes, "range": torch.tensor([self.low, self.high], dtype=torch.float32)}

    def packed(self) -> Matrix:
        """Itself."""
        return self

    def trainable(self) -> Matrix:
        """Never."""
        raise ConfigError("a quantized matrix cannot be trained: take the model that it was made from")
