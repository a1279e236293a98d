"""One LSTM layer whose gates are an affine map of (h, x); the state is an explicit value.

Gate rows stand in torch's order: input, forget, cell, output. Source: Eq. 3 of Liu, Cao and Yu,
"Binarized LSTM Language Model".
"""

from typing import NamedTuple

import torch
from torch import Tensor, nn

from models.layers.affine import Affine


class State(NamedTuple):
    """What an LSTM remembers: `hidden` and `cell`, each (L, N, H)."""

    hidden: Tensor
    cell: Tensor


class LSTMLayer(nn.Module):
    """H cells; `gates` maps (h, x) to the 4H gate inputs."""

    def __init__(self, gates: Affine, hidden_size: int) -> None:
        super().__init__()
        self.gates = gates
        self.hidden_size = hidden_size

    def step(self, x: Tensor, hidden: Tensor, cell: Tensor) -> tuple[Tensor, Tensor]:
        """One step for N independent states: x (N, E), hidden and cell (N, H) -> new hidden, cell."""
        i, f, g, o = self.gates(hidden, x).chunk(4, dim=1)  # each (N, H)
        cell = torch.sigmoid(f) * cell + torch.sigmoid(i) * torch.tanh(g)
        return torch.sigmoid(o) * torch.tanh(cell), cell

    def forward(self, x: Tensor, hidden: Tensor, cell: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """T steps: x (T, B, E), hidden and cell (B, H) -> outputs (T, B, H), last hidden, last cell.

        Uses torch's fused loop where the gate matrices can be had as weights, else `step` T times.
        """
        weights = self.gates.weights_for_training()
        if weights is None:
            outputs = []
            for t in range(len(x)):
                hidden, cell = self.step(x[t], hidden, cell)
                outputs.append(hidden)
            return torch.stack(outputs), hidden, cell
        recurrent, inputs = weights
        bias = self.gates.bias if self.gates.bias is not None else x.new_zeros(4 * self.hidden_size)
        flat = [inputs, recurrent, bias, torch.zeros_like(bias)]
        outputs_, last_hidden, last_cell = torch.lstm(
            x, (hidden[None], cell[None]), flat, True, 1, 0.0, self.training, False, False
        )
        return outputs_, last_hidden[0], last_cell[0]
