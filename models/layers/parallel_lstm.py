"""A sparse LSTM layer as it runs: dense LSTMs side by side, each over its own window of the input.

Source: Demeester et al., "Predefined Sparseness in Recurrent Sequence Models", Section 3.1.
"""

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor, nn

from models.layers.lstm import LSTMLayer, RecurrentLayer
from models.layers.windows import Window


class ParallelLSTM(RecurrentLayer):
    """N LSTM layers; the outputs and the states stand side by side in the order of the windows."""

    def __init__(self, parts: Sequence[LSTMLayer], windows: Sequence[Window]) -> None:
        super().__init__()
        self.parts = nn.ModuleList(parts)
        self.windows = tuple(windows)

    def step(self, x: Tensor, hidden: Tensor, cell: Tensor) -> tuple[Tensor, Tensor]:
        """One step of each."""
        hiddens, cells = [], []
        for part, window in self._with_windows():
            own = window.outputs
            h, c = part.step(x[:, window.inputs], hidden[:, own], cell[:, own])
            hiddens.append(h)
            cells.append(c)
        return torch.cat(hiddens, 1), torch.cat(cells, 1)

    def forward(
        self, x: Tensor, hidden: Tensor, cell: Tensor, weight_drop: float = 0.0
    ) -> tuple[Tensor, Tensor, Tensor]:
        """T steps of each."""
        outputs, hiddens, cells = [], [], []
        for part, window in self._with_windows():
            own = window.outputs
            out, h, c = part(x[..., window.inputs], hidden[:, own], cell[:, own], weight_drop)
            outputs.append(out)
            hiddens.append(h)
            cells.append(c)
        return torch.cat(outputs, 2), torch.cat(hiddens, 1), torch.cat(cells, 1)

    def _with_windows(self) -> Iterator[tuple[LSTMLayer, Window]]:
        for part, window in zip(self.parts, self.windows, strict=True):
            assert isinstance(part, LSTMLayer)
            yield part, window
