"""Texts that go on from others: scored from the state that those leave, by models of running text only."""

from collections.abc import Callable
from dataclasses import replace

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from models.checkpoint import Checkpoint
from models.scoring.reference import ReferenceScorer
from models.scoring.scorer import LanguageModelScorer
from models.vocabulary import Vocabulary
from nbest.errors import ConfigError

Save = Callable[..., Checkpoint]
WORDS = st.lists(st.sampled_from(["a", "man", "walks", "the", "dog", "zebra"]), max_size=5).map(" ".join)
CONTEXTS = st.lists(WORDS, max_size=3).map(tuple)


@pytest.fixture(params=["lstm", "slim"])
def running(request: pytest.FixtureRequest, saved: Save) -> Checkpoint:
    """A model of running text."""
    made = saved(request.param)
    return replace(made, vocabulary=replace(made.vocabulary, running=True))


@settings(
    max_examples=40,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
    derandomize=True,
)
@given(st.lists(st.tuples(CONTEXTS, WORDS), min_size=1, max_size=8), st.booleans())
def test_scores_after_a_context_are_those_of_the_reference(
    running: Checkpoint, asked: list[tuple[tuple[str, ...], str]], small_groups: bool
) -> None:
    more = {"group_words": 8} if small_groups else {}
    scorer = LanguageModelScorer(running, "m", native=False, **more)
    reference = ReferenceScorer(running.model, running.vocabulary)
    texts, contexts = [text for _, text in asked], [context for context, _ in asked]
    scores = scorer.run(scorer.score_task(texts, contexts))
    tokens = scorer.run(scorer.token_task(texts, contexts))
    for number, (context, text) in enumerate(asked):
        expected = reference.token_scores(text, context)
        assert scores.nat_log_probs[number] == pytest.approx(sum(expected), abs=1e-4)
        assert [one.nat_log_prob for one in tokens[number]] == pytest.approx(expected, abs=1e-4)
        assert scores.token_counts[number] == len(expected)


def test_a_context_is_read_once_for_all_texts_after_it(running: Checkpoint) -> None:
    scorer = LanguageModelScorer(running, "m", native=False)
    context = ("the man walks the dog " * 20,)
    task = scorer.score_task(["a man", "a dog", "a man"], [context] * 3)
    scorer.run(task)
    assert task.result().unique_tokens == 1 + 100 + 1 + 3  # <s>, the context with its end, and a man, dog


def test_the_same_text_after_two_contexts_has_two_scores(running: Checkpoint) -> None:
    scorer = LanguageModelScorer(running, "m", native=False)
    found = scorer.run(scorer.score_task(["a man", "a man", "a man"], [(), ("the dog",), ()]))
    assert found.nat_log_probs[0] == found.nat_log_probs[2] != found.nat_log_probs[1]
    assert found.nat_log_probs[0] == pytest.approx(scorer.score(["a man"]).nat_log_probs[0], abs=1e-5)


def test_a_model_of_single_sentences_takes_no_context(saved: Save) -> None:
    scorer = LanguageModelScorer(saved("lstm"), "m", native=False)
    assert not scorer.takes_context
    with pytest.raises(ConfigError, match="single sentences"):
        scorer.score_task(["a"], [("b",)])
    with pytest.raises(ConfigError):
        scorer.token_task(["a"], [("b",)])


def test_a_model_of_running_text_begins_after_an_end_and_says_so(vocabulary: Vocabulary) -> None:
    running = replace(vocabulary, running=True)
    assert running.start_id == running.end_id != vocabulary.start_id
    again = Vocabulary.from_json(running.to_json(), "v")
    assert (again.running, again) == (True, running)
    assert not Vocabulary.from_json(vocabulary.to_json(), "v").running
    assert "running" not in vocabulary.to_json()
