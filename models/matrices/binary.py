"""A matrix of one bit a number: trained through a straight-through estimator, stored and scored packed.

Source: Liu, Cao and Yu, "Binarized LSTM Language Model", Eqs. 6-8, Algorithms 1 and 2.
"""

from collections.abc import Mapping
from functools import lru_cache
from typing import Literal, cast

import numpy as np
import torch
from torch import Tensor, nn
from torch.autograd.function import FunctionCtx
from torch.nn import functional

from models.matrices.base import (
    Matrix,
    MatrixSpec,
    Positive,
    Prepared,
    Size,
    product_of_rows,
    products_by_tile,
    take,
)
from nbest.errors import ModelFileError

UNPACK_BYTES = 4 * 1024 * 1024  # a tile of rows unpacked at a time; stays near the L2 cache


class _Binarize(torch.autograd.Function):
    """+scale where w > 0, else -scale (Eqs. 6 and 8: sign(0) = -1); the gradient passes straight (Eq. 7)."""

    @staticmethod
    def forward(_ctx: FunctionCtx, weight: Tensor, scale: float) -> Tensor:
        # The same numbers as torch.where(weight > 0, scale, -scale), which takes twelve times as long.
        signs = torch.gt(weight, 0, out=torch.empty_like(weight))
        return signs.mul_(2 * scale).sub_(scale)

    @staticmethod
    def backward(_ctx: FunctionCtx, *grads: Tensor) -> tuple[Tensor, None]:
        return grads[0], None


def binarize(weight: Tensor, scale: float) -> Tensor:
    """+scale where weight > 0, else -scale; identity gradient."""
    return cast("Tensor", _Binarize.apply(weight, scale))  # type: ignore[no-untyped-call]


class BinarySpec(MatrixSpec):
    """One bit a number, worth +scale or -scale; float weights clamped to [-clamp, clamp] in training.

    scale  a number, fixed (Eq. 8), or "mean": mean |W| of the float weights (Rastegari et al., "XNOR-Net",
           as Table 5's variants started from trained embeddings have it)
    """

    kind: Literal["binary"] = "binary"
    scale: Positive | Literal["mean"]
    clamp: Positive = 1.0

    def build(self, out_features: int, in_features: int) -> "BinaryMatrix":
        """Random signs."""
        return BinaryMatrix(out_features, in_features, scale=self.scale, clamp=self.clamp)

    def read(
        self, tensors: Mapping[str, Tensor], out_features: int, in_features: int
    ) -> "PackedBinaryMatrix":
        """``bits`` and ``scale``."""
        matrix = PackedBinaryMatrix.from_stored(tensors, out_features, in_features)
        matrix.trained_by = self
        return matrix


class BinaryMatrix(Matrix):
    """Training form: float weights whose signs are the matrix.

    scale  the two values are +scale and -scale; sqrt(1/H) in the paper (Eq. 8); "mean" for mean |W|
    clamp  float weights are kept within [-clamp, clamp] after each step (Algorithm 2, line 6)
    """

    def __init__(
        self, out_features: int, in_features: int, *, scale: float | Literal["mean"], clamp: float = 1.0
    ) -> None:
        super().__init__(out_features, in_features)
        self.fixed_scale = None if scale == "mean" else scale
        self.clamp = clamp
        deviation = in_features**-0.5 if scale == "mean" else scale
        self.weight = nn.Parameter(torch.empty(out_features, in_features).normal_(0, deviation))

    @property
    def scale(self) -> float:
        """What the two values are now."""
        if self.fixed_scale is not None:
            return self.fixed_scale
        return float(self.weight.detach().abs().mean())

    def weight_for_training(self) -> Tensor:
        """(out, in) of +scale and -scale."""
        return binarize(self.weight, self.scale)

    def prepare(self, x: Tensor) -> Prepared:
        """x itself."""
        return Prepared(x)

    def logits(self, prepared: Prepared, rows: slice) -> Tensor:
        """(N, |rows|)."""
        return functional.linear(prepared.values, binarize(self.weight[rows], self.scale))

    def pairs(self, prepared: Prepared, positions: Tensor, ids: Tensor) -> Tensor:
        """(P,)."""
        return product_of_rows(self.rows, prepared.values, positions, ids)

    def rows(self, ids: Tensor) -> Tensor:
        """(..., in)."""
        return binarize(functional.embedding(ids, self.weight), self.scale)

    def _dense(self) -> Tensor:
        return binarize(self.weight.detach(), self.scale)

    def after_step(self) -> None:
        """Clamp (Algorithm 2, line 6)."""
        with torch.no_grad():
            self.weight.clamp_(-self.clamp, self.clamp)

    def size(self) -> Size:
        """As its packed form."""
        return self.packed().size()

    def multiply_adds(self) -> int:
        """out * in."""
        return self.out_features * self.in_features

    def stored(self) -> dict[str, Tensor]:
        """As its packed form."""
        return self.packed().stored()

    def packed(self) -> "PackedBinaryMatrix":
        """One bit a number."""
        bits = (self.weight.detach() > 0).cpu().numpy()
        packed = PackedBinaryMatrix(
            self.out_features, self.in_features, np.packbits(bits, axis=1), self.scale
        )
        packed.trained_by = BinarySpec(scale=self.fixed_scale or "mean", clamp=self.clamp)
        return packed


