"""What training drops, and where; scoring drops nothing.

Source of all but the plain places: Merity, Keskar and Socher, "Regularizing and Optimizing LSTM Language
Models" (AWD-LSTM), Sections 2 and 4.
"""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional


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
        if not self.variational:
            return functional.dropout(x, rate)
        return x * functional.dropout(torch.ones_like(x[:1]), rate)  # (1, B, I), the same for every step

    def drop_words(self, x: Tensor, ids: Tensor, vocabulary_size: int) -> Tensor:
        """x (T, B, I), the embedding of ids (T, B), with some words at zero everywhere."""
        if not self.words:
            return x
        kept = functional.dropout(torch.ones(vocabulary_size, device=x.device), self.words)
        return x * kept[ids][..., None]


NO_DROPOUT = Dropout()
