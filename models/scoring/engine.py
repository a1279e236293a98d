"""How a model is walked along a prefix tree: the torch engine, which runs anywhere and is the reference.

An engine belongs to a model; a walk to one call, so that calls may run beside each other.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from models.language_model import LanguageModel
from models.layers.lstm import State
from models.matrices.base import Prepared
from models.scoring.normalizer import log_normalizer

Precision = Literal["fp32", "int8"]
Ids = NDArray[np.int64]


class Walk(ABC):
    """Reads words, puts out log-probabilities."""

    def expect(self, words: Ids) -> None:  # noqa: B027, what only some walks make use of
        """These words, any number of each, will be read: what is best made for all at once can be."""

    @abstractmethod
    def step(self, words: Ids, above: Ids, kept: Ids, states: State) -> Tensor:
        """Read words (N,), each after the state in row `above` (N,) of `states`.

        Returns the last layer's outputs (N, O). The state after a word is written to row `kept` (N,) of
        `states`, unless that is -1; no such row may be one of `above`.
        """

    def joined(self, hidden: Sequence[Tensor]) -> Tensor:
        """Outputs of several steps, one after another."""
        return torch.cat(list(hidden))

    @abstractmethod
    def log_probs(self, hidden: Tensor, positions: Ids, ids: Ids) -> NDArray[np.float64]:
        """(P,) ln P of word ids (P,), each after the word with outputs hidden[positions[p]] (O,)."""


class Engine(ABC):
    """A model made ready for scoring.

    name         for signatures and reports
    output_rows  outputs whose normalisers are best computed at once
    """

    name: str
    model: LanguageModel
    output_rows: int

    @abstractmethod
    def walk(self) -> Walk:
        """A new walk."""


class TorchEngine(Engine):
    """Torch's own products, on any device.

    constant  ln Z, where it need not be computed (a model trained with NCE)
    """

    name = "torch"
    output_rows = 512  # the fastest of 128, 256, 512, 1,024 with 256 cells and 7,447 words, one thread

    def __init__(self, model: LanguageModel, constant: float | None = None) -> None:
        self.model = model
        self.constant = constant

    def walk(self) -> "TorchWalk":
        """A new walk."""
        return TorchWalk(self.model, self.constant)


def keep(fresh: Sequence[Tensor], kept: Ids, states: Sequence[Tensor], send: Callable[[Ids], Tensor]) -> None:
    """states[i][kept[n]] = fresh[i][n], where kept[n] is a row; `send` brings ids to their device."""
    which = np.flatnonzero(kept >= 0)
    if not len(which):
        return
    rows, chosen = send(kept[which]), send(which)
    for into, each in zip(states, fresh, strict=True):
        into.index_copy_(0, rows, each if len(which) == len(each) else each.index_select(0, chosen))


class TorchWalk(Walk):
    """A walk of the torch engine; it keeps nothing."""

    def __init__(self, model: LanguageModel, constant: float | None) -> None:
        self.model = model
        self.constant = constant

    def step(self, words: Ids, above: Ids, kept: Ids, states: State) -> Tensor:
        """As every walk."""
        send = self._send
        hidden, after = self.model.step(send(words), states.take(send(above)))
        keep((*after.hidden, *after.cell), kept, (*states.hidden, *states.cell), send)
        return hidden

    def _send(self, ids: Ids) -> Tensor:
        host = torch.from_numpy(ids)
        if self.model.device.type == "cuda":  # pinned: the copy does not hold the host up
            host = host.pin_memory()
        return host.to(self.model.device, non_blocking=True)

    def log_probs(self, hidden: Tensor, positions: Ids, ids: Ids) -> NDArray[np.float64]:
        """As every walk."""
        prepared = self.model.prepare_output(hidden)
        where = self._send(positions)
        logits = self.model.pairs(prepared, where, self._send(ids)).double()
        values = logits - self._log_normalizer(prepared, len(hidden))[where]
        return values.cpu().numpy()

    def _log_normalizer(self, prepared: Prepared, count: int) -> Tensor:
        if self.constant is not None:
            return torch.full((count,), self.constant, dtype=torch.float64, device=prepared.values.device)
        return log_normalizer(self.model, prepared, count).double()
