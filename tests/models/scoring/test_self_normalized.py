"""Scores with a constant normaliser: logits less the constant, for models trained with NCE only."""

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from models import catalog, checkpoint
from models.checkpoint import Checkpoint, ModelCard
from models.language_model import LanguageModel
from models.scoring.scorer import LanguageModelScorer
from models.vocabulary import Vocabulary
from nbest.errors import ConfigError, ModelFileError

Save = Callable[..., Checkpoint]
TEXTS = ["a man walks", "the dog sees the unknown street", "", "a man walks ."]
NCE: dict[str, Any] = {"loss": "nce", "log_normalizer": {"constant": 4.5}}


@pytest.fixture
def save(tmp_path: Path, vocabulary: Vocabulary, make_model: Callable[..., LanguageModel]) -> Save:
    def written(system: str, training: dict[str, Any]) -> Checkpoint:
        card = ModelCard(name=system, training=training)
        checkpoint.save(tmp_path / system, make_model(system), vocabulary, card)
        return checkpoint.load(tmp_path / system)

    return written


@pytest.mark.parametrize("system", ["lstm", "bllm", "slim"])
def test_scores_are_logits_less_the_constant(save: Save, vocabulary: Vocabulary, system: str) -> None:
    saved = save(system, NCE)
    model, scores = saved.model, LanguageModelScorer(saved, "m", self_normalized=True).score(TEXTS)
    for text, score in zip(TEXTS, scores.nat_log_probs, strict=True):
        ids, unknown = vocabulary.encode(text)
        state, total = model.start_state(1), unknown * vocabulary.nat_oov_charge
        for word, wanted in zip([vocabulary.start_id, *ids], [*ids, vocabulary.end_id], strict=True):
            with torch.no_grad():
                hidden, state = model.step(torch.tensor([word]), state)
                logits = model.logits(model.prepare_output(hidden), slice(0, 77))
            total += float(logits[0, wanted]) - 4.5
        assert score == pytest.approx(total, rel=1e-4)


def test_tokens_add_up(save: Save) -> None:
    scorer = LanguageModelScorer(save("lstm", NCE), "m", self_normalized=True)
    sums = [math.fsum(token.nat_log_prob for token in tokens) for tokens in scorer.score_tokens(TEXTS)]
    assert sums == pytest.approx(scorer.score(TEXTS).nat_log_probs.tolist(), rel=1e-6)


def test_its_digest_is_another(save: Save) -> None:
    """Weights tuned with one kind of score do not pass for the other's."""
    saved = save("lstm", NCE)
    assert LanguageModelScorer(saved, "m").digest == saved.digest
    assert LanguageModelScorer(saved, "m", self_normalized=True).digest == f"{saved.digest}+self-normalized"


@pytest.mark.parametrize(
    ("training", "got"),
    [
        ({"loss": "full"}, "loss 'full'"),
        ({"loss": "sampled", "log_normalizer": {"constant": 4.5}}, "loss 'sampled'"),
        ({}, "a card that says no loss"),
    ],
)
def test_other_models_are_refused(save: Save, tmp_path: Path, training: dict[str, Any], got: str) -> None:
    save("lstm", training)
    message = rf"lstm: only a model trained with NCE can be scored self-normalized; expected .*; got {got}"
    with pytest.raises(ConfigError, match=message):
        catalog.open_scorer(str(tmp_path / "lstm"), self_normalized=True)
    assert catalog.open_scorer(str(tmp_path / "lstm")).name == "lstm"


@pytest.mark.parametrize("spread", [None, 4.5, {}, {"constant": "4.5"}, {"constant": True}])
def test_a_card_without_its_constant(save: Save, tmp_path: Path, spread: object) -> None:
    save("lstm", {"loss": "nce", "log_normalizer": spread})
    with pytest.raises(ModelFileError, match="expected a number at /training/log_normalizer/constant"):
        catalog.open_scorer(str(tmp_path / "lstm"), self_normalized=True)
