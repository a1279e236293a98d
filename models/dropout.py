"""What training drops, and where; scoring drops nothing.

Source of all but the plain places: Merity, Keskar and Socher, "Regularizing and Optimizing LSTM Language
Models" (AWD-LSTM), Sections 2 and 4.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

_LEVELS = 1 << 16  # rates are rounded to 1/65,536: four decisions from one random number of 64 bits


@dataclass(frozen=True)
class Dropout:
    """Rates of each place.

    words        whole words of the embedding, wherever they stand in the batch
    inputs       the embedding's output
    hidden       the output of each LSTM layer but the last
    outputs      the output of the last LSTM layer
    recurrent    numbers of the recurrent matrices (weight drop)
    variational  one mask for all steps of a window, not one a step
    """

    words: float = 0.0
    inputs: float = 0.0
    hidden: float = 0.0
    outputs: float = 0.0
    recurrent: float = 0.0
    variational: bool = False

    def drop(self, x: Tensor, rate: float) -> Tensor:
        """x (T, B, I) with a share of its numbers at zero, the others larger."""
        if not rate:
            return x
        shape = (1, *x.shape[1:]) if self.variational else x.shape  # the same for every step, or not
        return x * random_mask(shape, rate, x.device)

    def drop_words(self, x: Tensor, ids: Tensor, vocabulary_size: int) -> Tensor:
        """x (T, B, I), the embedding of ids (T, B), with some words at zero everywhere."""
        if not self.words:
            return x
        kept = random_mask((vocabulary_size,), self.words, x.device)
        return x * kept[ids][..., None]


def random_mask(shape: Sequence[int], rate: float, device: torch.device) -> Tensor:
    """Zeros with probability `rate`, else 1/(1 - rate), so that the mean is one.

    On a CPU torch's own dropout draws one random number a decision and takes nine times as long (30 ms
    against 3.8 ms for 35 x 64 x 500 on one thread).
    """
    if device.type != "cpu":
        return functional.dropout(torch.ones(tuple(shape), device=device), rate)
    level = min(_LEVELS - 1, round(rate * _LEVELS))
    mask = torch.empty(tuple(shape))
    draws = torch.empty((mask.numel() + 3) // 4, dtype=torch.int64).random_(-(1 << 63), None)
    kept = draws.view(torch.int16)[: mask.numel()] >= level - _LEVELS // 2
    return mask.copy_(kept.view(mask.shape)).mul_(1 / (1 - level / _LEVELS))


NO_DROPOUT = Dropout()