@lru_cache
def _worth_of_bytes(scale: float) -> Tensor:
    """(256, 8) the eight numbers of each byte; the same tensor for all matrices of one scale."""
    bits = np.unpackbits(np.arange(256, dtype=np.uint8)[:, None], axis=1).astype(np.float32)
    return torch.from_numpy((2 * bits - 1) * np.float32(scale))


class PackedBinaryMatrix(Matrix):
    """Scoring form: (out, ceil(in/8)) bytes, one bit a number; rows are unpacked a tile at a time.

    trained_by  how the float weights were and would be trained; None where only the bits are known
    """

    bytes_: Tensor
    table: Tensor
    trained_by: BinarySpec | None = None

    def __init__(self, out_features: int, in_features: int, rows: np.ndarray, scale: float) -> None:
        super().__init__(out_features, in_features)
        self.scale = scale
        self.register_buffer("bytes_", torch.from_numpy(np.ascontiguousarray(rows)))
        self.register_buffer("table", _worth_of_bytes(scale))  # (256, 8)
        self.tile_rows = max(1, UNPACK_BYTES // (4 * max(1, in_features)))

    def _unpack(self, packed: Tensor) -> Tensor:
        """(R, in) of +scale and -scale from (R, ceil(in/8)) bytes."""
        values = functional.embedding(packed.int(), self.table)  # (R, bytes, 8)
        return values.flatten(1)[:, : self.in_features]

    def prepare(self, x: Tensor) -> Prepared:
        """x itself."""
        return Prepared(x)

    def logits(self, prepared: Prepared, rows: slice) -> Tensor:
        """(N, |rows|); one tile of rows is unpacked, multiplied and thrown away at a time."""
        start, stop, _ = rows.indices(self.out_features)
        return products_by_tile(self._rows_between, prepared.values, start, stop, self.tile_rows)

    def _rows_between(self, start: int, stop: int) -> Tensor:
        return self._unpack(self.bytes_[start:stop])

    def pairs(self, prepared: Prepared, positions: Tensor, ids: Tensor) -> Tensor:
        """(P,)."""
        return product_of_rows(self.rows, prepared.values, positions, ids)

    def rows(self, ids: Tensor) -> Tensor:
        """(..., in)."""
        flat = self._unpack(self.bytes_.index_select(0, ids.flatten()))
        return flat.reshape(*ids.shape, self.in_features)

    def _dense(self) -> Tensor:
        return self._unpack(self.bytes_)

    def size(self) -> Size:
        """An eighth of a byte a number; the scale is extra; memory rows end at a byte."""
        count = self.out_features * self.in_features
        return Size(count, count / 8, 4, self.bytes_.numel() + self.table.numel() * 4)

    def multiply_adds(self) -> int:
        """out * in: bits become numbers before they are multiplied."""
        return self.out_features * self.in_features

    def stored(self) -> dict[str, Tensor]:
        """``bits``: all numbers flat, eight a byte, most significant first; ``scale``."""
        bits = np.unpackbits(self.bytes_.cpu().numpy(), axis=1, count=self.in_features)
        flat = np.packbits(bits.reshape(-1))
        return {"bits": torch.from_numpy(flat), "scale": torch.tensor(self.scale, dtype=torch.float32)}

    def packed(self) -> "PackedBinaryMatrix":
        """Itself."""
        return self

    def trainable(self) -> BinaryMatrix:
        """Float weights of the bits' signs, all of one magnitude: what they were before is not stored."""
        how = self.trained_by or BinarySpec(scale=self.scale)
        matrix = how.build(self.out_features, self.in_features)
        matrix.weight.data = self._dense()
        return matrix

    @classmethod
    def from_stored(
        cls, tensors: Mapping[str, Tensor], out_features: int, in_features: int
    ) -> "PackedBinaryMatrix":
        """The matrix of a file."""
        count = out_features * in_features
        flat = take(tensors, "bits", ((count + 7) // 8,), torch.uint8).numpy()
        scale = float(take(tensors, "scale", (), torch.float32))
        if scale < 0:
            raise ModelFileError("tensor 'scale' is negative", expected="0 or more", got=str(scale))
        bits = np.unpackbits(flat, count=count).reshape(out_features, in_features)
        return cls(out_features, in_features, np.packbits(bits, axis=1), scale)
