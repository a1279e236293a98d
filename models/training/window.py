"""A batch as tensors on the model's device."""

from dataclasses import dataclass

import torch
from torch import Tensor

from models.training.corpus import Batch


@dataclass(frozen=True)
class Window:
    """Inputs and targets (T, B); mask (T, B) is False where a sentence has ended.

    fresh    whether the state before it is the start state; else the one after the window before
    is_full  whether the mask is True throughout
    """

    inputs: Tensor
    targets: Tensor
    mask: Tensor
    fresh: bool
    is_full: bool

    @classmethod
    def of(cls, batch: Batch, device: torch.device) -> "Window":
        """The batch's arrays on the device."""
        arrays = (batch.inputs, batch.targets, batch.mask)
        inputs, targets, mask = (torch.from_numpy(array).to(device) for array in arrays)
        return cls(inputs, targets, mask, batch.fresh, bool(batch.mask.all()))

    @property
    def columns(self) -> int:
        """B."""
        return self.inputs.shape[1]

    def flat(self, x: Tensor) -> Tensor:
        """(N, ...) what stands at the N real tokens in x (T, B, ...)."""
        return x.flatten(0, 1) if self.is_full else x[self.mask]
