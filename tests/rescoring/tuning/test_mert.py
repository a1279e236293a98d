from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nbest.errors import ConfigError, FeatureError, FormatError, WeightsError
from rescoring import loglinear
from rescoring.metrics import get_metric
from rescoring.nbest import NbestLists
from rescoring.text import words
from rescoring.tuning.mert import tune

Make = Callable[..., NbestLists]
BLEU, WER = get_metric("bleu"), get_metric("wer")


def score(lists: NbestLists, counts: Any, metric: Any, vector: Any) -> float:
    rows = loglinear.one_best(lists, loglinear.totals(lists, vector))
    return float(metric.score(counts[rows].sum(axis=0)))


@pytest.fixture(scope="module")
def noisy(make_lists: Make) -> tuple[NbestLists, Any]:
    """Forty lists of ten: errors are what two features of very different scale say together, plus noise."""
    random = np.random.default_rng(0)
    lists = make_lists([["x"] * 10] * 40, random.normal(size=(400, 4)) * [1, 1000, 0.01, 1] + [5, -300, 0, 0])
    badness = lists.features @ [1.0, -0.001, 0.0, 0.0] + random.normal(size=400)
    errors = np.clip(np.round(4 * badness + 10), 0, None)
    counts = np.column_stack([errors, np.zeros(400), np.zeros(400), np.full(400, 20)]).astype(np.int64)
    return lists, counts


def test_learns_what_matters(noisy: tuple[NbestLists, Any]) -> None:
    lists, counts = noisy
    tuned = tune(lists, counts, WER, restarts=3)
    assert tuned.score == score(lists, counts, WER, tuned.vector)
    assert tuned.initial_score == score(lists, counts, WER, np.ones(4))
    assert tuned.score < tuned.initial_score
    assert tuned.score <= score(lists, counts, WER, np.array([-1.0, 0.001, 0.0, 0.0]))
    scaled = tuned.vector * lists.features.std(axis=0)
    assert scaled[0] < 0 < scaled[1]  # less of the first feature, more of the second
    assert np.abs(tuned.vector).sum() == pytest.approx(1.0)
    assert tuned.descents[0].start == "given"
    assert len(tuned.descents) == 3
    assert tuned.line_searches == sum(descent.line_searches for descent in tuned.descents) > 0
    assert tuned.score == min(descent.score for descent in tuned.descents)


def test_the_same_arguments_give_the_same_weights(noisy: tuple[NbestLists, Any]) -> None:
    lists, counts = noisy
    before = lists.features.copy(), counts.copy()
    first, again = (tune(lists, counts, WER, restarts=3, seed=7) for _ in range(2))
    assert first.vector.tobytes() == again.vector.tobytes()
    assert first.descents == again.descents
    assert tune(lists, counts, WER, restarts=3, seed=8).vector.tobytes() != first.vector.tobytes()
    assert (lists.features == before[0]).all()
    assert (counts == before[1]).all()


def test_larger_is_better_for_bleu(make_lists: Make) -> None:
    """The second hypothesis is right in each list; only a negative weight chooses it."""
    lists = make_lists([["a b c x", "a b c d"]] * 3, [[1.0], [-1.0]] * 3)
    counts = BLEU.counts(lists.texts, lists.segments, [["a b c d"]] * 3)
    tuned = tune(lists, counts, BLEU, restarts=1)
    assert tuned.initial_score < 80
    assert tuned.score == pytest.approx(100.0)
    assert tuned.vector.tolist() == [-1.0]


def test_progress_is_told(noisy: tuple[NbestLists, Any]) -> None:
    told = []
    tuned = tune(*noisy, WER, restarts=3, progress=lambda done, so_far: told.append((done, so_far.score)))
    assert [done for done, _ in told] == [1, 2, 3]
    assert [score for _, score in told] == sorted((score for _, score in told), reverse=True)
    assert told[-1][1] == tuned.score


@pytest.mark.parametrize("start", range(3))
def test_ranges_hold(noisy: tuple[NbestLists, Any], start: int) -> None:
    lists, counts = noisy
    ranges = np.array([[0.0, np.inf], [-np.inf, np.inf], [2.0, 2.0], [-1.0, 0.5]])
    initial = np.array([start, 1.0, 2.0, 0.0])
    tuned = tune(lists, counts, WER, initial, restarts=5, ranges=ranges)
    assert (tuned.vector >= ranges[:, 0] - 1e-12).all()
    assert (tuned.vector <= ranges[:, 1] + 1e-12).all()
    assert tuned.score <= tuned.initial_score
    assert tuned.vector[1] > 0
    signs = np.array([[0.0, np.inf]] * 4)
    free = tune(lists, counts, WER, np.ones(4), restarts=3, ranges=signs)
    assert (free.vector >= 0).all()
    assert np.abs(free.vector).sum() == pytest.approx(1.0)


