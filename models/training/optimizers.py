"""Optimisers whose state is a flat mapping of tensors, and the learning rate's schedules."""

import math
from collections.abc import Iterable, Mapping

import torch
from torch import Tensor, nn

from models.training.recipe import Recipe


def make_optimizer(recipe: Recipe, parameters: Iterable[nn.Parameter]) -> torch.optim.Optimizer:
    """SGD without momentum, or Adam."""
    kept = list(parameters)
    if recipe.optimizer == "adam":
        return torch.optim.Adam(kept, lr=recipe.learning_rate, betas=(0.9, 0.99), eps=1e-8, fused=True)
    return torch.optim.SGD(kept, lr=recipe.learning_rate)


def set_rate(optimizer: torch.optim.Optimizer, rate: float) -> None:
    """Set the learning rate."""
    for group in optimizer.param_groups:
        group["lr"] = rate


def cosine_rate(first: float, progress: float) -> float:
    """Half a cosine from `first` at progress 0 to zero at 1, after a linear rise over the first hundredth."""
    rise = min(1.0, progress / 0.01 + 0.01)
    return first * rise * 0.5 * (1 + math.cos(math.pi * min(1.0, progress)))


def optimizer_tensors(optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """The state as tensors named ``parameter.key``."""
    return {
        f"{number}.{key}": value
        for number, state in optimizer.state_dict()["state"].items()
        for key, value in state.items()
    }


def load_optimizer_tensors(optimizer: torch.optim.Optimizer, tensors: Mapping[str, Tensor]) -> None:
    """Put back what `optimizer_tensors` gave."""
    document = optimizer.state_dict()
    document["state"] = {}
    for name, value in tensors.items():
        number, key = name.split(".", 1)
        document["state"].setdefault(int(number), {})[key] = value
    optimizer.load_state_dict(document)
