"""A matrix whose rows are strings of shared sub-vectors.

Row w is the concatenation of K sub-vectors of in/K numbers, drawn from M; nothing of size (V, H) exists.
Assigned by position, products come from partial dot products computed once per sub-vector.
Source: Li et al., "Slim Embedding Layers for Recurrent Neural Language Models", Algorithm 1.
"""

from collections.abc import Mapping
from typing import Any, Literal, cast

import numpy as np
import torch
from numpy.typing import NDArray
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
    Seed,
    Size,
    product_of_rows,
    take,
)
from models.matrices.clusters import clustered, means_of
from models.matrices.products import linear
from nbest.errors import ConfigError, ModelFileError

MOST_HASHED = 1 << 27  # codes that no file holds, so that no file bounds them: 512 MB

Numbers = NDArray[np.float64]


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
    """Rows made of `parts` (K) sub-vectors out of `sub_vectors` (M).

    by_position  position k draws from its own M/K sub-vectors (the output layer); else from all M
    assignment   `balanced`: random, every sub-vector as often as any other; `hash`: by a hash of word and
                 position, which needs no codes on disk (HashNet); `clusters`: those of a trained matrix that
                 k-means finds for each position, or for all (what the paper's Conclusion would try)
    """

    made_from = ("dense", "binary", "frequency", "low_rank", "pruned", "quantized", "slim")

    refused = dict.fromkeys(
        ("gates", "linear", "projection"), "a slim matrix holds word vectors: only embedding and output may"
    )
    kind: Literal["slim"] = "slim"
    parts: Count
    sub_vectors: Count
    by_position: bool
    assignment: Literal["balanced", "hash", "clusters"] = "balanced"
    seed: Seed = 1
    scale: Positive = 0.05

    @property
    def values(self) -> int:
        """How many sub-vectors a position has to choose from."""
        return self.sub_vectors // self.parts if self.by_position else self.sub_vectors

    def check(self, place: Place, out_features: int, in_features: int) -> None:
        """K divides the vector size, M the positions; an output is assigned by position."""
        super().check(place, out_features, in_features)
        self.check_shape(in_features)
        if place == "output" and not self.by_position:
            raise ConfigError("a slim output is assigned by position: partial dot products need it")

    def check_shape(self, in_features: int) -> None:
        """Raise ConfigError where K does not divide the vector size, or M the positions."""
        if in_features % self.parts:
            raise ConfigError(
                "slim: the number of parts does not divide the vector size",
                expected=f"a divisor of {in_features}",
                got=str(self.parts),
            )
        if self.sub_vectors < self.parts or (self.by_position and self.sub_vectors % self.parts):
            raise ConfigError(
                "slim: the number of sub-vectors does not fit the number of parts",
                expected=f"a multiple of {self.parts}" if self.by_position else f"at least {self.parts}",
                got=str(self.sub_vectors),
            )

    def assign(self, rows: int) -> NDArray[np.int32]:
        """(rows, K) codes that need no trained matrix; raises ConfigError for clusters."""
        if self.assignment == "clusters":
            raise ConfigError(
                "clusters are those of a trained matrix: nbest compress --slim or nbest train --init"
            )
        arguments = (rows, self.parts, self.sub_vectors, self.seed)
        if self.assignment == "hash":
            return assignment.hashed(*arguments, by_position=self.by_position)
        if self.by_position:
            return assignment.balanced_by_position(*arguments)
        return assignment.balanced_pool(*arguments)

    def build(self, out_features: int, in_features: int) -> "SlimMatrix":
        """Random sub-vectors."""
        matrix = SlimMatrix(out_features, in_features, self, self.assign(out_features))
        nn.init.uniform_(matrix.weight, -self.scale, self.scale)
        return matrix

    def from_trained(self, weight: Tensor, row_weights: Tensor | None = None) -> "SlimMatrix":
        """Sub-vectors found by clustering; or, where words are assigned without looking, their means."""
        self.check_shape(weight.shape[1])
        wanted = weight.detach().cpu().double().numpy().reshape(len(weight), self.parts, -1)  # (V, K, H/K)
        weights = np.ones(len(weight)) if row_weights is None else row_weights.double().cpu().numpy()
        find = self._clusters if self.assignment == "clusters" else self._means
        codes, numbers = find(wanted, weights)
        return SlimMatrix(len(weight), weight.shape[1], self, codes, torch.from_numpy(numbers).float())

    def _clusters(self, wanted: Numbers, weights: Numbers) -> tuple[NDArray[np.int32], Numbers]:
        """((V, K) codes, (M, H/K) sub-vectors) of k-means over each position, or over all of them."""
        random = np.random.default_rng(self.seed)
        if not self.by_position:
            points, each = wanted.reshape(-1, wanted.shape[2]), weights.repeat(self.parts)
            codes, numbers = clustered(points, self.sub_vectors, random, each)
            return codes.reshape(len(wanted), self.parts), numbers
        found = [clustered(wanted[:, k], self.values, random, weights) for k in range(self.parts)]
        codes = np.stack([codes for codes, _ in found], axis=1) + self._first_of_position()
        return codes, np.concatenate([numbers for _, numbers in found])

    def _means(self, wanted: Numbers, weights: Numbers) -> tuple[NDArray[np.int32], Numbers]:
        codes = self.assign(len(wanted))
        points, each = wanted.reshape(-1, wanted.shape[2]), weights.repeat(self.parts)
        return codes, means_of(points, codes.reshape(-1), self.sub_vectors, each)

    def read(self, tensors: Mapping[str, Tensor], out_features: int, in_features: int) -> "SlimMatrix":
        """``weight``, and ``codes`` where they are not hashed."""
        self.check_shape(in_features)
        weight = take(tensors, "weight", (self.sub_vectors, in_features // self.parts), torch.float32)
        if self.assignment == "hash" and out_features * self.parts > MOST_HASHED:
            raise ModelFileError(
                "too many hashed codes",
                expected=f"at most {MOST_HASHED}",
                got=f"{out_features} of {self.parts} parts",
            )
        codes = self.assign(out_features) if self.assignment == "hash" else self._codes(tensors, out_features)
        return SlimMatrix(out_features, in_features, self, codes, weight)

    def _codes(self, tensors: Mapping[str, Tensor], rows: int) -> NDArray[np.int32]:
        count, values = rows * self.parts, self.values
        size = (count * assignment.bits_per_code(values) + 7) // 8
        codes = assignment.unpack_codes(take(tensors, "codes", (size,), torch.uint8).numpy(), count, values)
        if count and int(codes.max()) >= values:
            raise ModelFileError(
                "a code is out of range", expected=f"below {values}", got=str(int(codes.max()))
            )
        codes = codes.reshape(rows, self.parts)
        return codes + self._first_of_position() if self.by_position else codes

    def _first_of_position(self) -> NDArray[np.int32]:
        return np.arange(self.parts, dtype=np.int32) * np.int32(self.values)

    def own_codes(self, codes: NDArray[np.int32]) -> NDArray[np.int32]:
        """Codes (rows, K) counted from the first that their position may have."""
        return codes - self._first_of_position() if self.by_position else codes

    def stored_codes(self, codes: NDArray[np.int32]) -> NDArray[np.uint8]:
        """Codes (rows, K) as they lie in a file: bit-packed."""
        return assignment.pack_codes(self.own_codes(codes), self.values)


class SlimMatrix(Matrix):
    """(V, H) as (V, K) codes into (M, H/K) sub-vectors."""

    codes: Tensor
    _inverse: tuple[Tensor, Tensor] | None = None

    def __init__(
        self,
        out_features: int,
        in_features: int,
        spec: SlimSpec,
        codes: NDArray[np.int32],
        weight: Tensor | None = None,
    ) -> None:
        super().__init__(out_features, in_features)
        spec.check_shape(in_features)
        self.spec = spec
        self.parts, self.sub_vectors, self.by_position = spec.parts, spec.sub_vectors, spec.by_position
        if weight is None:
            weight = torch.zeros(spec.sub_vectors, in_features // spec.parts)
        self.weight = nn.Parameter(weight)
        self.register_buffer("codes", torch.from_numpy(codes))  # (V, K)

    def _words_by_code(self) -> tuple[Tensor, Tensor]:
        """(words (V K,) code after code, offsets (M,) of the codes), made when a gradient asks for them."""
        if self._inverse is None or self._inverse[0].device != self.codes.device:
            flat = self.codes.flatten()
            words = flat.argsort(stable=True).div(self.parts, rounding_mode="floor")
            counts = flat.bincount(minlength=self.sub_vectors)
            self._inverse = words.int(), (counts.cumsum(0) - counts).int()
        return self._inverse

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
            return linear(prepared.values, self.rows(ids))
        tables = prepared.values
        if torch.is_grad_enabled() and tables.requires_grad:
            if len(codes) != self.out_features:
                raise RuntimeError("training takes all rows of a slim matrix at once")
            summed = _SumOfPartials.apply(tables, codes, *self._words_by_code())  # type: ignore[no-untyped-call]
            return cast("Tensor", summed).t()  # (V, N) -> (N, V)
        return functional.embedding_bag(codes, tables, mode="sum").t()

    def pairs(self, prepared: Prepared, positions: Tensor, ids: Tensor) -> Tensor:
        """(P,)."""
        if not self.by_position:
            return product_of_rows(self.rows, prepared.values, positions, ids)
        codes = self.codes.index_select(0, ids).long()  # (P, K)
        return prepared.values[codes, positions[:, None]].sum(1)

    def rows(self, ids: Tensor) -> Tensor:
        """(..., in): K sub-vectors side by side."""
        codes = self.codes.index_select(0, ids.flatten())  # (P, K)
        return functional.embedding(codes, self.weight).reshape(*ids.shape, self.in_features)

    def _dense(self) -> Tensor:
        return self.rows(torch.arange(self.out_features, device=self.weight.device)).detach()

    def size(self) -> Size:
        """Four bytes a parameter; the codes are extra (the paper leaves its mapping table out)."""
        count = self.weight.numel()
        bits = 0 if self.spec.assignment == "hash" else assignment.bits_per_code(self.spec.values)
        return Size(count, 4 * count, self.codes.numel() * bits / 8, 4 * count + 4 * self.codes.numel())

    def multiply_adds(self) -> int:
        """M H/K, and V K additions that are not counted; V H of a pool, whose rows are gathered."""
        return self.weight.numel() if self.by_position else self.out_features * self.in_features

    def stored(self) -> dict[str, Tensor]:
        """``weight`` (M, H/K), and ``codes`` where they are not hashed."""
        tensors = {"weight": self.weight.detach()}
        if self.spec.assignment != "hash":
            tensors["codes"] = torch.from_numpy(self.spec.stored_codes(self.codes.cpu().numpy()))
        return tensors

    def packed(self) -> Matrix:
        """Itself."""
        return self
