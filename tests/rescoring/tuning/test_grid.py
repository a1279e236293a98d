"""Kaldi's sum by hand, and the grid on real recogniser output."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from nbest.errors import ConfigError, FeatureError
from rescoring.loglinear import totals
from rescoring.metrics import get_metric
from rescoring.nbest import NbestLists
from rescoring.text import words
from rescoring.tuning.grid import Roles, best_point, mixtures, search, table

Make = Callable[..., NbestLists]
WER = get_metric("wer")


@pytest.fixture
def lists(make_lists: Make) -> tuple[NbestLists, np.ndarray]:
    random = np.random.default_rng(1)
    made = make_lists([["x"] * 6] * 8, random.normal(size=(48, 4)), ["ac", "lm", "new", "words"])
    return made, np.column_stack([random.integers(0, 6, size=(48, 3)), np.full(48, 10)])


ROLES = Roles("ac", "words", {"lm": 1.0})


def test_the_order_is_that_of_kaldis_costs(lists: tuple[NbestLists, np.ndarray]) -> None:
    found, counts = lists
    points = search(found, counts, WER, ROLES, (7, 12), (0.0, 0.5), mixtures("lm", "new", 2))
    assert len(points) == 2 * 2 * 3
    for point in points:
        ac, lm, new, number = -found.features.T  # costs
        graph = point.shares["lm"] * lm + point.shares.get("new", 0.0) * new
        costs = graph + ac / point.lmwt - point.penalty * number
        assert totals(found, point.vector) == pytest.approx(-point.lmwt * costs)
        rows = [int(rows[0]) + int(costs[list(rows)].argmin()) for rows in found]
        assert point.score == pytest.approx(float(WER.score(counts[rows].sum(axis=0))))
    best = best_point(points, WER)
    assert best.score == min(point.score for point in points)
    assert best.name == f"{best.lmwt}_{best.penalty}"


def test_table(lists: tuple[NbestLists, np.ndarray]) -> None:
    points = search(*lists, WER, Roles("ac", "words", {"lm": 1.0, "new": 0.0}), (7, 8), (0.0, 1.0))
    lines = table(points, WER).split("\n")
    assert lines[0].split() == ["LMWT", "wip", "0", "wip", "1"]
    assert [float(cell.rstrip("*")) for cell in lines[2].split()] == pytest.approx(
        [8, points[2].score, points[3].score], abs=0.005
    )
    assert table(points, WER).count("*") == 1


def test_what_has_no_role(lists: tuple[NbestLists, np.ndarray]) -> None:
    with pytest.raises(FeatureError, match="no role in Kaldi's sum: 'new'"):
        search(*lists, WER, ROLES)
    with pytest.raises(FeatureError, match="unknown feature 'am'"):
        search(*lists, WER, Roles("am", "words", {"lm": 1.0}))
    everything = Roles("ac", "words", {"lm": 1.0, "new": 1.0})
    with pytest.raises(ConfigError, match="more than 0; got 0"):
        search(*lists, WER, everything, (0.0,))
    with pytest.raises(ConfigError, match="the grid has no LMWT"):
        search(*lists, WER, everything, ())


def test_real_recognition(asr_dev: Any) -> None:
    """The decoder's LM weight is 9.5 and both LMs by hand reach 35.41 (the data's README)."""
    numbers = np.array([len(words(text)) for text in asr_dev.lists.texts], dtype=np.float64)
    lists = asr_dev.lists.with_feature("word_count", numbers)
    counts = WER.counts(lists.texts, lists.segments, asr_dev.references)
    roles = Roles("ac", "word_count", {"nolm": 1.0, "lmonly": 1.0, "rnn": 0.0})
    points = search(lists, counts, WER, roles, (8, 10, 13), (0.5, 1.0, 1.5), mixtures("lmonly", "rnn", 2))
    assert best_point(points, WER).score < 36.5
