"""NT-ASGD: the mean of the weights over steps, from the moment that plain SGD gets no further.

Source: Merity, Keskar and Socher, "Regularizing and Optimizing LSTM Language Models", Algorithm 1.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn


class Average:
    """The mean of a model's parameters over the steps since `start`; nothing before it."""

    def __init__(self, model: nn.Module) -> None:
        self._parameters = dict(model.named_parameters())
        self._means: dict[str, Tensor] = {}
        self.steps = 0

    @property
    def is_on(self) -> bool:
        """Whether there is one."""
        return bool(self._means)

    def start(self) -> None:
        """From here on; the weights as they are stand for the mean until the first step."""
        self._means = {name: p.detach().clone() for name, p in self._parameters.items()}
        self.steps = 0

    def add_step(self) -> None:
        """Count the weights as they are now in."""
        if not self.is_on:
            return
        self.steps += 1
        for name, mean in self._means.items():
            mean.lerp_(self._parameters[name].detach(), 1 / self.steps)

    @contextmanager
    def in_place(self) -> Iterator[None]:
        """Within this block the model has the mean weights."""
        self._swap()
        try:
            yield
        finally:
            self._swap()

    def _swap(self) -> None:
        with torch.no_grad():
            for name, mean in self._means.items():
                own = self._parameters[name]
                kept = own.clone()
                own.copy_(mean)
                mean.copy_(kept)

    def tensors(self) -> dict[str, Tensor]:
        """The means and the number of steps, for a saved run."""
        return {**self._means, "steps": torch.tensor(self.steps)} if self.is_on else {}

    def load_tensors(self, tensors: Mapping[str, Tensor]) -> None:
        """Put back what `tensors` gave."""
        self._means = {name: mean.clone() for name, mean in tensors.items() if name != "steps"}
        self.steps = int(tensors["steps"]) if tensors else 0


def is_non_monotone(history: Sequence[float], newest: float, patience: int) -> bool:
    """Whether `newest` is above the best of all values of `history` but the last `patience` ones."""
    return len(history) > patience and newest > min(history[:-patience])
