"""A scorer that already knows: numbers that came from the queue, for code that wants a scorer."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from rescoring.scorer import ScoreArrays
from service.registry import TextScore


@dataclass(frozen=True)
class PrecomputedScorer:
    """Looks each text up; a text that was not asked for is a fault of the caller (KeyError)."""

    name: str
    digest: str
    by_text: Mapping[str, TextScore]

    def score(self, texts: Sequence[str]) -> ScoreArrays:
        """The known scores of `texts`."""
        found = [self.by_text[text] for text in texts]
        return ScoreArrays(
            np.array([score.nat_log_prob for score in found], dtype=np.float64),
            np.array([score.token_count for score in found], dtype=np.int64),
            np.array([score.oov_count for score in found], dtype=np.int64),
        )
