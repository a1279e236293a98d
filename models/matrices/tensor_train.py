"""A matrix as trains of small cores that are multiplied along the digits of its row and column numbers.

With row n_1 x ... x n_d and column m_1 x ... x m_d as digits (i_1..i_d), (j_1..j_d), an entry is the product
of matrices G_1[i_1,j_1] ... G_d[i_d,j_d]. Source: Section 3.3 of Grachev, Ignatov and Savchenko, "Neural
Networks Compression for Language Modeling", and Novikov et al., "Tensorizing Neural Networks".
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from models.matrices.base import Count, Counts, Matrix, MatrixSpec, Place, Positive, Prepared, Size, take
from nbest.errors import ConfigError

MOST_CORES = 16
Cores = Annotated[int, Field(ge=1, le=MOST_CORES)]


def near_equal_factors(number: int, count: int) -> tuple[int, ...]:
    """`count` factors of `number`, ascending, of the least sum; of equal sums the first in that order."""

    def factorings(rest: int, left: int, least: int) -> Iterator[tuple[int, ...]]:
        if left == 1:
            if rest >= least:
                yield (rest,)
            return
        for first in range(least, math.isqrt(rest) + 1 if left > 1 else rest + 1):
            if first**left > rest:
                break
            if rest % first == 0:
                for others in factorings(rest // first, left - 1, first):
                    yield (first, *others)

    return min(factorings(number, count, 1), key=lambda found: (sum(found), found))


class TensorTrainSpec(MatrixSpec):
    """`blocks` trains, one below the other: four over gate rows, so that every gate has its own.

    rank                  r_1 .. r_(d-1), or one number for all
    out_modes, in_modes   n_1 .. n_d (their product is the rows of one train) and m_1 .. m_d; where they are
                          not given, `cores` nearly equal factors, n ascending and m descending (the cheap way
                          round, since products start at n_1 and end at m_d)
    scale                 numbers of the product vary at first as those of a dense matrix of this scale
    """

    refused = dict.fromkeys(("embedding", "output"), "a tensor train has no cheap rows: no word vectors")
    kind: Literal["tensor_train"] = "tensor_train"
    rank: Counts
    blocks: Count = 1
    cores: Cores = 3
    out_modes: Counts | None = None
    in_modes: Counts | None = None
    scale: Positive = 0.05

    def check(self, place: Place, out_features: int, in_features: int) -> None:
        """Modes multiply to the shape, ranks are no larger than can be used."""
        super().check(place, out_features, in_features)
        self.shapes(out_features, in_features)

    def shapes(self, out_features: int, in_features: int) -> list[tuple[int, int, int, int, int]]:
        """(blocks, r_(k-1), n_k, m_k, r_k) of each core; raises ConfigError where they do not fit."""
        if out_features % self.blocks:
            raise ConfigError(
                "tensor train: the number of blocks does not divide the rows",
                expected=f"a divisor of {out_features}",
                got=str(self.blocks),
            )
        n, m = self._modes(out_features // self.blocks, in_features)
        ranks = self._ranks(n, m)
        ends = zip((1, *ranks), n, m, (*ranks, 1), strict=True)
        return [(self.blocks, *one) for one in ends]

    def _modes(self, rows: int, columns: int) -> tuple[tuple[int, ...], tuple[int, ...]]:
        given = self.out_modes if self.out_modes is not None else self.in_modes
        cores = self.cores if given is None else len(given)
        if not 1 <= cores <= MOST_CORES:
            raise ConfigError(
                "tensor train: number of modes", expected=f"from 1 to {MOST_CORES}", got=str(cores)
            )
        n = near_equal_factors(rows, cores) if self.out_modes is None else self.out_modes
        m = near_equal_factors(columns, cores)[::-1] if self.in_modes is None else self.in_modes
        for name, modes, size in (("out_modes", n, rows), ("in_modes", m, columns)):
            if math.prod(modes) != size or len(modes) != cores:
                raise ConfigError(
                    f"tensor train: {name} do not fit",
                    expected=f"{cores} numbers whose product is {size}",
                    got=str(list(modes)),
                )
        return n, m

    def _ranks(self, n: Sequence[int], m: Sequence[int]) -> tuple[int, ...]:
        bonds = len(n) - 1
        ranks = self.rank * bonds if len(self.rank) == 1 else self.rank
        if len(ranks) != bonds:
            raise ConfigError(
                "tensor train: rank does not fit", expected=f"1 or {bonds} numbers", got=str(list(ranks))
            )
        sizes = [a * b for a, b in zip(n, m, strict=True)]
        for bond, rank in enumerate(ranks, 1):
            most = min(math.prod(sizes[:bond]), math.prod(sizes[bond:]))
            if rank > most:
                raise ConfigError(
                    f"tensor train: rank {bond} is more than the matrix can have",
                    expected=f"at most {most} between {sizes[:bond]} and {sizes[bond:]}",
                    got=str(rank),
                )
        return ranks

    def build(self, out_features: int, in_features: int) -> "TensorTrainMatrix":
        """Normal cores of one variance v: an entry's is r_1 .. r_(d-1) v^d, and shall be scale^2 / 3."""
        shapes = self.shapes(out_features, in_features)
        paths = math.prod(shape[-1] for shape in shapes)
        deviation = (self.scale**2 / 3 / paths) ** (0.5 / len(shapes))
        return TensorTrainMatrix([torch.empty(shape).normal_(0, deviation) for shape in shapes])

    def read(self, tensors: Mapping[str, Tensor], out_features: int, in_features: int) -> "TensorTrainMatrix":
        """``core0`` and so on."""
        shapes = self.shapes(out_features, in_features)
        return TensorTrainMatrix(
            [take(tensors, f"core{number}", shape, torch.float32) for number, shape in enumerate(shapes)]
        )


