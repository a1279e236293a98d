"""What AWD-LSTM adds to the loss: outputs that are large, or that change from step to step.

Source: Merity, Keskar and Socher, "Regularizing and Optimizing LSTM Language Models", Section 4.3; means of
squares, as in their program.
"""

from torch import Tensor


def activation_penalty(dropped: Tensor, mask: Tensor) -> Tensor:
    """AR: mean square of the last layer's dropped outputs (T, B, O) at the real tokens of mask (T, B)."""
    squares = dropped.square().mean(2)  # (T, B)
    return (squares * mask).sum() / mask.sum()


def slowness_penalty(raw: Tensor, mask: Tensor) -> Tensor:
    """TAR: mean square of the raw outputs' (T, B, O) change between two real tokens; 0 for one step."""
    squares = (raw[1:] - raw[:-1]).square().mean(2)  # (T-1, B)
    both = mask[1:] & mask[:-1]
    return (squares * both).sum() / both.sum().clamp(min=1)
