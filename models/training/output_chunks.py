"""The output layer a chunk of tokens at a time: logits out, their gradients back in, in reused buffers.

A fresh (tokens, V) tensor a step spends most of its time in page faults, and autograd would make one (V, H)
gradient a chunk and add it up. Where the output matrix can be had whole, its three products are done here,
each into a buffer that is there already; any other matrix (slim) goes through autograd chunk by chunk. Under
torch.autocast products are of numbers in its precision; logits and all sums stay in 32 bits.
"""

from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from models.language_model import LanguageModel

BUFFER_NUMBERS = 1 << 23  # of logits: 32 MB
LARGEST_CHUNK = 512  # tokens; more makes the products no faster (10,000 words, 500 cells, one thread)

Use = Callable[[Tensor, slice], float]  # logits (n, V) of a part of the tokens, to be overwritten -> nats


class OutputChunks:
    """The output layer of a model over N tokens; never more than (chunk, V) logits at once."""

    def __init__(self, model: LanguageModel, *, chunk_tokens: int | None = None) -> None:
        words = model.config.vocabulary_size
        self.model = model
        self.chunk_tokens = chunk_tokens or max(16, min(LARGEST_CHUNK, BUFFER_NUMBERS // words))
        self._buffer = torch.empty(0)

    def forward(self, hidden: Tensor, use: Use) -> float:
        """Sum of `use` over all chunks of hidden (N, H), in full precision, without a gradient."""
        if not len(hidden):
            return 0.0
        logits = self.reader(hidden)
        return sum(use(logits(part), part) for part in self._parts(len(hidden)))

    def reader(self, hidden: Tensor) -> Callable[[slice], Tensor]:
        """Logits (n, V) of a part of hidden (N, H), valid until the next call; without a gradient."""
        output = self.model.output
        with torch.no_grad():
            x = self.model.before_output(hidden)
            weight = output.weight_for_training()
            if weight is not None:
                x, weight = (tensor.to(product_type(x.device)) for tensor in (x, weight))

        def logits(part: slice) -> Tensor:
            with torch.no_grad():
                if weight is not None:
                    return self._products(x[part], weight)
                return self.model.logits(output.prepare(x[part]), slice(0, output.out_features))

        return logits

    def backward(self, hidden: Tensor, turn: Use, factor: float) -> tuple[float, Tensor]:
        """(sum of what `turn` gives, gradient (N, H) by hidden (N, H)).

        turn    overwrites the logits of a part with their gradients
        factor  what all gradients are multiplied by

        The gradients of the output layer's own parameters are added to their ``.grad``.
        """
        leaf = hidden.detach().requires_grad_()
        with torch.enable_grad():
            x = self.model.before_output(leaf)  # (N, E)
            weight = self.model.output.weight_for_training()
        if weight is None:
            nats, by_x = self._through_autograd(x.detach(), turn, factor)
            add_gradients([(x, by_x)])
        else:
            nats, by_x, by_weight = self._by_hand(x.detach(), weight.detach(), turn, factor)
            add_gradients([(x, by_x), (weight, by_weight)])
        assert leaf.grad is not None
        return nats, leaf.grad

    def _by_hand(self, x: Tensor, weight: Tensor, turn: Use, factor: float) -> tuple[float, Tensor, Tensor]:
        """(sum of what `turn` gives, gradients by x and by the weight); the bias gets its own."""
        precision = product_type(x.device)
        inputs, matrix, scaled = x.to(precision), weight.to(precision), (x * factor).to(precision)
        by_x, by_weight = torch.empty_like(x), torch.zeros_like(weight)
        by_bias = torch.zeros_like(weight[:, 0])
        nats = 0.0
        for part in self._parts(len(x)):
            logits = self._products(inputs[part], matrix)
            nats += turn(logits, part)
            by_logits = logits.to(precision)
            if precision != by_x.dtype:
                by_x[part] = by_logits @ matrix
                by_weight += by_logits.t() @ scaled[part]
            else:
                torch.mm(by_logits, matrix, out=by_x[part])
                by_weight.addmm_(by_logits.t(), scaled[part])
            if self.model.output_bias is not None:
                by_bias += logits.sum(0)
        if self.model.output_bias is not None:
            add_gradients([(self.model.output_bias, by_bias * factor)])
        return nats, by_x.mul_(factor), by_weight

    def _through_autograd(self, x: Tensor, turn: Use, factor: float) -> tuple[float, Tensor]:
        by_x = torch.empty_like(x)
        words = self.model.output.out_features
        nats = 0.0
        for part in self._parts(len(x)):
            leaf = x[part].detach().requires_grad_()
            with torch.enable_grad():
                logits = self.model.logits(self.model.output.prepare(leaf), slice(0, words))
            values = logits.detach().float()
            nats += turn(values, part)
            torch.autograd.backward(logits, values.mul_(factor).to(logits.dtype))
            assert leaf.grad is not None
            by_x[part] = leaf.grad
        return nats, by_x

    def _products(self, x: Tensor, weight: Tensor) -> Tensor:
        """(n, V) logits of x (n, E) in the buffer, in full precision."""
        count, words = len(x), len(weight)
        if self._buffer.numel() < count * words or self._buffer.device != x.device:
            self._buffer = torch.empty(count * words, device=x.device)
        logits = self._buffer[: count * words].view(count, words)
        if x.dtype == logits.dtype:
            torch.mm(x, weight.t(), out=logits)
        else:
            logits.copy_(x @ weight.t())
        if self.model.output_bias is not None:
            logits += self.model.output_bias.detach()
        return logits

    def _parts(self, count: int) -> Iterator[slice]:
        for start in range(0, count, self.chunk_tokens):
            yield slice(start, min(count, start + self.chunk_tokens))


def product_type(device: torch.device) -> torch.dtype:
    """What numbers of matrix products are to be: those of the autocast in force, or 32-bit floats."""
    low = torch.is_autocast_enabled(device.type)
    return torch.get_autocast_dtype(device.type) if low else torch.float32


def add_gradients(pairs: list[tuple[Tensor, Tensor]]) -> None:
    """Send each gradient back through its tensor's history; a leaf without one yet takes it as it is."""
    inner = []
    for tensor, gradient in pairs:
        if tensor.is_leaf and tensor.grad is None:
            tensor.grad = gradient
        else:
            inner.append((tensor, gradient))
    if inner:
        torch.autograd.backward([tensor for tensor, _ in inner], [gradient for _, gradient in inner])
