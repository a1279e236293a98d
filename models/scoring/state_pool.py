"""States of many prefixes in rows of a few large tensors; rows are taken and given back."""

import numpy as np
import torch

from models.language_model import LanguageModel
from models.layers.lstm import State
from models.scoring.engine import Ids

START = 0  # the row of the state before any word
_FIRST_ROWS = 1024


class StatePool:
    """Rows of states; it grows as they are needed, and the rows given back last are taken first.

    most_rows  how many are meant to be in use: `reserve` says no beyond it, unless nothing is reserved
    """

    def __init__(self, model: LanguageModel, most_rows: int) -> None:
        self.most_rows = most_rows
        self.reserved = 0
        self.state = model.start_state(1)
        self._free = np.zeros(0, dtype=np.int64)  # a stack
        self._top = 0

    @property
    def in_use(self) -> int:
        """Rows taken and not given back."""
        return len(self.state.cell[0]) - 1 - self._top

    def reserve(self, rows: int, *, of: int) -> bool:
        """Keep room for `rows` if, with them, at most `of` are reserved; or if nothing is."""
        if self.reserved and self.reserved + rows > of:
            return False
        self.reserved += rows
        return True

    def release(self, reserved: int) -> None:
        """Give a reservation back."""
        self.reserved -= reserved

    def free(self, rows: Ids) -> None:
        """Give rows back."""
        self._free[self._top : self._top + len(rows)] = rows
        self._top += len(rows)

    def take(self, count: int) -> Ids:
        """Rows that nobody else has."""
        if count > self._top:
            self._grow(count)
        self._top -= count
        return self._free[self._top : self._top + count].copy()

    def _grow(self, count: int) -> None:
        had = len(self.state.cell[0])
        # What is reserved, twice as many at least; not beyond what is meant to be in use, unless needed now.
        wanted = max(had, _FIRST_ROWS, self.reserved + 1 - had)
        more = max(count - self._top, min(wanted, self.most_rows + 1 - had))
        self.state = State(*(tuple(_longer(part, more) for part in parts) for parts in self.state))
        free = np.empty(had + more, dtype=np.int64)
        # The new rows lie below those that were free before, the lowest on top.
        free[:more] = np.arange(had + more - 1, had - 1, -1)
        free[more : more + self._top] = self._free[: self._top]
        self._free = free
        self._top += more


def _longer(part: torch.Tensor, rows: int) -> torch.Tensor:
    longer = part.new_empty(len(part) + rows, part.shape[1])  # rows that nobody takes need no memory yet
    longer[: len(part)] = part
    return longer
