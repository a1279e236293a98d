"""The engine against the slow reference: every text as if it had been scored alone."""

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from models.checkpoint import Checkpoint
from models.scoring.reference import ReferenceScorer
from models.scoring.scorer import LanguageModelScorer
from nbest.errors import ModelFileError

SYSTEMS = ("lstm", "belm", "bllm", "slim")
TEXTS = [
    "a man walks the dog",
    "a man walks the dog .",
    "a man sees the red house",
    "",
    "a man walks the dog",
    "zebra a zebra",
    "the  big   dog",
    "w1 w2 w3 w4 w5 w6 w7 w8 w9 w10 w11 w12",
    "<unk> </s>",
    "a",
]
Save = Callable[..., Checkpoint]


@pytest.mark.parametrize("layers", [1, 2])
@pytest.mark.parametrize("system", SYSTEMS)
def test_equals_the_reference(saved: Save, system: str, layers: int) -> None:
    checkpoint = saved(system, layers=layers)
    reference = ReferenceScorer(checkpoint.model, checkpoint.vocabulary)
    scores = LanguageModelScorer(checkpoint, "m").score(TEXTS)
    words = scores.token_counts
    assert words.tolist() == [6, 7, 7, 1, 6, 4, 4, 13, 3, 2]
    assert scores.oov_counts.tolist() == [0, 0, 0, 0, 0, 2, 0, 0, 2, 0]
    wanted = np.array([reference.score(text) for text in TEXTS])
    assert np.abs(scores.nat_log_probs - wanted).max() <= 1e-4 * words.min()
    assert (np.abs(scores.nat_log_probs - wanted) <= 1e-4 * words).all()


@pytest.mark.parametrize("system", SYSTEMS)
def test_tokens_equal_the_reference_and_add_up(saved: Save, system: str) -> None:
    checkpoint = saved(system)
    reference = ReferenceScorer(checkpoint.model, checkpoint.vocabulary)
    scorer = LanguageModelScorer(checkpoint, "m")
    for text, tokens, total in zip(
        TEXTS, scorer.score_tokens(TEXTS), scorer.score(TEXTS).nat_log_probs, strict=True
    ):
        assert [token.token for token in tokens] == [*text.split(), "</s>"]
        assert [token.nat_log_prob for token in tokens] == pytest.approx(
            reference.token_scores(text), abs=1e-4
        )
        assert sum(token.nat_log_prob for token in tokens) == pytest.approx(total, abs=1e-9)
        assert sum(token.is_oov for token in tokens) == checkpoint.vocabulary.encode(text)[1]


@pytest.mark.parametrize(("batch", "group_words"), [(1, 1), (2, 10), (3, 10**6), (256, 12)])
def test_step_and_group_sizes_do_not_matter(saved: Save, batch: int, group_words: int) -> None:
    checkpoint = saved("belm")
    wanted = LanguageModelScorer(checkpoint, "m").score(TEXTS)
    got = LanguageModelScorer(checkpoint, "m", batch=batch, group_words=group_words).score(TEXTS)
    np.testing.assert_allclose(got.nat_log_probs, wanted.nat_log_probs, atol=1e-4)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.lists(st.sampled_from(["a", "man", "dog", "zzz"]), max_size=6), max_size=8), st.randoms())
def test_batch_mates_and_order_do_not_matter(
    cached: LanguageModelScorer, texts: list[list[str]], random: object
) -> None:
    lines = [" ".join(words) for words in texts]
    together = cached.score(lines).nat_log_probs
    alone = [float(cached.score([line]).nat_log_probs[0]) for line in lines]
    np.testing.assert_allclose(together, alone, atol=1e-4)
    backwards = cached.score(lines[::-1]).nat_log_probs[::-1]
    np.testing.assert_allclose(together, backwards, atol=1e-4)


@pytest.fixture
def cached(saved: Save) -> LanguageModelScorer:
    return LanguageModelScorer(saved("bllm"), "m")


def test_each_prefix_is_read_once(saved: Save) -> None:
    """<s>, a, man, walks, the, dog, sees: seven prefixes for eleven words and two ends."""
    scorer = LanguageModelScorer(saved("lstm"), "m")
    scores = scorer.score(["a man walks the dog", "a man walks the dog", "a man sees"])
    assert scores.unique_tokens == 7


def test_no_texts(cached: LanguageModelScorer) -> None:
    scores = cached.score([])
    assert len(scores.nat_log_probs) == len(scores.token_counts) == len(scores.oov_counts) == 0
    assert cached.score_tokens([]) == []


def test_a_very_long_text(cached: LanguageModelScorer) -> None:
    scores = cached.score(["a man " * 2_000, "a"])
    assert scores.token_counts.tolist() == [4_001, 2]
    assert scores.nat_log_probs[0] < scores.nat_log_probs[1] < 0


@pytest.mark.parametrize(
    "limits", [{"state_bytes": 1}, {"group_words": 1}, {"batch": 1}, {"state_bytes": 5_000}]
)
def test_limits_of_memory_change_no_score(saved: Save, limits: dict[str, int]) -> None:
    loaded = saved("lstm")
    texts = [*TEXTS, "a man " * 300, *TEXTS]
    expected = LanguageModelScorer(loaded, "m").score(texts).nat_log_probs
    bounded = LanguageModelScorer(loaded, "m", **limits)
    assert bounded.score(texts).nat_log_probs == pytest.approx(expected, rel=1e-5)


def test_same_scores_run_to_run(cached: LanguageModelScorer) -> None:
    assert cached.score(TEXTS).nat_log_probs.tobytes() == cached.score(TEXTS).nat_log_probs.tobytes()


def test_matrices_are_never_expanded(saved: Save, monkeypatch: pytest.MonkeyPatch) -> None:
    checkpoint = saved("bllm")
    monkeypatch.setattr(checkpoint.model, "prepare_output", lambda _h: checkpoint.model.output.materialize())
    with pytest.raises(RuntimeError, match="must not be expanded while scoring"):
        LanguageModelScorer(checkpoint, "m", native=False).score(["a"])


def test_a_model_gone_wrong_is_named(saved: Save) -> None:
    checkpoint = saved("lstm")
    next(vector for _, vector in checkpoint.model.vectors()).data.fill_(float("nan"))
    with pytest.raises(ModelFileError, match=r"lstm: the model gave a score that is not finite"):
        LanguageModelScorer(checkpoint, "m").score(["a"])


def test_name_and_digest(saved: Save) -> None:
    checkpoint = saved("lstm")
    scorer = LanguageModelScorer(checkpoint, "captions")
    assert scorer.name == "captions"
    assert scorer.digest == checkpoint.digest
    assert scorer.digest.startswith("sha256:")
