"""One LSTM layer whose gates are an affine map of (h, x); the state is an explicit value.

Gate rows stand in torch's order: input, forget, cell, output. Source: Eq. 3 of Liu, Cao and Yu,
"Binarized LSTM Language Model"; the projection: Eqs. 12-14 of Grachev, Ignatov and Savchenko, "Neural
Networks Compression for Language Modeling".
"""

import warnings
from abc import ABC, abstractmethod
from typing import NamedTuple

import torch
from torch import Tensor, nn

from models.dropout import random_mask
from models.layers.affine import Affine
from models.matrices.base import Matrix
from nbest.errors import ConfigError


class State(NamedTuple):
    """What an LSTM remembers, layer by layer: `hidden` (N, R or H) and `cell` (N, H)."""

    hidden: tuple[Tensor, ...]
    cell: tuple[Tensor, ...]

    def take(self, index: Tensor) -> "State":
        """The states at `index`."""
        return State(tuple(h[index] for h in self.hidden), tuple(c[index] for c in self.cell))

    def detach(self) -> "State":
        """The same numbers, without their history."""
        return State(tuple(h.detach() for h in self.hidden), tuple(c.detach() for c in self.cell))

    def tensors(self) -> dict[str, Tensor]:
        """Every tensor by a name, for a file."""
        pairs = zip(("hidden", "cell"), self, strict=True)
        return {f"{kind}.{layer}": t for kind, part in pairs for layer, t in enumerate(part)}

    @classmethod
    def from_tensors(cls, tensors: dict[str, Tensor]) -> "State":
        """What `tensors` gave."""
        layers = range(len(tensors) // 2)
        return cls(tuple(tensors[f"hidden.{n}"] for n in layers), tuple(tensors[f"cell.{n}"] for n in layers))


class RecurrentLayer(nn.Module, ABC):
    """Reads one vector a step; what it puts out is also what recurs."""

    @abstractmethod
    def step(self, x: Tensor, hidden: Tensor, cell: Tensor) -> tuple[Tensor, Tensor]:
        """One step for N independent states: x (N, I), hidden (N, O), cell (N, H) -> new hidden, cell."""

    @abstractmethod
    def forward(
        self, x: Tensor, hidden: Tensor, cell: Tensor, weight_drop: float = 0.0
    ) -> tuple[Tensor, Tensor, Tensor]:
        """T steps: x (T, B, I), hidden (B, O), cell (B, H) -> outputs (T, B, O), last hidden, last cell.

        weight_drop  share of the recurrent numbers that are zero for all T steps, and the others larger
                     (DropConnect; Merity, Keskar and Socher, "Regularizing and Optimizing LSTM Language
                     Models")
        """


class LSTMLayer(RecurrentLayer):
    """H cells; `gates` maps (h, x) to the 4H gate inputs; a projection (R, H) makes h shorter."""

    def __init__(self, gates: Affine, cells: int, projection: Matrix | None = None) -> None:
        super().__init__()
        self.gates = gates
        self.cells = cells
        self.projection = projection

    def step(self, x: Tensor, hidden: Tensor, cell: Tensor) -> tuple[Tensor, Tensor]:
        """One step."""
        return self._after_gates(self.gates(hidden, x), cell)

    def _after_gates(self, gate_inputs: Tensor, cell: Tensor) -> tuple[Tensor, Tensor]:
        i, f, g, o = gate_inputs.chunk(4, dim=1)  # each (N, H)
        cell = torch.sigmoid(f) * cell + torch.sigmoid(i) * torch.tanh(g)
        hidden = torch.sigmoid(o) * torch.tanh(cell)
        return hidden if self.projection is None else self.projection(hidden), cell

    def forward(
        self, x: Tensor, hidden: Tensor, cell: Tensor, weight_drop: float = 0.0
    ) -> tuple[Tensor, Tensor, Tensor]:
        """T steps: by torch's fused loop where every matrix can be had as a weight.

        Else one by one; the products with the inputs are then made for all steps at once.
        """
        flat = self._weights(weight_drop)
        if flat is None:
            recurrent, inputs = self.gates.matrices
            from_inputs = inputs(x)  # (T, B, 4H)
            outputs = []
            for t in range(len(x)):
                gates = self.gates.shifted(recurrent(hidden) + from_inputs[t])
                hidden, cell = self._after_gates(gates, cell)
                outputs.append(hidden)
            return torch.stack(outputs), hidden, cell
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "LSTM with projections is not supported with oneDNN")
            outputs_, last_hidden, last_cell = torch.lstm(
                x, (hidden[None], cell[None]), flat, True, 1, 0.0, self.training, False, False
            )
        return outputs_, last_hidden[0], last_cell[0]

    def _weights(self, weight_drop: float) -> list[Tensor] | None:
        """Input, recurrent, two biases (and projection) as torch's fused loop takes them."""
        weights = self.gates.weights_for_training()
        projection = None if self.projection is None else self.projection.weight_for_training()
        if weights is None or (self.projection is not None and projection is None):
            if weight_drop:
                raise ConfigError("weight drop needs matrices that training holds whole")
            return None
        by_hidden, by_input = weights
        if weight_drop and self.training:
            by_hidden = by_hidden * random_mask(by_hidden.shape, weight_drop, by_hidden.device)
        bias, second = self.gates.biases_for_training()
        flat = [by_input, by_hidden, bias, second]
        return flat if projection is None else [*flat, projection]
