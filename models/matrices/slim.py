"""A matrix whose rows are strings of shared sub-vectors.

Row w is the concatenation of K sub-vectors of in/K numbers, drawn from M; nothing of size (V, H) exists.
Assigned by position, products come from partial dot products computed once per sub-vector.
Source: Li et al., "Slim Embedding Layers for Recurrent Neural Language Models", Algorithm 1.
"""

from collections.abc import Mapping
from typing import Any, Literal, cast

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from models.matrices import assignment
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
from nbest.errors import ConfigError, ModelFileError


class _SumOfPartials(torch.autograd.Function):
    """(V, N) sums over K of tables[codes[v, k]]; its gradient is the same sum over the inverted codes."""

    @staticmethod
    def forward(ctx: Any, tables: Tensor, codes: Tensor, words: Tensor, offsets: Tensor) -> Tensor:
        ctx.save_for_backward(words, offsets)
        return functional.embedding_bag(codes, tables, mode="sum")

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None, None]:
        words, offsets = ctx.saved_tensors
        return functional.embedding_bag(words, grads[0].contiguous(), offsets, mode="sum"), None, None, None


class SlimSpec(MatrixSpec):
    """Rows made of `parts` (K) sub-vectors out of `sub_vectors` (M)."""

    refused = dict.fromkeys(
        ("gates", "linear", "projection"), "a slim matrix holds word vectors: only embedding and output may"
    )
    kind: Literal["slim"] = "slim"
    parts: Count
    sub_vectors: Count
    by_position: bool
    seed: int = 1
    scale: Positive = 0.05

    def check(self, place: Place, out_features: int, in_features: int) -> None:
        """K divides the vector size; an output is assigned by position."""
        super().check(place, out_features, in_features)
        check_slim(in_features, self.parts, self.sub_vectors, self.by_position)
        if place == "output" and not self.by_position:
            raise ConfigError("a slim output is assigned by position: partial dot products need it")

    def build(self, out_features: int, in_features: int) -> "SlimMatrix":
        """A balanced random assignment of random sub-vectors."""
        return SlimMatrix(
            out_features,
            in_features,
            parts=self.parts,
            sub_vectors=self.sub_vectors,
            by_position=self.by_position,
            seed=self.seed,
            scale=self.scale,
        )

    def read(self, tensors: Mapping[str, Tensor], out_features: int, in_features: int) -> "SlimMatrix":
        """``weight`` and ``codes``."""
        return SlimMatrix.from_stored(
            tensors,
            out_features,
            in_features,
            parts=self.parts,
            sub_vectors=self.sub_vectors,
            by_position=self.by_position,
        )


