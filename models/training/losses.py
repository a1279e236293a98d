"""What a window costs, and its gradient: cross-entropy over the full vocabulary, in bounded memory.

Losses over sampled words are in sampled_losses.py, learning from another model in distillation.py.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping

from torch import Tensor

from models.language_model import LanguageModel
from models.training.output_chunks import OutputChunks
from models.training.window import Window


class TrainingLoss(ABC):
    """A loss and its gradient; what it remembers from window to window can be saved.

    measure  what `shown` gives
    """

    measure: str = "perplexity"

    @abstractmethod
    def backward(self, hidden: Tensor, window: Window, factor: float) -> tuple[float, Tensor]:
        """(nats over the window's N tokens, gradient (N, H) of factor * loss by `hidden` (N, H)).

        hidden  the last layer's outputs at the real tokens

        The gradients of the output layer's own parameters are added to their ``.grad``.
        """

    def shown(self, nats_per_token: float) -> float:
        """The number that reports and the log show for a mean over tokens."""
        return math.exp(min(nats_per_token, 700.0))

    def tensors(self) -> dict[str, Tensor]:
        """What the next window's loss depends on, beside the model."""
        return {}

    def load_tensors(self, tensors: Mapping[str, Tensor]) -> None:
        """Put back what `tensors` gave."""
        assert not tensors


class ChunkedCrossEntropy(TrainingLoss):
    """Sum of -ln P(target) over tokens, and its gradient, never more than (chunk, V) at once."""

    def __init__(self, model: LanguageModel, *, chunk_tokens: int | None = None) -> None:
        self._chunks = OutputChunks(model, chunk_tokens=chunk_tokens)

    def backward(self, hidden: Tensor, window: Window, factor: float) -> tuple[float, Tensor]:
        """As every loss."""
        targets = window.flat(window.targets)

        def turn(logits: Tensor, part: slice) -> float:
            nats = softmax_(logits, targets[part])
            subtract_at(logits, targets[part], 1.0)
            return nats

        return self._chunks.backward(hidden, turn, factor)

    def nats(self, hidden: Tensor, targets: Tensor) -> float:
        """Nats summed over N tokens, in full precision, without a gradient."""
        return self._chunks.forward(hidden, lambda logits, part: softmax_(logits, targets[part]))


def softmax_(logits: Tensor, targets: Tensor) -> float:
    """Nats of `targets` (n,); logits (n, V) of any layout become probabilities in their place."""
    logits.sub_(logits.amax(1, keepdim=True))
    picked = logits.gather(1, targets[:, None])
    total = logits.exp_().sum(1, keepdim=True)
    logits.mul_(1 / total)
    return float((total.log() - picked).double().sum())


def subtract_at(x: Tensor, targets: Tensor, value: float) -> None:
    """x[n, targets[n]] -= value."""
    index = targets[:, None]
    x.scatter_add_(1, index, x.new_full(index.shape, -value))
