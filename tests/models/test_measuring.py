"""The figures of a card against what they are by definition."""

import math
from collections.abc import Callable

import pytest
import torch

from models import checkpoint
from models.catalog import open_scorer
from models.checkpoint import Checkpoint
from models.compression import compress, int8_plan
from models.info import describe
from models.matrices.binary import BinaryMatrix
from models.matrices.dense import DenseMatrix
from models.measuring import characters, measured_card, runnable
from models.training.corpus import Corpus
from models.training.evaluation import normalizer_spread
from nbest.errors import ConfigError

Save = Callable[..., Checkpoint]
LINES = ["a man walks", "the dog sees the unknown street", "", "a  big red house ."]


@pytest.mark.parametrize("system", ["lstm", "bllm", "slim"])
def test_perplexities_are_those_of_scores(saved: Save, system: str) -> None:
    model = saved(system)
    card = measured_card(model, {"held-out": LINES, "other": ["a man"]})
    scores = open_scorer(str(model.path)).score([line for line in LINES if line])
    tokens, nats = int(scores.token_counts.sum()), -float(scores.nat_log_probs.sum())
    of = "held-out, sentence state"
    assert tokens == 17
    assert card.perplexity[f"{of}, OOV spread"] == pytest.approx(math.exp(nats / tokens), rel=1e-4)
    uncharged = nats + model.vocabulary.nat_oov_charge
    assert card.perplexity[of] == pytest.approx(math.exp(uncharged / tokens), rel=1e-4)
    assert card.perplexity[f"{of}, known words alone"] > 1
    assert card.oov_rate == {"held-out": 1 / 17, "other": 0.0}
    assert card.measured["nats a character, held-out"] == pytest.approx(nats / 62, rel=1e-4)
    assert card.perplexity["other, stream state"] == card.perplexity["other, stream state, OOV spread"]
    assert set(card.measured) == {
        "bytes on disk, weights and words",
        "bytes of weights in memory",
        "nats a character, held-out",
        "nats a character, other",
    }


@pytest.mark.parametrize("system", ["lstm", "belm", "bllm", "low-rank"])
def test_a_runnable_copy_has_the_same_numbers_in_matrices_that_read_running_text(
    saved: Save, system: str
) -> None:
    """Of bytes and packed bits side by side too, which have a training form only in part."""
    model = saved(system)
    small = model.model if system == "bllm" else compress(model.model, int8_plan(model.model.config))
    copy = runnable(small)
    assert {type(matrix) for _, matrix in copy.slots()} <= {BinaryMatrix, DenseMatrix}
    for (name, mine), (_, theirs) in zip(copy.slots(), small.slots(), strict=True):
        assert torch.equal(mine.materialize(), theirs.materialize()), name
    for (name, vector), (_, their_vector) in zip(copy.vectors(), small.vectors(), strict=True):
        assert torch.equal(vector, their_vector), name


def test_bytes_are_those_of_the_files(saved: Save) -> None:
    model = saved("bllm")
    measured = measured_card(model, {}).measured
    files = [model.path / name for name in (checkpoint.WEIGHTS, checkpoint.VOCABULARY)]
    assert measured["bytes on disk, weights and words"] == sum(file.stat().st_size for file in files)
    assert measured["bytes of weights in memory"] == describe(model).resident_bytes


def test_characters_are_of_words_one_space_between_two() -> None:
    assert characters(["ab  c", "", " ", "é"]) == 5 + 2


def test_what_the_card_said_before_stays(saved: Save) -> None:
    model = saved("lstm")
    model.card.perplexity["validation"] = 7.0
    model.card.measured["words/s"] = 5.0
    card = measured_card(model, {"x": ["a"]})
    assert card.perplexity["validation"] == 7.0
    assert card.measured["words/s"] == 5.0
    assert "x, sentence state" not in model.card.perplexity


def test_the_normaliser_of_a_model_trained_with_nce(saved: Save) -> None:
    model = saved("lstm")
    model.card.training.update({"loss": "nce", "log_normalizer": {"constant": 4.0}})
    measured = measured_card(model, {"x": LINES}).measured
    corpus = Corpus.from_lines(model.vocabulary, LINES)
    spread = normalizer_spread(model.model, model.vocabulary, corpus, "sentence", 4.0)
    of = "ln Z less its constant, x"
    assert measured[f"{of}, mean"] == pytest.approx(spread.mean, rel=1e-5)
    assert measured[f"{of}, standard deviation"] == pytest.approx(spread.standard_deviation, rel=1e-4)
    assert measured[f"{of}, 99.9th percentile of its size"] == pytest.approx(spread.percentile_99_9, rel=1e-4)


@pytest.mark.parametrize("loss", ["full", "sampled"])
def test_no_other_model_has_one_or_may_be_scored_without(saved: Save, loss: str) -> None:
    model = saved("lstm")
    model.card.training.update({"loss": loss, "log_normalizer": {"constant": 4.0}})
    assert not any(name.startswith("ln Z") for name in measured_card(model, {"x": LINES}).measured)
    checkpoint.replace_card(model.path, model.card)
    with pytest.raises(ConfigError, match="only a model trained with NCE can be scored self-normalized"):
        open_scorer(str(model.path), self_normalized=True)


def test_a_card_is_replaced_alone(saved: Save) -> None:
    model = saved("lstm")
    checkpoint.replace_card(model.path, measured_card(model, {"x": ["a"]}))
    again = checkpoint.load(model.path)
    assert again.digest == model.digest
    assert set(again.card.oov_rate) == {"x"}
