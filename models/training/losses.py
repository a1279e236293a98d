"""Cross-entropy over the full vocabulary, a chunk of tokens at a time, in reused buffers.

A fresh (tokens, V) tensor per step spends most of its time in page faults, so logits are made, turned into
their own gradient in place and sent back chunk by chunk: the matrices' gradients add up on the way.
"""

from contextlib import AbstractContextManager, nullcontext

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from models.language_model import LanguageModel


class ChunkedCrossEntropy:
    """Sum of -ln P(target) over tokens, and its gradient, never more than (chunk, V) at once."""

    def __init__(self, model: LanguageModel, *, chunk_tokens: int = 512, low_precision: bool = False) -> None:
        self.model = model
        self.chunk_tokens = chunk_tokens
        self.low_precision = low_precision
        self._buffer = torch.empty(0)

    def _precision(self) -> AbstractContextManager[object]:
        if not self.low_precision:
            return nullcontext()
        return torch.autocast(self._device().type, dtype=torch.bfloat16)

    def _device(self) -> torch.device:
        return next(self.model.parameters()).device

    def backward(self, hidden: Tensor, targets: Tensor, factor: float) -> tuple[float, Tensor]:
        """(nats summed over N tokens, gradient (N, H) of factor * nats by `hidden` (N, H)).

        The gradients of the output layer's own parameters are added to their ``.grad``.
        """
        gradient = torch.empty_like(hidden)
        nats = 0.0
        for start in range(0, len(hidden), self.chunk_tokens):
            part = slice(start, start + self.chunk_tokens)
            leaf = hidden[part].detach().requires_grad_()
            with torch.enable_grad(), self._precision():
                logits = self.model.logits(
                    self.model.prepare_output(leaf), slice(0, self.model.output.out_features)
                )
            chunk_nats, by_logits = self._nats_and_gradient(logits.detach(), targets[part], factor)
            torch.autograd.backward(logits, by_logits.to(logits.dtype))
            assert leaf.grad is not None
            gradient[part] = leaf.grad
            nats += chunk_nats
        return nats, gradient

    def nats(self, hidden: Tensor, targets: Tensor) -> float:
        """Nats summed over N tokens, in full precision, without a gradient."""
        total = 0.0
        with torch.no_grad():
            for start in range(0, len(hidden), self.chunk_tokens):
                part = slice(start, start + self.chunk_tokens)
                prepared = self.model.prepare_output(hidden[part])
                logits = self.model.logits(prepared, slice(0, self.model.output.out_features))
                total += float(_nats(logits, targets[part]))
        return total

    def _nats_and_gradient(self, logits: Tensor, targets: Tensor, factor: float) -> tuple[float, Tensor]:
        # work in the logits' own layout: a slim output is contiguous over tokens
        transposed = logits.stride(0) < logits.stride(1)
        values = logits.t() if transposed else logits
        if self._buffer.numel() < values.numel() or self._buffer.device != values.device:
            self._buffer = torch.empty(values.numel(), device=values.device)
        buffer = self._buffer[: values.numel()].view(values.shape)
        buffer.copy_(values)
        buffer = buffer.t() if transposed else buffer  # (n, V), either layout
        index = targets[:, None]
        top = buffer.amax(1, keepdim=True)
        buffer.sub_(top)
        picked = buffer.gather(1, index)
        buffer.exp_()
        total = buffer.sum(1, keepdim=True)
        nats = float((total.log() - picked).sum())
        buffer.mul_(factor / total)
        buffer.scatter_add_(1, index, torch.full_like(picked, -factor))
        return nats, buffer


def _nats(logits: Tensor, targets: Tensor) -> Tensor:
    return torch.nn.functional.cross_entropy(logits, targets, reduction="sum").double()


class SampledCrossEntropy:
    """Importance-sampled softmax: each batch's targets against shared noise words; gradients only.

    Noise comes from unigram^0.75, with replacement, duplicates kept once; every logit is corrected by
    -ln(expected count), a noise word equal to a token's target is masked for that token (Jozefowicz et al.,
    "Exploring the Limits of Language Modeling"). The number it returns is the sampled loss, not a
    perplexity: perplexities always come from the exact normaliser.
    """

    def __init__(
        self, model: LanguageModel, counts: NDArray[np.float64], samples: int, seed: int = 1
    ) -> None:
        self.model = model
        self.samples = samples
        weights = (counts + 1.0) ** 0.75  # one added: every word can be drawn
        self.probabilities = torch.from_numpy(weights / weights.sum())
        self._random = torch.Generator().manual_seed(seed)

    def random_state(self) -> Tensor:
        """The noise generator's state, for a saved run."""
        return self._random.get_state()

    def set_random_state(self, state: Tensor) -> None:
        """Put back what `random_state` gave."""
        self._random.set_state(state)

    def backward(self, hidden: Tensor, targets: Tensor, factor: float) -> tuple[float, Tensor]:
        """As `ChunkedCrossEntropy.backward`, over noise and targets only."""
        drawn = torch.multinomial(self.probabilities, self.samples, replacement=True, generator=self._random)
        noise: Tensor = torch.unique(drawn)
        expected = -torch.expm1(self.samples * torch.log1p(-self.probabilities))  # P(drawn at least once)
        correction = expected.log().float().to(hidden.device)
        noise = noise.to(hidden.device)
        leaf = hidden.detach().requires_grad_()
        with torch.enable_grad():
            x = self.model.before_output(leaf)  # (N, H)
            matrix = self.model.output
            true = torch.linalg.vecdot(x, matrix.rows(targets)) - correction[targets]  # (N,)
            others = x @ matrix.rows(noise).t() - correction[noise]  # (N, noise)
            if self.model.output_bias is not None:
                true = true + self.model.output_bias[targets]
                others = others + self.model.output_bias[noise]
            others = others.masked_fill(noise[None, :] == targets[:, None], -1e9)
            loss = torch.logaddexp(true, others.logsumexp(1)) - true
            (loss.sum() * factor).backward()
        assert leaf.grad is not None
        return float(loss.detach().sum()), leaf.grad
