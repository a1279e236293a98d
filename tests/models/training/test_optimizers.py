"""Each optimiser against its formula, its state to a file and back; schedules as tables."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from models.training.optimizers import (
    load_optimizer_tensors,
    make_optimizer,
    optimizer_tensors,
    scheduled_rate,
    set_rate,
)
from models.training.recipe import make_recipe

SETTINGS: list[dict[str, Any]] = [
    {"optimizer": "sgd"},
    {"optimizer": "sgd", "weight_decay": 0.1},
    {"optimizer": "sgd", "momentum": 0.9, "weight_decay": 0.1},
    {"optimizer": "adam", "weight_decay": 0.1},
    {"optimizer": "adagrad", "weight_decay": 0.1},
]


def _gradients() -> list[Tensor]:
    return list(torch.randn(4, 5, generator=torch.Generator().manual_seed(1)))


def _formula(settings: dict[str, Any], w: Tensor, rates: list[float]) -> Tensor:
    """The updates as the papers write them, in float64."""
    decay, momentum = settings.get("weight_decay", 0.0), settings.get("momentum", 0.0)
    v = torch.zeros_like(w)
    m = torch.zeros_like(w)
    for step, (gradient, rate) in enumerate(zip(_gradients(), rates, strict=True), start=1):
        g = gradient.double() + decay * w
        if settings["optimizer"] == "adam":
            m = 0.9 * m + 0.1 * g
            v = 0.99 * v + 0.01 * g**2
            w = w - rate * (m / (1 - 0.9**step)) / ((v / (1 - 0.99**step)).sqrt() + 1e-8)
        elif settings["optimizer"] == "adagrad":
            v = v + g**2
            w = w - rate * g / (v.sqrt() + 1e-8)
        else:
            m = momentum * m + g
            w = w - rate * m
    return w


@pytest.mark.parametrize("settings", SETTINGS, ids=str)
def test_steps_are_the_formula_with_a_save_between(settings: dict[str, Any]) -> None:
    recipe = make_recipe(settings | {"learning_rate": 0.1})
    rates = [0.1, 0.1, 0.05, 0.05]
    start = torch.arange(5.0)
    parameter = nn.Parameter(start.clone())
    optimizer = make_optimizer(recipe, [parameter])
    for number, (gradient, rate) in enumerate(zip(_gradients(), rates, strict=True)):
        if number == 2:
            kept = {name: tensor.clone() for name, tensor in optimizer_tensors(optimizer).items()}
            parameter = nn.Parameter(parameter.detach().clone())
            optimizer = make_optimizer(recipe, [parameter])
            load_optimizer_tensors(optimizer, kept)
        parameter.grad = gradient.clone()
        set_rate(optimizer, rate)
        optimizer.step()
    torch.testing.assert_close(parameter.detach().double(), _formula(settings, start.double(), rates))


def _rates(**values: Any) -> Callable[[float], float]:
    recipe = make_recipe({"learning_rate": 8.0, "epochs": 10} | values)
    return lambda epochs_done: scheduled_rate(recipe, epochs_done, 3.0)


def test_schedules() -> None:
    for name in ("halve", "constant"):  # validation changes the first, nothing the second
        assert _rates(schedule=name)(4.5) == 3.0
    exponential = _rates(schedule="exponential", decay=0.5, decay_after=4)
    assert [exponential(done) for done in (0, 3.99, 4, 4.5, 5, 7)] == [8, 8, 4, 4, 2, 0.5]
    every_epoch = _rates(schedule="exponential", decay=0.97)
    assert [every_epoch(done) for done in (0, 1, 2)] == pytest.approx([8, 7.76, 7.5272])
    cosine = _rates(schedule="cosine")
    assert cosine(0) == pytest.approx(0.08)
    assert cosine(5) == pytest.approx(4)
    assert cosine(10) == 0
