"""What a scorer is: texts in; natural log-probabilities, token and OOV counts out.

Language models and HTTP clients are scorers; this room knows only the shape.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray


class Scores(Protocol):
    """One number per text, in the order of the texts."""

    @property
    def nat_log_probs(self) -> NDArray[np.float64]:
        """(N,) natural log-probability of the text and its ``</s>``; finite."""

    @property
    def token_counts(self) -> NDArray[np.int64]:
        """(N,) scored tokens, ``</s>`` counted."""

    @property
    def oov_counts(self) -> NDArray[np.int64]:
        """(N,) out-of-vocabulary words."""


@dataclass(frozen=True)
class ScoreArrays:
    """Scores as plain arrays, for scorers that have nothing more to say."""

    nat_log_probs: NDArray[np.float64]
    token_counts: NDArray[np.int64]
    oov_counts: NDArray[np.int64]


class Named(Protocol):
    """What weights and signatures need to know of a scorer."""

    @property
    def name(self) -> str:
        """Short name; becomes the feature's name."""

    @property
    def digest(self) -> str:
        """``sha256:HEX`` of what scores: binds weights to this very model."""


class Scorer(Named, Protocol):
    """Anything that gives each text a log-probability."""

    def score(self, texts: Sequence[str]) -> Scores:
        """Scores of `texts`, as if each had been scored alone."""
