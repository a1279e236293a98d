"""What a language model is to the service and the commands: a scorer that can tell its tokens apart."""

from collections.abc import Sequence
from typing import Protocol

from rescoring.scorer import Scorer


class Token(Protocol):
    """A scored word, or ``</s>``."""

    @property
    def token(self) -> str:
        """As in the text."""

    @property
    def nat_log_prob(self) -> float:
        """Natural log-probability after what stands before it."""

    @property
    def is_oov(self) -> bool:
        """Whether the model does not know the word."""


class TokenScorer(Scorer, Protocol):
    """A scorer that can also tell its tokens apart; language models are."""

    def score_tokens(self, texts: Sequence[str]) -> Sequence[Sequence[Token]]:
        """For each text its tokens, ``</s>`` last."""
