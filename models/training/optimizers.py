"""Optimisers whose state is a flat mapping of tensors, and the learning rate's schedules."""

import math
from collections.abc import Iterable, Mapping

import torch
from torch import Tensor, nn

from models.training.recipe import Recipe


def make_optimizer(recipe: Recipe, parameters: Iterable[nn.Parameter]) -> torch.optim.Optimizer:
    """SGD with or without momentum, Adam, or Adagrad; each step one pass over the memory (fused)."""
    kept = list(parameters)
    rate, decay = recipe.learning_rate, recipe.weight_decay
    if recipe.optimizer == "adam":
        betas = (0.9, 0.99)
        return torch.optim.Adam(kept, lr=rate, betas=betas, eps=1e-8, weight_decay=decay, fused=True)
    if recipe.optimizer == "adagrad":
        return torch.optim.Adagrad(kept, lr=rate, eps=1e-8, weight_decay=decay, fused=kept[0].is_cpu)
    return torch.optim.SGD(kept, lr=rate, momentum=recipe.momentum, weight_decay=decay, fused=True)


def set_rate(optimizer: torch.optim.Optimizer, rate: float) -> None:
    """Set the learning rate."""
    for group in optimizer.param_groups:
        group["lr"] = rate


def scheduled_rate(recipe: Recipe, epochs_done: float, rate: float) -> float:
    """The learning rate after so many epochs, parts of one counted; `rate` is the one before.

    Under `halve` only validation changes it.
    """
    if recipe.schedule == "cosine":
        return cosine_rate(recipe.learning_rate, epochs_done / recipe.epochs)
    if recipe.schedule == "exponential":
        return recipe.learning_rate * recipe.decay ** max(0, int(epochs_done) + 1 - recipe.decay_after)
    return rate


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
        if isinstance(value, Tensor)
    }


def load_optimizer_tensors(optimizer: torch.optim.Optimizer, tensors: Mapping[str, Tensor]) -> None:
    """Put back what `optimizer_tensors` gave."""
    document = optimizer.state_dict()
    document["state"] = {}
    for name, value in tensors.items():
        number, key = name.split(".", 1)
        document["state"].setdefault(int(number), {})[key] = value
    optimizer.load_state_dict(document)
