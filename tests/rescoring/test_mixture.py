"""Mixtures against sums of probabilities."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import pytest

from nbest.errors import ConfigError, FormatError
from rescoring.kenlm_scorer import TokenScore
from rescoring.mixture import MixtureScorer, Part, best_weights, parse_mixture


@dataclass(frozen=True)
class Unigrams:
    """Probabilities of words; any other word has that of ``<unk>``."""

    name: str
    probabilities: dict[str, float]

    @property
    def digest(self) -> str:
        return f"sha256:{self.name}"

    def score_tokens(self, texts: Sequence[str]) -> list[list[TokenScore]]:
        known = self.probabilities
        return [
            [TokenScore(word, math.log(known.get(word, known["<unk>"])), word not in known) for word in row]
            for row in ([*text.split(), "</s>"] for text in texts)
        ]


ONE = Unigrams("one", {"a": 0.5, "b": 0.2, "</s>": 0.2, "<unk>": 0.1})
TWO = Unigrams("two", {"a": 0.1, "c": 0.4, "</s>": 0.3, "<unk>": 0.2})


def test_probabilities_are_mixed_word_by_word() -> None:
    mixture = MixtureScorer([Part(0.75, ONE), Part(0.25, TWO, unseen=10)])
    (row,) = mixture.score_tokens(["a b c d"])
    wanted = [
        ("a", 0.75 * 0.5 + 0.25 * 0.1, False),
        ("b", 0.75 * 0.2 + 0.25 * 0.02, False),  # ten types share what two gives to unknown words
        ("c", 0.75 * 0.1 + 0.25 * 0.4, False),
        ("d", 0.75 * 0.1 + 0.25 * 0.02, True),
        ("</s>", 0.75 * 0.2 + 0.25 * 0.3, False),
    ]
    for one, (token, probability, unknown) in zip(row, wanted, strict=True):
        assert (one.token, one.is_oov) == (token, unknown)
        assert math.exp(one.nat_log_prob) == pytest.approx(probability)
    scores = mixture.score(["a b c d", ""])
    assert scores.nat_log_probs[0] == pytest.approx(math.fsum(one.nat_log_prob for one in row))
    assert (scores.token_counts.tolist(), scores.oov_counts.tolist()) == ([5, 1], [1, 0])
    assert mixture.score([]).nat_log_probs.shape == (0,)


def test_identity() -> None:
    mixture = MixtureScorer([Part(0.5, ONE), Part(0.5, TWO)], "both")
    assert mixture.name == "both"
    assert mixture.digest == MixtureScorer([Part(0.5, ONE), Part(0.5, TWO)]).digest
    digests = {
        MixtureScorer(parts).digest
        for parts in (
            [Part(0.5, ONE), Part(0.5, TWO)],
            [Part(0.4, ONE), Part(0.6, TWO)],
            [Part(0.5, ONE), Part(0.5, TWO, 2)],
        )
    }
    assert len(digests) == 3
    (one,) = MixtureScorer([Part(1.0, ONE)]).score_tokens(["a c"])
    (alone,) = ONE.score_tokens(["a c"])
    assert [token.nat_log_prob for token in one] == pytest.approx([token.nat_log_prob for token in alone])


def test_weights_by_expectation_maximization() -> None:
    """No grid point is better."""
    parts, texts = [Part(0.5, ONE), Part(0.5, TWO)], ["a b c", "a a c", "c b"]
    best = best_weights(parts, texts)
    assert best.sum() == pytest.approx(1.0)

    def total(weight: float) -> float:
        mixture = MixtureScorer([Part(weight, ONE), Part(1 - weight, TWO)])
        return float(mixture.score(texts).nat_log_probs.sum())

    assert total(float(best[0])) >= max(total(step / 100) for step in range(1, 100)) - 1e-6
    with pytest.raises(FormatError, match="no text to weigh a mixture on"):
        best_weights(parts, [])


@pytest.mark.parametrize("weights", [(0.5, 0.6), (1.0, 0.0), (1.5, -0.5)])
def test_weights_are_a_distribution(weights: tuple[float, float]) -> None:
    with pytest.raises(ConfigError, match="expected weights above 0 that sum to 1"):
        MixtureScorer([Part(weights[0], ONE), Part(weights[1], TWO)])


def test_other_words() -> None:
    class Lowered(Unigrams):
        def score_tokens(self, texts: Sequence[str]) -> list[list[TokenScore]]:
            return super().score_tokens([text.lower() for text in texts])

    mixture = MixtureScorer([Part(0.5, ONE), Part(0.5, Lowered("low", TWO.probabilities))])
    with pytest.raises(
        FormatError, match="text 1: the models one and low see other words; expected 'A </s>'"
    ):
        mixture.score(["a", "A"])
    with pytest.raises(ConfigError, match="no number of unseen types"):
        MixtureScorer([Part(1.0, ONE, unseen=0)])


def test_what_is_written() -> None:
    written = "0.7*small+.3*kenlm:models/a+b.arpa#50000"
    assert parse_mixture(written) == [(0.7, "small", 1), (0.3, "kenlm:models/a+b.arpa", 50000)]
    for text in ("", "small", "0.5*", "x*small"):
        with pytest.raises(ConfigError, match="not a mixture"):
            parse_mixture(text)