class TensorTrainMatrix(Matrix):
    """Cores (blocks, r_(k-1), n_k, m_k, r_k); b, r, n, m, q below."""

    def __init__(self, cores: Sequence[Tensor]) -> None:
        shapes = [core.shape for core in cores]
        block_rows = math.prod(shape[2] for shape in shapes)
        super().__init__(shapes[0][0] * block_rows, math.prod(shape[3] for shape in shapes))
        self.cores = nn.ParameterList(cores)
        self.block_rows = block_rows

    def prepare(self, x: Tensor) -> Prepared:
        """(N, out) all products: core by core a column digit is summed away and a row digit comes instead."""
        z = x.expand(len(self.cores[0]), *x.shape)  # (b, N, in)
        columns = self.in_features
        for core in self.cores:
            b, r, _, m, _ = core.shape
            columns //= m
            z = z.reshape(b, -1, r, m, columns)  # a = N n_1 .. n_(k-1), c = m_(k+1) .. m_d
            z = torch.einsum("barmc,brnmq->banqc", z, core)
        products = z.reshape(len(z), len(x), self.block_rows)  # (b, N, out/b)
        return Prepared(products.transpose(0, 1).reshape(len(x), self.out_features))

    def logits(self, prepared: Prepared, rows: slice) -> Tensor:
        """(N, |rows|)."""
        return prepared.values[:, rows]

    def pairs(self, prepared: Prepared, positions: Tensor, ids: Tensor) -> Tensor:
        """(P,)."""
        return prepared.values[positions, ids]

    def rows(self, ids: Tensor) -> Tensor:
        """(..., in): the chosen slices of the cores, multiplied along the columns."""
        flat = ids.flatten()
        block, inside = flat // self.block_rows, flat % self.block_rows
        values: Tensor = self.cores[0].new_ones(len(flat), 1, 1)  # (P, m_1 .. m_k, r_k)
        rows = self.block_rows
        for core in self.cores:
            rows //= core.shape[2]
            chosen = core[block, :, inside // rows % core.shape[2]]  # (P, r, m, q)
            values = torch.einsum("par,prmq->pamq", values, chosen).flatten(1, 2)
        return values.reshape(*ids.shape, self.in_features)

    def _dense(self) -> Tensor:
        return self.rows(torch.arange(self.out_features, device=self.cores[0].device)).detach()

    def size(self) -> Size:
        """Four bytes a parameter, blocks * sum of r_(k-1) n_k m_k r_k of them."""
        count = sum(core.numel() for core in self.cores)
        return Size(count, 4 * count, 0, 4 * count)

    def multiply_adds(self) -> int:
        """The sum over cores of their numbers times n_1 .. n_(k-1) times m_(k+1) .. m_d."""
        total, before, after = 0, 1, self.in_features
        for core in self.cores:
            after //= core.shape[3]
            total += core.numel() * before * after
            before *= core.shape[2]
        return total

    def stored(self) -> dict[str, Tensor]:
        """``core0`` and so on."""
        return {f"core{number}": core.detach() for number, core in enumerate(self.cores)}

    def packed(self) -> Matrix:
        """Itself."""
        return self
