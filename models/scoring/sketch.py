"""A sketch of an output layer: fewer columns that tell nearly as much about the normaliser.

The normaliser sums exp(w . x) over all words w. What has a large share of the sum is computed exactly anyway.
Of the rest the sum's logarithm feels the mean alone: where x is off by d, it is off by m(x) . d, with

    m(x) = sum over the words w of small shares of P(w | x) w

So it is enough to know x along the directions in which m(x) . x varies, x being what the model puts out where
it talks to itself: a principal component analysis of the outputs' covariance beside m(x)'s second moments.
What that leaves out is Gaussian enough for its mean effect on exp to be made up by half its variance, in the
biases. A random rotation then makes all columns alike in size, which is what 8-bit numbers with one unit a
row want.

What the rounding of x to 8 bits takes is known when x is read, and m(x) is nearly an affine function of x:
their product is added.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from models.language_model import LanguageModel
from models.matrices.base import Matrix
from models.scoring.byte_codes import Vector, bytes_by_row

SPOKEN_STEPS = 24
SPOKEN_OPERATIONS = 8e10  # of the output layer while the model talks: about a second
MOST_SPOKEN, LEAST_SPOKEN = 4096, 512  # prefixes
BLOCK_ROWS = 4096  # of the matrix in floats at a time
EVERY = 1e-4  # of what directions count for is the same for all words: for what the sample lacks
SHRINK = 1e-3  # of the covariance is the same in all directions, likewise
RIDGE = 1e-2  # of the mean square of the columns, where m(x) is fitted


@dataclass(frozen=True)
class Sketch:
    """w . x + bias is about rows . s(x) + bias_of_rows, with s(x) = columns x + shift.

    columns       (K, H)
    shift         (K,)
    codes         (V, K) rows, in 256 steps each
    step          (V,) what a code is worth,
    low           (V,) above this
    bias          (V,)
    slopes        (K, K) how the sum's logarithm changes with s(x), is about slopes s(x) + slope_shift
    slope_shift   (K,)
    """

    columns: NDArray[np.float32]
    shift: Vector
    codes: NDArray[np.uint8]
    step: Vector
    low: Vector
    bias: Vector
    slopes: NDArray[np.float32]
    slope_shift: Vector


def spoken(model: LanguageModel, most: int = MOST_SPOKEN) -> Tensor:
    """Inputs of the output layer (T, N, H) in texts that the model finds likely; as `talk`."""
    with torch.inference_mode():
        return torch.stack([model.before_output(hidden) for hidden in talk(model, most)])


def talk(model: LanguageModel, most: int = MOST_SPOKEN) -> list[Tensor]:
    """T steps of the last layer (N, H) in texts that the model finds likely; the same ones each time.

    most  prefixes; fewer where they would take long, but never less than LEAST_SPOKEN
    """
    config = model.config
    count = SPOKEN_OPERATIONS / (2 * config.vocabulary_size * model.output.in_features)
    texts = int(min(max(count, LEAST_SPOKEN), most)) // SPOKEN_STEPS
    generator = torch.Generator().manual_seed(1)
    words = torch.full((texts,), 2)  # <s>
    state = model.start_state(texts)
    outputs = []
    with torch.inference_mode():
        for _ in range(SPOKEN_STEPS):
            hidden, state = model.step(words, state)
            outputs.append(hidden)
            prepared = model.prepare_output(hidden)
            shares = torch.softmax(model.logits(prepared, slice(0, config.vocabulary_size)), 1).cumsum(1)
            drawn = torch.rand(texts, 1, generator=generator) * shares[:, -1:]
            words = torch.searchsorted(shares, drawn).squeeze(1).clamp_max(config.vocabulary_size - 1)
            words = torch.where(words == 0, 2, words)  # after </s> another sentence begins
    return outputs


class Sketcher:
    """Sketches of any size of one output layer, of whose matrix a few rows at a time are floats.

    bias             (V,), if any
    x                (N, H) its inputs, as they are
    log_normalizers  (N,) of these
    large            share of the sum of a word whose own logit a sketch need not tell
    """

    def __init__(
        self,
        matrix: Matrix,
        bias: NDArray[np.float32] | None,
        x: Tensor,
        log_normalizers: Tensor,
        large: float,
    ) -> None:
        words, cells = matrix.out_features, matrix.in_features
        self._matrix = matrix
        own = torch.zeros(words) if bias is None else torch.from_numpy(bias)
        mean = x.mean(0)
        around = (x - mean).double()
        covariance = around.T @ around / len(x)
        covariance += SHRINK * covariance.trace() / cells * torch.eye(cells)
        root = torch.linalg.cholesky(covariance)  # C = L L'; L^-1 (x - mean) is white
        self.bias, self._variance = torch.empty(words), torch.empty(words)
        means, every = torch.zeros(len(x), cells), torch.zeros(cells, cells, dtype=torch.float64)
        for rows, weight in self._blocks():
            self.bias[rows] = own[rows] + weight @ mean
            self._variance[rows] = (weight @ root.float()).square().sum(1)
            shares = (torch.addmm(own[rows], x, weight.T) - log_normalizers[:, None]).exp_()
            means.addmm_(shares.masked_fill_(shares > large, 0.0), weight)
            every += weight.T @ weight
        gram = (means.T @ means).double()
        gram += EVERY * gram.trace() / every.trace() * every
        directions = torch.linalg.eigh(root.T @ gram @ root)[1].flip(1)  # most telling first
        turn = root @ directions
        self._turn = turn.float()  # rows of `weight` (H,) @ it (H, H): their coordinates beside white inputs'
        self._column = ((turn * (every @ turn)).sum(0) / words).sqrt().clamp_min(1e-12).sqrt()
        inverse = torch.linalg.solve_triangular(root, torch.eye(cells, dtype=torch.float64), upper=False)
        self._white = inverse.T @ directions
        self._mean, self._inputs, self._means = mean, around @ self._white, means.double() @ turn

    def sketch(self, size: int) -> Sketch:
        """With K = `size` columns."""
        # Each factor takes half of a column's size.
        column = self._column[:size]
        generator = torch.Generator().manual_seed(2)
        rotation = torch.linalg.qr(torch.randn(size, size, generator=generator, dtype=torch.float64))[0]
        of_inputs, of_rows = column[:, None] * rotation, rotation / column[:, None]
        parts = []
        bias = self.bias + self._variance / 2
        for rows, weight in self._blocks():
            kept = weight @ self._turn[:, :size]
            bias[rows] -= kept.square().sum(1) / 2
            parts.append(bytes_by_row((kept @ of_rows.float()).numpy()))
        codes, step, low = (np.concatenate(each) for each in zip(*parts, strict=True))
        columns = (self._white[:, :size] @ of_inputs).T
        inputs, means = self._inputs[:, :size] @ of_inputs, self._means[:, :size] @ of_rows
        slopes, slope_shift = nearest_affine(inputs.numpy(), means.numpy(), RIDGE)
        return Sketch(
            _floats(columns),
            _floats(-columns @ self._mean.double()),
            codes,
            step,
            low,
            bias.numpy(),
            slopes,
            slope_shift,
        )

    def _blocks(self) -> Iterator[tuple[slice, Tensor]]:
        """(which, rows in floats)."""
        for start in range(0, self._matrix.out_features, BLOCK_ROWS):
            which = slice(start, min(start + BLOCK_ROWS, self._matrix.out_features))
            yield which, self._matrix.rows(torch.arange(which.start, which.stop)).detach()


def nearest_affine(
    x: NDArray[np.floating], y: NDArray[np.floating], ridge: float
) -> tuple[NDArray[np.float32], Vector]:
    """(A (L, K), b (L,)): A x + b is nearest to y (N, L) by least squares; x (N, K) is 0 in the mean.

    ridge  added to the mean square of each of the K, of their mean
    """
    inputs, outputs = torch.from_numpy(x).double(), torch.from_numpy(y).double()
    square = inputs.T @ inputs
    square += ridge * square.trace() / len(square) * torch.eye(len(square))
    shift = outputs.mean(0)
    return _floats(torch.linalg.solve(square, inputs.T @ (outputs - shift)).T), _floats(shift)


def _floats(values: Tensor) -> NDArray[np.float32]:
    return np.ascontiguousarray(values.float().numpy())
