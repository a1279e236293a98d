"""How a sparse LSTM layer falls apart into dense ones: who makes which hidden numbers from which inputs.

Source: Demeester et al., "Predefined Sparseness in Recurrent Sequence Models", Section 3.1: hidden
numbers in N segments; in each row of the input matrix a window of gamma * i numbers that moves from the first
input to the last, segment by segment.
"""

import math
from dataclasses import dataclass

from nbest.errors import ConfigError


@dataclass(frozen=True)
class Window:
    """One segment: `cells` hidden numbers from `start`, reading `width` inputs from `input_start`."""

    start: int
    cells: int
    input_start: int
    width: int

    @property
    def outputs(self) -> slice:
        """The hidden numbers it makes."""
        return slice(self.start, self.start + self.cells)

    @property
    def inputs(self) -> slice:
        """The inputs it reads."""
        return slice(self.input_start, self.input_start + self.width)


def windows(hidden_size: int, input_size: int, segments: int, share: float) -> tuple[Window, ...]:
    """N segments of nearly equal size whose windows start at n (i - gamma i) / (N - 1).

    Raises ConfigError where an input would be seen by no segment.
    """
    if segments > hidden_size:
        raise ConfigError(f"segments: {segments} of them for {hidden_size} cells")
    width = math.ceil(round(share * input_size, 6))  # rounded down, 1/3 of 20 would leave inputs unseen
    if width * segments < input_size:
        unseen = f"{segments} windows of {width} leave some of the {input_size} inputs unseen"
        raise ConfigError(f"input_shares: {unseen}")
    shift = (input_size - width) / max(1, segments - 1)
    bounds = [round(n * hidden_size / segments) for n in range(segments + 1)]
    return tuple(
        Window(bounds[n], bounds[n + 1] - bounds[n], round(n * shift), width) for n in range(segments)
    )
