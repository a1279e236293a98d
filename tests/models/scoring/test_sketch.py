"""Sketches of output layers: near where they should be."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor

from models.language_model import LanguageModel
from models.matrices.dense import DenseMatrix
from models.scoring.sketch import Sketch, Sketcher, spoken


def layer(words: int, cells: int, telling: int, rest: float) -> tuple[Tensor, Tensor, Tensor]:
    """(weight (V, H), bias (V,), x (T, N, H)): `telling` directions matter, the others by `rest` of that."""
    generator = torch.Generator().manual_seed(5)
    scale = torch.full((cells,), rest)
    scale[:telling] = 1.0
    turn = torch.linalg.qr(torch.randn(cells, cells, generator=generator))[0]
    weight = (torch.randn(words, cells, generator=generator) * scale * telling**-0.5) @ turn
    x = torch.randn(12, 40, cells, generator=generator) + 0.5
    return weight, torch.randn(words, generator=generator), x


def log_sums(weight: Tensor, bias: Tensor, x: Tensor) -> Tensor:
    return torch.logsumexp(x.flatten(0, -2).double() @ weight.double().T + bias, 1)


def sketcher(weight: Tensor, bias: Tensor, x: Tensor) -> Sketcher:
    matrix = DenseMatrix(*weight.shape, scale=1.0)
    with torch.no_grad():
        matrix.weight.copy_(weight)
    return Sketcher(matrix, bias.numpy(), x, log_sums(weight, bias, x).float(), 0.003)


def reduced(sketch: Sketch, x: Tensor) -> Tensor:
    return x @ torch.from_numpy(sketch.columns).T + torch.from_numpy(sketch.shift)


def rows(sketch: Sketch) -> Tensor:
    return torch.from_numpy(sketch.codes * sketch.step[:, None] + sketch.low[:, None])


def test_all_columns_are_the_whole_layer() -> None:
    """But for the rounding of rows to 256 steps."""
    weight, bias, x = layer(50, 24, 24, 1.0)
    sketch = sketcher(weight, bias, x.flatten(0, 1)).sketch(24)
    inputs = reduced(sketch, x.flatten(0, 1))
    logits = inputs @ rows(sketch).T + torch.from_numpy(sketch.bias)
    off = (logits - (x.flatten(0, 1) @ weight.T + bias)).abs()
    half_steps = inputs.abs().sum(1, keepdim=True) * torch.from_numpy(sketch.step) / 2
    assert (off <= half_steps + 1e-3).all()
    assert half_steps.max() < 0.2


def test_made_from_a_few_rows_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    weight, bias, x = layer(130, 24, 12, 0.1)
    whole = sketcher(weight, bias, x.flatten(0, 1)).sketch(8)
    monkeypatch.setattr("models.scoring.sketch.BLOCK_ROWS", 64)
    parts = sketcher(weight, bias, x.flatten(0, 1)).sketch(8)
    for name in ("columns", "shift", "step", "low", "bias", "slopes", "slope_shift"):
        assert getattr(parts, name) == pytest.approx(getattr(whole, name), abs=1e-4)
    assert np.abs(parts.codes.astype(int) - whole.codes).max() <= 1


def test_what_is_left_out_is_made_up_for_in_the_mean() -> None:
    weight, bias, x = layer(3_000, 32, 32, 1.0)
    seen, unseen = x[:, :30].flatten(0, 1), x[:, 30:].flatten(0, 1)
    every = sketcher(weight, bias, seen)
    sketch = every.sketch(16)
    exact = log_sums(weight, bias, unseen)
    with_it = log_sums(rows(sketch), torch.from_numpy(sketch.bias), reduced(sketch, unseen)) - exact
    without = log_sums(rows(sketch), every.bias, reduced(sketch, unseen)) - exact
    assert without.mean() < -0.1
    assert with_it.mean().abs() < 0.2 * without.mean().abs()


def test_the_columns_kept_are_those_that_the_sum_feels() -> None:
    """Words that are far apart where it makes no difference to their mean need no columns of their own."""
    generator = torch.Generator().manual_seed(7)
    half = torch.randn(2_000, 16, generator=generator)
    half[:, 0] *= 0.2  # told by one column; 15 others are larger, and cancel out
    half[:, 0] += 1.0
    weight = torch.cat([half, half * torch.tensor([1.0] + [-1.0] * 15)])
    x, bias = 0.3 * torch.randn(400, 16, generator=generator), torch.zeros(4_000)
    sketch = sketcher(weight, bias, x).sketch(1)
    direction = np.abs(sketch.columns[0]) / np.linalg.norm(sketch.columns[0])
    assert direction[0] > 0.95


def test_slopes_tell_how_the_sum_changes() -> None:
    """On inputs that are not seen; of words with small shares, as all are here."""
    weight, _, x = layer(3_000, 16, 16, 0.3)
    weight *= 0.3
    seen, unseen = x[:, :30].flatten(0, 1), x[:, 30:].flatten(0, 1).double()
    sketch = sketcher(weight, torch.zeros(3_000), seen).sketch(16)
    inputs = unseen.requires_grad_()
    (by_x,) = torch.autograd.grad(torch.logsumexp(inputs @ weight.double().T, 1).sum(), inputs)
    slopes = reduced(sketch, unseen.detach().float()) @ torch.from_numpy(sketch.slopes).T
    slopes += torch.from_numpy(sketch.slope_shift)
    # d ln Z / d x = columns' d ln Z / d s
    predicted = slopes @ torch.from_numpy(sketch.columns)
    error = (predicted - by_x).norm() / by_x.norm()
    assert error < 0.2


def test_a_model_says_the_same_each_time(make_model: Callable[..., LanguageModel]) -> None:
    model = make_model("lstm", layers=2)
    first, second = spoken(model), spoken(model)
    assert torch.equal(first, second)
    assert first.shape[2] == model.output.in_features
    assert torch.equal(first[0, 0], first[0, 1])  # all have read <s>
    assert len(first[1].unique(dim=0)) > 20  # and then another word each
