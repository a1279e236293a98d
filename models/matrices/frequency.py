"""Word vectors of M lengths: the more frequent a word, the longer; the rest of a vector is zero.

The dimensions fall into M bins; bin m holds numbers of the V alpha^m most frequent words. Source: Section 4.1
of Demeester et al., "Predefined Sparseness in Recurrent Sequence Models".
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import accumulate
from typing import Annotated, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional

from models.matrices.assignment import bits_per_code, pack_codes, unpack_codes
from models.matrices.base import (
    Counts,
    Matrix,
    MatrixSpec,
    Place,
    Positive,
    Prepared,
    Seed,
    Share,
    Size,
    product_of_rows,
    take,
)
from nbest.errors import ConfigError, ModelFileError

MOST_BINS = 1024  # solving takes time that grows with their square: two seconds here


@lru_cache
def words_of_bins(vocabulary_size: int, widths: tuple[int, ...], density: float) -> tuple[int, ...]:
    """How many words have numbers in each bin; V in the first, alpha times as many in each next (Eq. 1).

    Words are whole: alpha is solved again bin after bin for what is left of the density, words are rounded
    down, and what that leaves over goes to the last bins that can take it. Raises ConfigError where the first
    bin alone is denser.
    """
    left = density * sum(widths) * vocabulary_size - widths[0] * vocabulary_size  # numbers
    if left < -0.5:  # a share written in decimals may be off by less than a number
        raise ConfigError(
            "frequency: every word has the numbers of the first bin",
            expected=f"a density of at least {widths[0] / sum(widths):.6g}",
            got=str(density),
        )
    words = [vocabulary_size]
    for bin_ in range(1, len(widths)):
        words.append(int(words[-1] * _solve(widths[bin_:], left / max(1, words[-1]))))
        left -= widths[bin_] * words[bin_]
    for bin_ in [*range(len(widths) - 1, 0, -1)] * len(widths):
        least = words[bin_ + 1] if bin_ + 1 < len(words) else 0
        wanted = min(max(words[bin_] + round(left / widths[bin_]), least), words[bin_ - 1])
        left -= widths[bin_] * (wanted - words[bin_])
        words[bin_] = wanted
    return tuple(words)


def _solve(widths: Sequence[int], numbers: float) -> float:
    """alpha in [0, 1] with sum of widths[m] alpha^(m+1) = `numbers`, by bisection.

    Only products and sums, which every machine rounds alike: shapes in a file depend on the result.
    """
    low, high = 0.0, 1.0
    for _ in range(60):
        alpha = (low + high) / 2
        total = 0.0
        for width in reversed(widths):
            total = (total + width) * alpha
        low, high = (alpha, high) if total < numbers else (low, alpha)
    return high


@dataclass(frozen=True)
class Segment:
    """Places [start, stop) hold vectors of `length` numbers."""

    start: int
    stop: int
    length: int


class FrequencySpec(MatrixSpec):
    """Vectors whose lengths fall with the rank of the word; a vocabulary's ids are ranks.

    density   numbers over those of a dense matrix (delta_E)
    bins      M; the dimensions are shared evenly, the first bins one wider where they must
    widths    kappa_0 .. kappa_(M-1) instead: the first is the least length of a vector
    order     `up`: the most frequent words have the longest vectors; `down`: the shortest; `none`: lengths
              are dealt out at random (Table 3)
    """

    refused = dict.fromkeys(
        ("gates", "linear", "projection"),
        "a matrix by word frequency holds word vectors: only embedding and output may",
    )
    kind: Literal["frequency"] = "frequency"
    density: Share
    bins: Annotated[int, Field(ge=1, le=MOST_BINS)] = 10
    widths: Annotated[Counts, Field(max_length=MOST_BINS)] | None = None
    order: Literal["up", "none", "down"] = "up"
    seed: Seed = 1
    scale: Positive = 0.05

    def check(self, place: Place, out_features: int, in_features: int) -> None:
        """The bins make up the vector, the density is one that they allow."""
        super().check(place, out_features, in_features)
        self.segments(out_features, in_features)

    def segments(self, words: int, vector_size: int) -> list[Segment]:
        """Words of equal length, place by place; raises ConfigError where the bins do not fit."""
        widths = self._widths(vector_size)
        counts = words_of_bins(words, widths, self.density)
        lengths = accumulate(widths)
        found = [
            Segment(start, stop, length)
            for stop, start, length in zip(counts, [*counts[1:], 0], lengths, strict=True)
            if start < stop
        ][::-1]
        if self.order == "down":
            found = [Segment(words - one.stop, words - one.start, one.length) for one in found[::-1]]
        return found

    def _widths(self, vector_size: int) -> tuple[int, ...]:
        if self.widths is None:
            if self.bins > vector_size:
                raise ConfigError(
                    "frequency: more bins than dimensions",
                    expected=f"at most {vector_size}",
                    got=str(self.bins),
                )
            return tuple(vector_size // self.bins + (m < vector_size % self.bins) for m in range(self.bins))
        if sum(self.widths) != vector_size:
            raise ConfigError(
                "frequency: the widths of the bins do not make up the vector",
                expected=f"a sum of {vector_size}",
                got=f"{list(self.widths)}",
            )
        return self.widths

    def build(self, out_features: int, in_features: int) -> "FrequencyMatrix":
        """Uniform numbers; for `none`, a random permutation of the words."""
        segments = self.segments(out_features, in_features)
        blocks = [
            torch.empty(one.stop - one.start, one.length).uniform_(-self.scale, self.scale)
            for one in segments
        ]
        places = np.random.default_rng(self.seed).permutation(out_features) if self.order == "none" else None
        return FrequencyMatrix(in_features, segments, blocks, places)

    def read(self, tensors: Mapping[str, Tensor], out_features: int, in_features: int) -> "FrequencyMatrix":
        """``block0`` and so on; ``places`` where words were dealt out at random."""
        segments = self.segments(out_features, in_features)
        blocks = [
            take(tensors, f"block{number}", (one.stop - one.start, one.length), torch.float32)
            for number, one in enumerate(segments)
        ]
        places = _read_places(tensors, out_features) if self.order == "none" else None
        return FrequencyMatrix(in_features, segments, blocks, places)


def _read_places(tensors: Mapping[str, Tensor], words: int) -> NDArray[np.int64]:
    size = (words * bits_per_code(words) + 7) // 8
    places = unpack_codes(take(tensors, "places", (size,), torch.uint8).numpy(), words, words)
    if not np.array_equal(np.sort(places), np.arange(words)):
        raise ModelFileError("tensor 'places' is no permutation of the words")
    return places.astype(np.int64)


class FrequencyMatrix(Matrix):
    """(V, k) as blocks (words, length), one a segment of places.

    places  (V,) the place of each word; None where words stand in the order of their ids
    """

    places: Tensor | None

    def __init__(
        self,
        in_features: int,
        segments: Sequence[Segment],
        blocks: Sequence[Tensor],
        places: NDArray[np.int64] | None = None,
    ) -> None:
        super().__init__(segments[-1].stop, in_features)
        self.segments = tuple(segments)
        self.blocks = nn.ParameterList(blocks)
        self.register_buffer("places", None if places is None else torch.from_numpy(places))

    def prepare(self, x: Tensor) -> Prepared:
        """x itself."""
        return Prepared(x)

    def logits(self, prepared: Prepared, rows: slice) -> Tensor:
        """(N, |rows|): a product a segment, with as many of the inputs as its vectors have numbers."""
        x = prepared.values
        if self.places is None:
            start, stop, _ = rows.indices(self.out_features)
            parts = [
                functional.linear(
                    x[:, : one.length], block[max(start - one.start, 0) : max(stop - one.start, 0)]
                )
                for one, block in self._with_blocks()
            ]
            return torch.cat(parts, 1)
        places = self.places[rows]
        found, parts = [], []
        for one, block in self._with_blocks():
            chosen = _within(places, one)
            found.append(chosen)
            parts.append(functional.linear(x[:, : one.length], block[places[chosen] - one.start]))
        return torch.cat(parts, 1).index_select(1, torch.cat(found).argsort())

    def pairs(self, prepared: Prepared, positions: Tensor, ids: Tensor) -> Tensor:
        """(P,)."""
        return product_of_rows(self.rows, prepared.values, positions, ids)

    def rows(self, ids: Tensor) -> Tensor:
        """(..., k): a vector, and zeros behind it."""
        flat = ids.flatten()
        places = flat if self.places is None else self.places[flat]
        out: Tensor = self.blocks[0].new_zeros(len(flat), self.in_features)
        for one, block in self._with_blocks():
            chosen = _within(places, one)
            out[chosen, : one.length] = functional.embedding(places[chosen] - one.start, block)
        return out.reshape(*ids.shape, self.in_features)

    def _with_blocks(self) -> Iterator[tuple[Segment, Tensor]]:
        return zip(self.segments, self.blocks, strict=True)

    def _dense(self) -> Tensor:
        return self.rows(torch.arange(self.out_features, device=self.blocks[0].device)).detach()

    def size(self) -> Size:
        """Four bytes a parameter, sum of kappa_m V alpha^m of them; a permutation of the words is extra."""
        count = sum(block.numel() for block in self.blocks)
        if self.places is None:
            return Size(count, 4 * count, 0, 4 * count)
        bits = self.out_features * bits_per_code(self.out_features)
        return Size(count, 4 * count, (bits + 7) // 8, 4 * count + 8 * self.out_features)

    def multiply_adds(self) -> int:
        """As many as there are numbers: zeros are not multiplied."""
        return sum(block.numel() for block in self.blocks)

    def stored(self) -> dict[str, Tensor]:
        """``block0`` and so on; ``places``, bit-packed, where words were dealt out at random."""
        tensors = {f"block{number}": block.detach() for number, block in enumerate(self.blocks)}
        if self.places is not None:
            packed = pack_codes(self.places.cpu().numpy().astype(np.int32), self.out_features)
            tensors["places"] = torch.from_numpy(packed)
        return tensors

    def packed(self) -> Matrix:
        """Itself."""
        return self


def _within(places: Tensor, one: Segment) -> Tensor:
    """Which of `places` lie in the segment."""
    return ((places >= one.start) & (places < one.stop)).nonzero()[:, 0]
