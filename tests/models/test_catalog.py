"""Models by name: shipped ones and directories; what is not there is named with what is."""

from collections.abc import Callable
from pathlib import Path

import pytest

from models import catalog, checkpoint
from models.checkpoint import Checkpoint
from models.scoring.reference import ReferenceScorer
from nbest.errors import NotFoundError

LIMIT_BYTES = 8_000_000  # of a model that ships: weights and vocabulary
ALL_BYTES = 12_000_000  # of all that ship


def test_a_directory_is_a_model(saved: Callable[..., Checkpoint]) -> None:
    path = saved("slim").path
    scorer = catalog.open_scorer(str(path))
    assert scorer.name == "slim"
    assert scorer.score(["a man"]).token_counts.tolist() == [3]
    assert catalog.open_scorer(str(path), name="other").name == "other"


def test_unknown_names_are_answered_with_the_known_ones(tmp_path: Path) -> None:
    with pytest.raises(
        NotFoundError, match=r"no such model: 'smal'; expected a model directory, or one of base, small, tiny"
    ):
        catalog.resolve("smal")
    (tmp_path / "weights.safetensors").touch()
    with pytest.raises(NotFoundError, match=r"a file, and models are directories: '.*weights\.safetensors'"):
        catalog.resolve(str(tmp_path / "weights.safetensors"))
    with pytest.raises(NotFoundError, match="a directory without a model"):
        catalog.resolve(str(tmp_path))


def test_shipped_models_are_small_and_documented() -> None:
    assert catalog.names() == ["base", "small", "tiny"]
    everything = sum(
        file.stat().st_size for name in catalog.names() for file in catalog.resolve(name).iterdir()
    )
    assert everything <= ALL_BYTES
    for name in catalog.names():
        folder = catalog.resolve(name)
        size = sum((folder / file).stat().st_size for file in (checkpoint.WEIGHTS, checkpoint.VOCABULARY))
        assert size <= LIMIT_BYTES, name
        card = checkpoint.load(folder).card
        assert card.licence
        assert card.attribution
        assert card.perplexity["held-out, sentence state"] < card.perplexity["held-out, stream state"]
        assert card.training["recipe"]["state"] == "sentence"
        assert card.training["hours"] >= 1


def test_shipped_models_prefer_english() -> None:
    scorer = catalog.open_scorer("small")
    good = ["the weather is nice today", "she has lost her keys and cannot open the door ."]
    bad = ["whether the nice is day to", "she have losing hers key and can not open door the ."]
    scores = scorer.score([*good, *bad]).nat_log_probs
    assert (scores[:2] > scores[2:]).all()


def test_shipped_models_equal_the_reference() -> None:
    loaded = checkpoint.load(catalog.resolve("small"))
    text = "he said that the train from the north leaves in ten minutes ."
    scorer = catalog.open_scorer("small")
    wanted = ReferenceScorer(loaded.model, loaded.vocabulary).score(text)
    assert scorer.score([text]).nat_log_probs[0] == pytest.approx(wanted, abs=1e-4 * 14)
