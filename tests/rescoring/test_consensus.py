"""Posteriors, expected losses and confidences against their definitions."""

import math
from collections import Counter
from collections.abc import Callable
from typing import Any

import jiwer
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nbest.errors import ConfigError, FormatError
from rescoring import consensus as module
from rescoring.consensus import (
    Confidence,
    confidences,
    consensus,
    edit_distances,
    expected_bleu,
    expected_edits,
    posterior,
    tuned_scale,
)
from rescoring.metrics import get_metric
from rescoring.nbest import NbestLists

Make = Callable[..., NbestLists]
tokens = st.lists(st.sampled_from("abcd"), max_size=7)


def test_posterior() -> None:
    found = posterior(np.array([0.0, math.log(3.0), -1000.0, -1001.0]), np.array([0, 2, 4]), 1.0)
    assert found == pytest.approx([0.25, 0.75, 1 / (1 + math.exp(-1)), 1 / (1 + math.e)])
    assert posterior(np.array([0.0, 1.0]), np.array([0, 2]), 1e-9) == pytest.approx([0.5, 0.5])
    assert posterior(np.zeros(0), np.array([0]), 1.0).shape == (0,)
    with pytest.raises(ConfigError, match="not a scale; expected more than 0; got 0"):
        posterior(np.zeros(1), np.array([0, 1]), 0.0)
    with pytest.raises(FormatError, match="list 1: an empty list has no posterior"):
        posterior(np.zeros(1), np.array([0, 1, 1]), 1.0)


def slow_distance(first: list[str], second: list[str]) -> int:
    if not first or not second:
        return len(first) + len(second)
    same = slow_distance(first[1:], second[1:]) + (first[0] != second[0])
    return min(same, 1 + slow_distance(first[1:], second), 1 + slow_distance(first, second[1:]))


@given(st.lists(st.lists(st.sampled_from("ab"), max_size=4), min_size=1, max_size=5), st.integers(1, 40))
def test_edit_distances(texts: list[list[str]], block: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "BLOCK", block)
        found = edit_distances(texts)
    assert found.tolist() == [[slow_distance(one, other) for other in texts] for one in texts]


@given(st.lists(tokens, min_size=1, max_size=6), st.integers(0, 100))
def test_expected_edits_are_jiwers(texts: list[list[str]], seed: int) -> None:
    weights = np.random.default_rng(seed).dirichlet(np.ones(len(texts)))
    found = expected_edits(texts, weights)
    for row, text in enumerate(texts):
        wanted = 0.0
        for other, weight in zip(texts, weights, strict=True):
            output = jiwer.process_words(" ".join(other), " ".join(text))
            wanted += weight * (output.substitutions + output.deletions + output.insertions)
        assert found[row] == pytest.approx(wanted)


@given(st.lists(tokens, min_size=1, max_size=5), st.integers(0, 100))
def test_expected_bleu(texts: list[list[str]], seed: int) -> None:
    """Matches are clipped by the mean counts, orders above one have one more of each."""
    weights = np.random.default_rng(seed).dirichlet(np.ones(len(texts)))
    found = expected_bleu(texts, weights)
    counts = [
        [Counter(zip(*(text[k:] for k in range(n)), strict=False)) for n in (1, 2, 3, 4)] for text in texts
    ]
    for row, text in enumerate(texts):
        score = 0.0
        for n in range(4):
            means: Counter[Any] = Counter()
            for one, weight in zip(counts, weights, strict=True):
                for gram, count in one[n].items():
                    means[gram] += weight * count
            matches = sum(min(count, means[gram]) for gram, count in counts[row][n].items()) + (n > 0)
            total = max(len(text) - n, 0) + (n > 0)
            score += math.log(matches / total) / 4 if matches else -math.inf
        length = sum(weight * len(one) for one, weight in zip(texts, weights, strict=True))
        brevity = min(0.0, 1 - length / len(text)) if text else 0.0
        wanted = 100 * math.exp(score + brevity)
        if text:
            assert found[row] == pytest.approx(wanted)


def test_the_majority_of_words_wins(make_lists: Make) -> None:
    """The most probable text is unlike all others; the consensus is between them."""
    lists = make_lists([["x y z", "a b c", "a b d", "a e c"], ["q"]], np.zeros((5, 1)))
    totals = np.log([0.31, 0.23, 0.23, 0.23, 1.0])
    assert consensus(lists, totals, 1.0, "wer").tolist() == [1, 4]
    assert consensus(lists, totals, 1.0, "bleu").tolist() == [1, 4]
    assert consensus(lists, totals, 20.0, "wer").tolist() == [0, 4]  # sharp: the most probable text


def test_the_best_scale_is_found(make_lists: Make) -> None:
    lists = make_lists([["x y z", "a b c", "a b d", "a e c"]] * 2, np.zeros((8, 1)))
    totals = np.tile(np.log([0.31, 0.23, 0.23, 0.23]), 2)
    metric = get_metric("wer")
    for reference, rows in (("a b c", [1, 5]), ("x y z", [0, 4])):
        counts = metric.counts(lists.texts, lists.segments, [[reference]] * 2)
        best = tuned_scale(lists, totals, counts, metric, "wer")
        assert consensus(lists, totals, best.scale, "wer").tolist() == rows
        assert best.score == 0.0 == min(score for _, score in best.tried)


def test_confidences(make_lists: Make) -> None:
    lists = make_lists([["a b c", "a c", "a x c", "a b  c"], [""]], np.zeros((5, 1)))
    found = confidences(lists, np.array([0.4, 0.3, 0.2, 0.1, 1.0]), [0, 4])
    assert found[0].text == pytest.approx(0.5)
    assert found[0].words == pytest.approx((1.0, 0.5, 1.0))
    assert found[1] == Confidence(1.0, ())


def test_real_confidences_are_calibrated_in_order(asr_dev: Any) -> None:
    """Words that the recogniser is sure of are right more often."""
    lists = asr_dev.lists
    totals = lists.features @ np.array([1.0, 1.0, 9.5, 0.0])[: lists.features.shape[1]]
    weights = posterior(totals, lists.offsets, 0.05)
    rows = consensus(lists, totals, 0.05, "wer")
    right: list[tuple[float, bool]] = []
    for row, sure, references in zip(
        rows, confidences(lists, weights, rows.tolist()), asr_dev.references, strict=True
    ):
        spoken = references[0].split()
        right += [
            (one, word in spoken) for word, one in zip(lists.texts[row].split(), sure.words, strict=True)
        ]
    right.sort()
    half = len(right) // 2
    low, high = (np.mean([correct for _, correct in part]) for part in (right[:half], right[half:]))
    assert high > low + 0.1