def test_constant_columns_get_no_weight(noisy: tuple[NbestLists, Any]) -> None:
    """A column that is the same throughout each list says nothing about the ranking."""
    lists, counts = noisy
    lists = replace(lists, features=lists.features.copy())
    lists.features[:, 2] = lists.segments
    tuned = tune(lists, counts, WER, restarts=2)
    assert tuned.constant == ("f2",)
    assert tuned.vector[2] == 0.0
    everything = replace(lists, features=np.ones((400, 4)))
    tuned = tune(everything, counts, WER, restarts=2)
    assert tuned.score == tuned.initial_score
    assert tuned.vector.tolist() == [0.0] * 4


def test_duplicates_and_single_hypotheses(make_lists: Make) -> None:
    lists = make_lists([["a"], ["b", "c", "c", "b"]], [[1, 1], [2, 0], [0, 2], [0, 2], [2, 0]])
    counts = WER.counts(lists.texts, lists.segments, [["a"], ["c"]])
    tuned = tune(lists, counts, WER, np.array([1.0, 0.5]), restarts=2)
    assert (tuned.initial_score, tuned.score) == (50.0, 0.0)


@settings(max_examples=15)
@given(st.integers(0, 10_000))
def test_never_worse_than_the_start(make_lists: Make, seed: int) -> None:
    """Whatever the lists: integers make ties everywhere, and the score is that of the weights given back."""
    random = np.random.default_rng(seed)
    sizes = random.integers(1, 6, size=5)
    lists = make_lists([["x"] * size for size in sizes], random.integers(-2, 3, size=(sizes.sum(), 3)))
    counts = random.integers(0, 5, size=(sizes.sum(), 4))
    metric = WER
    initial = random.integers(-2, 3, size=3).astype(float)
    tuned = tune(lists, counts, metric, initial, restarts=2, seed=seed, random_directions=2)
    assert tuned.score == score(lists, counts, metric, tuned.vector)
    assert tuned.score <= tuned.initial_score == score(lists, counts, metric, initial)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"initial": np.ones(3)}, WeightsError, "expected 4 finite weights"),
        ({"initial": np.array([1, 2, 3, np.nan])}, WeightsError, "expected 4 finite weights"),
        ({"ranges": np.zeros((3, 2))}, WeightsError, r"expected \(4, 2\) bounds; got \(3, 2\)"),
        ({"ranges": np.array([[2, 3]] * 4)}, WeightsError, "range of f0 .* got low 2, initial 1, high 3"),
        ({"restarts": 0}, ConfigError, "restarts of at least 1"),
    ],
)
def test_what_does_not_fit(
    noisy: tuple[NbestLists, Any], arguments: dict[str, Any], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        tune(*noisy, WER, **arguments)


def test_lists_that_cannot_be_tuned_on(make_lists: Make, noisy: tuple[NbestLists, Any]) -> None:
    lists, counts = noisy
    with pytest.raises(FormatError, match=r"counts do not fit the lists; expected shape \(400, 4\); got"):
        tune(lists, counts[:-1], WER)
    with pytest.raises(FormatError, match="empty list"):
        tune(make_lists([["a"], []], [[1.0]]), counts[:1], WER)
    with pytest.raises(FormatError, match="no lists to tune on"):
        tune(make_lists([], np.zeros((0, 1))), counts[:0], WER)
    with pytest.raises(FeatureError, match="feature f0 cannot be standardised"):
        tune(make_lists([["a", "b"]], [[1e300], [-1e300]]), counts[:2], WER, np.array([1e-300]))


def test_real_translations(mt_dev: Any) -> None:
    """Moses' own mert reaches 40.78 from one start and 40.82 or 40.96 from twenty (the data's README)."""
    lists = mt_dev.lists
    counts = BLEU.counts(lists.texts, lists.segments, mt_dev.references)
    tuned = tune(lists, counts, BLEU, restarts=1)
    assert tuned.score > 40.82
    assert tuned.score == score(lists, counts, BLEU, tuned.vector)


def test_real_recognition(asr_dev: Any) -> None:
    """Both language models and a word penalty, tuned by hand: 35.41 (the data's README)."""
    lists = asr_dev.lists.with_feature(
        "words", np.array([len(words(text)) for text in asr_dev.lists.texts], float)
    )
    counts = WER.counts(lists.texts, lists.segments, asr_dev.references)
    assert tune(lists, counts, WER, restarts=5).score < 35.4


def test_several_processes_find_the_same(noisy: tuple[NbestLists, Any]) -> None:
    alone, shared = (tune(*noisy, WER, restarts=3, jobs=jobs) for jobs in (1, 2))
    assert alone.vector.tobytes() == shared.vector.tobytes()
    assert alone.descents == shared.descents


def test_a_pull_holds_the_weights(noisy: tuple[NbestLists, Any]) -> None:
    """The stronger, the nearer to each other the weights of different seeds."""
    spreads = []
    for l2 in (0.0, 1e6):
        vectors = [tune(*noisy, WER, restarts=1, seed=seed, l2=l2).vector for seed in range(3)]
        spreads.append(float(np.std(vectors, axis=0).sum()))
    assert spreads[1] < spreads[0] / 100
    with pytest.raises(ConfigError, match="not a penalty; expected 0 or more; got -1"):
        tune(*noisy, WER, l2=-1.0)