class SlimMatrix(Matrix):
    """(V, H) as (V, K) codes into (M, H/K) sub-vectors.

    by_position  position k draws from its own M/K sub-vectors (the output layer); else from all M
    """

    codes: Tensor
    words_by_code: Tensor
    code_offsets: Tensor

    def __init__(
        self,
        out_features: int,
        in_features: int,
        *,
        parts: int,
        sub_vectors: int,
        by_position: bool,
        seed: int = 1,
        scale: float = 0.05,
        codes: np.ndarray | None = None,
    ) -> None:
        super().__init__(out_features, in_features)
        check_slim(in_features, parts, sub_vectors, by_position)
        self.parts = parts
        self.sub_vectors = sub_vectors
        self.by_position = by_position
        if codes is None:
            assign = assignment.balanced_by_position if by_position else assignment.balanced_pool
            codes = assign(out_features, parts, sub_vectors, seed)
        self.weight = nn.Parameter(torch.empty(sub_vectors, in_features // parts).uniform_(-scale, scale))
        self.register_buffer("codes", torch.from_numpy(codes.astype(np.int32)))  # (V, K)
        order = np.argsort(codes.reshape(-1), kind="stable")
        counts = np.bincount(codes.reshape(-1), minlength=sub_vectors)
        offsets = np.concatenate([[0], np.cumsum(counts)[:-1]])
        self.register_buffer("words_by_code", torch.from_numpy((order // parts).astype(np.int32)), False)
        self.register_buffer("code_offsets", torch.from_numpy(offsets.astype(np.int32)), False)

    def prepare(self, x: Tensor) -> Prepared:
        """(M, N) partial dot products, contiguous over N: K matrix products (Algorithm 1, step 2)."""
        if not self.by_position:
            return Prepared(x)
        each = self.sub_vectors // self.parts
        width = self.in_features // self.parts
        blocks = self.weight.reshape(self.parts, each, width)  # (K, M/K, H/K)
        inputs = x.reshape(len(x), self.parts, width).permute(1, 2, 0)  # (K, H/K, N)
        return Prepared(torch.bmm(blocks, inputs).reshape(self.sub_vectors, len(x)))  # (M, N)

    def logits(self, prepared: Prepared, rows: slice) -> Tensor:
        """(N, |rows|): the sum of K partial products per word (Algorithm 1, step 3)."""
        codes = self.codes[rows]
        if not self.by_position:
            ids = torch.arange(self.out_features, device=codes.device)[rows]
            return functional.linear(prepared.values, self.rows(ids))
        tables = prepared.values
        if torch.is_grad_enabled() and tables.requires_grad:
            if len(codes) != self.out_features:
                raise RuntimeError("training takes all rows of a slim matrix at once")
            summed = _SumOfPartials.apply(tables, codes, self.words_by_code, self.code_offsets)  # type: ignore[no-untyped-call]
            return cast("Tensor", summed).t()  # (V, N) -> (N, V)
        return functional.embedding_bag(codes, tables, mode="sum").t()

    def pairs(self, prepared: Prepared, positions: Tensor, ids: Tensor) -> Tensor:
        """(P,)."""
        if not self.by_position:
            return product_of_rows(self, prepared.values, positions, ids)
        codes = self.codes.index_select(0, ids).long()  # (P, K)
        return prepared.values[codes, positions[:, None]].sum(1)

    def rows(self, ids: Tensor) -> Tensor:
        """(..., in): K sub-vectors side by side."""
        codes = self.codes.index_select(0, ids.flatten())  # (P, K)
        return functional.embedding(codes, self.weight).reshape(*ids.shape, self.in_features)

    def _dense(self) -> Tensor:
        return self.rows(torch.arange(self.out_features, device=self.weight.device)).detach()

    def _code_values(self) -> int:
        return self.sub_vectors // self.parts if self.by_position else self.sub_vectors

    def size(self) -> Size:
        """Four bytes a parameter; the codes are extra (the paper leaves its mapping table out)."""
        count = self.weight.numel()
        code_bytes = self.codes.numel() * assignment.bits_per_code(self._code_values()) / 8
        return Size(count, 4 * count, code_bytes, 4 * count + 4 * self.codes.numel())

    def stored(self) -> dict[str, Tensor]:
        """``weight`` (M, H/K) and ``codes``, bit-packed."""
        codes = self.codes.cpu().numpy()
        if self.by_position:
            codes = codes % self._code_values()
        packed = assignment.pack_codes(codes, self._code_values())
        return {"weight": self.weight.detach(), "codes": torch.from_numpy(packed)}

    def packed(self) -> Matrix:
        """Itself."""
        return self

    @classmethod
    def from_stored(
        cls,
        tensors: Mapping[str, Tensor],
        out_features: int,
        in_features: int,
        *,
        parts: int,
        sub_vectors: int,
        by_position: bool,
    ) -> "SlimMatrix":
        """The matrix of a file."""
        check_slim(in_features, parts, sub_vectors, by_position)
        values = sub_vectors // parts if by_position else sub_vectors
        count = out_features * parts
        size = (count * assignment.bits_per_code(values) + 7) // 8
        codes = assignment.unpack_codes(take(tensors, "codes", (size,), torch.uint8).numpy(), count, values)
        if count and int(codes.max()) >= values:
            raise ModelFileError(
                "a code is out of range", expected=f"below {values}", got=str(int(codes.max()))
            )
        codes = codes.reshape(out_features, parts)
        if by_position:
            codes = codes + np.arange(parts, dtype=np.int32) * np.int32(values)
        weight = take(tensors, "weight", (sub_vectors, in_features // parts), torch.float32)
        matrix = cls(
            out_features,
            in_features,
            parts=parts,
            sub_vectors=sub_vectors,
            by_position=by_position,
            codes=codes,
        )
        matrix.weight = nn.Parameter(weight)
        return matrix


def check_slim(in_features: int, parts: int, sub_vectors: int, by_position: bool) -> None:
    """Raise ConfigError where K does not divide the vector size, or M the positions."""
    if in_features % parts:
        raise ConfigError(
            "slim: the number of parts does not divide the vector size",
            expected=f"a divisor of {in_features}",
            got=str(parts),
        )
    if sub_vectors < parts or (by_position and sub_vectors % parts):
        raise ConfigError(
            "slim: the number of sub-vectors does not fit the number of parts",
            expected=f"a multiple of {parts}" if by_position else f"at least {parts}",
            got=str(sub_vectors),
        )
