"""A sketch of an output layer: fewer columns that tell nearly as much about the normaliser.

The normaliser sums exp(w . x) over all words w. What has a large share of the sum is computed exactly anyway;
for the rest it is enough to know x along the directions that matter: those which keep

    sum over w of P(w) E[((w - w') . x)^2]

smallest, x being what the model puts out where it talks to itself. That is a principal component analysis of
the outputs' covariance beside the words' P-weighted Gram matrix. What it leaves out is Gaussian enough for
its mean effect on exp to be made up by half its variance, in the biases. A random rotation then makes all
columns alike in size, which is what 8-bit numbers with one unit a row want.
"""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from models.language_model import LanguageModel

SPOKEN_STEPS = 24
SPOKEN_OPERATIONS = 4e10  # of the output layer while the model talks: less than half a second
MOST_SPOKEN, LEAST_SPOKEN = 4096, 512  # prefixes
LARGE = 0.003  # share of the sum of a word whose own logit a sketch need not tell


@dataclass(frozen=True)
class Sketch:
    """w . x + bias is about rows . s(x) + bias_of_rows, with s(x) = (x - mean) projection.

    mean          (H,)
    projection    (H, K)
    rows          (V, K)
    bias          (V,)
    """

    mean: Tensor
    projection: Tensor
    rows: Tensor
    bias: Tensor

    def of(self, x: NDArray[np.float32]) -> NDArray[np.float32]:
        """(N, K) for outputs (N, H)."""
        return ((torch.from_numpy(x) - self.mean) @ self.projection).numpy()

    def affine(self) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """A (K, H) and b (K,): s(x) is A x + b."""
        shift = -(self.mean.double() @ self.projection.double()).float()
        return np.ascontiguousarray(self.projection.T.numpy()), shift.numpy()


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
    """Sketches of any size of one output layer.

    weight  (V, H) the layer's rows
    bias    (V,), if any
    x       (N, H) its inputs, as they are
    """

    def __init__(self, weight: Tensor, bias: NDArray[np.float32] | None, x: Tensor) -> None:
        self.mean = x.mean(0)
        own = torch.zeros(len(weight)) if bias is None else torch.from_numpy(bias)
        self.bias = own + weight @ self.mean
        around = (x - self.mean).double()
        covariance = around.T @ around / len(x)
        cells = len(covariance)
        covariance += 1e-3 * covariance.trace() / cells * torch.eye(cells)  # directions that the sample lacks
        shares = torch.softmax(x @ weight.T + own, 1)
        small = torch.where(shares > LARGE, 0.0, shares).mean(0)
        gram = (weight.T @ (weight * (small + 0.1 * small.mean())[:, None])).double()
        root = torch.linalg.cholesky(covariance)  # C = L L'; L^-1 (x - mean) is white
        directions = torch.linalg.eigh(root.T @ gram @ root)[1].flip(1)  # most telling first
        # (V, H) and (H, H): rows . white = weight . (x - mean), column by column less of it.
        self.rows = weight @ (root @ directions).float()
        inverse = torch.linalg.solve_triangular(root, torch.eye(cells, dtype=torch.float64), upper=False)
        self.white = inverse.T @ directions

    def sketch(self, size: int) -> Sketch:
        """With K = `size` columns."""
        rows, left_out = self.rows[:, :size], self.rows[:, size:].square().sum(1)
        column = rows.square().mean(0).sqrt().clamp_min(1e-12).sqrt()
        # Each factor takes half of a column's size.
        generator = torch.Generator().manual_seed(2)
        rotation = torch.linalg.qr(torch.randn(size, size, generator=generator, dtype=torch.float64))[0]
        return Sketch(
            self.mean,
            (self.white[:, :size] * column @ rotation).float(),
            (rows / column) @ rotation.float(),
            self.bias + left_out / 2,
        )
