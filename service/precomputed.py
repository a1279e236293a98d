"""A scorer that already knows: numbers that came from the queue, for code that wants a scorer."""

from collections.abc import Sequence
from dataclasses import dataclass

from rescoring.scorer import ScoreArrays


@dataclass(frozen=True)
class PrecomputedScorer:
    """Scores of the different texts of one list, which are the only ones that it may be asked for.

    part  of `scores`, which are those of more lists
    """

    name: str
    digest: str
    scores: ScoreArrays
    part: slice

    def score(self, texts: Sequence[str]) -> ScoreArrays:
        """The known scores of `texts`: all of the list's, in their order."""
        part = self.part
        assert len(texts) == part.stop - part.start
        found = self.scores
        return ScoreArrays(found.nat_log_probs[part], found.token_counts[part], found.oov_counts[part])
