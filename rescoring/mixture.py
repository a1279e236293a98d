"""A mixture of language models, word by word: ln sum_k weight_k P_k(word | before), as one scorer.

The models must see the same words, and their probabilities must be of the same events. A model that gives an
unknown word the probability of *some* unknown word is charged for it: `unseen` types share that probability.
"""

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from nbest.errors import ConfigError, FormatError, shorten
from nbest.signature import sha256_hex
from rescoring.kenlm_scorer import TokenScore
from rescoring.scorer import ScoreArrays

Floats = NDArray[np.float64]

ITERATIONS = 200  # of EM, at most
LEAST_CHANGE = 1e-6  # of a weight: EM ends

_TERM = re.compile(r"(\d+(?:\.\d*)?|\.\d+)\*(.+?)(?:#(\d+))?")


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


class TokenScorer(Protocol):
    """A scorer of single tokens."""

    @property
    def name(self) -> str:
        """Short name."""

    @property
    def digest(self) -> str:
        """``sha256:HEX`` of what scores."""

    def score_tokens(self, texts: Sequence[str]) -> Sequence[Sequence[Token]]:
        """For each text its tokens, ``</s>`` last."""


@dataclass(frozen=True)
class Part:
    """A model of the mixture.

    weight  above 0; those of all parts sum to 1
    unseen  types that share the model's probability of an unknown word; 1 where it charges itself
    """

    weight: float
    scorer: TokenScorer
    unseen: int = 1


class MixtureScorer:
    """Scores by a mixture; a word is out of vocabulary where no part knows it.

    Raises ConfigError for weights that are not a distribution.
    """

    def __init__(self, parts: Sequence[Part], name: str = "mix") -> None:
        weights = [part.weight for part in parts]
        if not weights or min(weights) <= 0.0 or abs(math.fsum(weights) - 1.0) > 1e-6:
            raise ConfigError(
                "the weights of a mixture are a distribution",
                where=name,
                expected="weights above 0 that sum to 1",
                got=" + ".join(f"{weight:g}" for weight in weights) or "none",
            )
        if any(part.unseen < 1 for part in parts):
            raise ConfigError("no number of unseen types", where=name, expected="at least 1")
        self.parts = tuple(parts)
        self._name = name

    @property
    def name(self) -> str:
        """The given one."""
        return self._name

    @property
    def digest(self) -> str:
        """``sha256:HEX`` of the parts' weights, charges and digests."""
        content = "\n".join(f"{part.weight!r} {part.unseen} {part.scorer.digest}" for part in self.parts)
        return f"sha256:{sha256_hex(content.encode())}"

    def score(self, texts: Sequence[str]) -> ScoreArrays:
        """ln P of each text and its ``</s>``, tokens, words that no part knows."""
        rows = self.score_tokens(texts)
        return ScoreArrays(
            np.array([math.fsum(one.nat_log_prob for one in row) for row in rows], dtype=np.float64),
            np.array([len(row) for row in rows], dtype=np.int64),
            np.array([sum(one.is_oov for one in row) for row in rows], dtype=np.int64),
        )

    def score_tokens(self, texts: Sequence[str]) -> list[list[TokenScore]]:
        """For each text its tokens, ``</s>`` last; raises FormatError where the parts see other words."""
        tokens, log_probs, unknown = aligned(self.parts, texts)
        weights = np.log([part.weight for part in self.parts])
        mixed = np.logaddexp.reduce(log_probs + weights[:, None], axis=0)  # (T,)
        nobody: NDArray[np.bool_] = np.all(unknown, axis=0)
        flat = iter(zip(mixed.tolist(), nobody.tolist(), strict=True))
        return [[TokenScore(token, *next(flat)) for token in row] for row in tokens]


def aligned(parts: Sequence[Part], texts: Sequence[str]) -> tuple[list[list[str]], Floats, NDArray[np.bool_]]:
    """The tokens of each text; (P, T) each part's log-probs of them, charged; (P, T) which it does not know.

    Raises FormatError where two parts see other words.
    """
    scored = [part.scorer.score_tokens(texts) for part in parts]
    tokens = [[one.token for one in row] for row in scored[0]]
    for part, rows in zip(parts, scored, strict=True):
        for number, (row, wanted) in enumerate(zip(rows, tokens, strict=True)):
            if [one.token for one in row] != wanted:
                raise FormatError(
                    f"the models {parts[0].scorer.name} and {part.scorer.name} see other words",
                    where=f"text {number}",
                    expected=shorten(" ".join(wanted)),
                    got=shorten(" ".join(one.token for one in row)),
                )
    unknown = np.array([[one.is_oov for row in rows for one in row] for rows in scored], dtype=np.bool_)
    log_probs = np.array([[one.nat_log_prob for row in rows for one in row] for rows in scored])
    charges = np.log([part.unseen for part in parts])
    return tokens, log_probs - charges[:, None] * unknown, unknown


def best_weights(parts: Sequence[Part], texts: Sequence[str]) -> Floats:
    """(P,) the weights with which the mixture gives `texts` the highest probability, by EM.

    Jelinek and Mercer 1980; SRILM's compute-best-mix. Raises FormatError for no texts.
    """
    _, log_probs, _ = aligned(parts, texts)
    if not log_probs.size:
        raise FormatError("no text to weigh a mixture on", expected="at least one text", got="0")
    weights = np.full(len(parts), 1.0 / len(parts))
    for _ in range(ITERATIONS):
        joint = log_probs + np.log(np.maximum(weights, 1e-300))[:, None]
        shares = np.exp(joint - np.logaddexp.reduce(joint, axis=0)).mean(axis=1)
        done = float(np.abs(shares - weights).max()) < LEAST_CHANGE
        weights = shares
        if done:
            break
    return weights


def parse_mixture(text: str) -> list[tuple[float, str, int]]:
    """``0.7*small+0.3*kenlm:lm.arpa#50000`` as (weight, model, unseen types); raises ConfigError."""
    terms = []
    for term in re.split(r"\+(?=(?:\d+\.?\d*|\.\d+)\*)", text):
        found = _TERM.fullmatch(term)
        if not found:
            raise ConfigError(
                "not a mixture",
                where="mix",
                expected="such as 0.7*small+0.3*kenlm:lm.arpa#50000",
                got=shorten(text),
            )
        terms.append((float(found[1]), found[2], int(found[3] or 1)))
    return terms
