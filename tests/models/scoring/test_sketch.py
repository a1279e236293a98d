"""Sketches of output layers: near where they should be."""

from collections.abc import Callable

import torch
from torch import Tensor

from models.language_model import LanguageModel
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


def reduced(sketch: Sketch, x: Tensor) -> Tensor:
    return torch.from_numpy(sketch.of(x.numpy()))


def test_all_columns_are_the_whole_layer() -> None:
    weight, bias, x = layer(50, 24, 24, 1.0)
    sketch = Sketcher(weight, bias.numpy(), x.flatten(0, 1)).sketch(24)
    logits = reduced(sketch, x.flatten(0, 1)) @ sketch.rows.T + sketch.bias
    assert torch.allclose(logits, x.flatten(0, 1) @ weight.T + bias, atol=1e-3)
    columns, shift = map(torch.from_numpy, sketch.affine())
    assert torch.allclose(x.flatten(0, 1) @ columns.T + shift, reduced(sketch, x.flatten(0, 1)), atol=1e-4)


def test_what_is_left_out_is_made_up_for_in_the_mean() -> None:
    weight, bias, x = layer(3_000, 32, 32, 1.0)
    seen, unseen = x[:, :30].flatten(0, 1), x[:, 30:].flatten(0, 1)
    sketch = Sketcher(weight, bias.numpy(), seen).sketch(16)
    exact = log_sums(weight, bias, unseen)
    with_it = log_sums(sketch.rows, sketch.bias, reduced(sketch, unseen)) - exact
    plain_bias = Sketcher(weight, bias.numpy(), seen).bias
    without = log_sums(sketch.rows, plain_bias, reduced(sketch, unseen)) - exact
    assert without.mean() < -0.1
    assert with_it.mean().abs() < 0.2 * without.mean().abs()


def test_a_model_says_the_same_each_time(make_model: Callable[..., LanguageModel]) -> None:
    model = make_model("lstm", layers=2)
    first, second = spoken(model), spoken(model)
    assert torch.equal(first, second)
    assert first.shape[2] == model.output.in_features
    assert torch.equal(first[0, 0], first[0, 1])  # all have read <s>
    assert len(first[1].unique(dim=0)) > 20  # and then another word each
