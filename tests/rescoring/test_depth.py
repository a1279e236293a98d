from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from nbest.errors import FormatError
from rescoring import loglinear
from rescoring.depth import depths
from rescoring.metrics import get_metric
from rescoring.nbest import NbestLists
from rescoring.oracle import oracle


@pytest.mark.parametrize("name", ["bleu", "wer"])
def test_against_lists_that_are_cut_one_by_one(make_lists: Callable[..., NbestLists], name: str) -> None:
    random = np.random.default_rng(2)
    texts = [
        [" ".join(random.choice(list("abcde"), size=6)) for _ in range(size)] for size in (1, 4, 12, 30, 7)
    ]
    references = [[" ".join(random.choice(list("abcde"), size=6))] for _ in texts]
    totals = random.integers(4, size=54).astype(float)  # with ties
    metric = get_metric(name)
    lists = make_lists(texts, totals[:, None])
    counts = metric.counts(lists.texts, lists.segments, references)
    found = depths(totals, counts, lists.offsets, metric)
    assert [one.depth for one in found] == [1, 2, 5, 10, 20, 30]
    for one in found:
        cut = [several[: one.depth] for several in texts]
        rows = [row for several in lists for row in several[: one.depth]]
        shorter = make_lists(cut, totals[rows, None])
        shorter_counts = metric.counts(shorter.texts, shorter.segments, references)
        best = loglinear.one_best(shorter, shorter.features[:, 0])
        assert one.best == pytest.approx(float(metric.score(shorter_counts[best].sum(axis=0))), abs=1e-12)
        ideal = oracle(shorter_counts, shorter.offsets, metric)
        assert (one.oracle, one.exact) == (ideal.score, ideal.exact)
    assert found[0].best == found[0].oracle


def test_lists_of_one_and_empty_ones() -> None:
    metric = get_metric("wer")
    counts = np.array([[1, 0, 0, 2], [0, 0, 0, 2]])
    (only,) = depths(np.zeros(2), counts, np.array([0, 1, 2]), metric)
    assert (only.depth, only.best, only.oracle) == (1, 25.0, 25.0)
    with pytest.raises(FormatError, match="empty list"):
        depths(np.zeros(1), counts[:1], np.array([0, 1, 1]), metric)


def test_real_lists(mt_dev: Any) -> None:
    """The decoder's 1-best and the oracle of whole lists are those of the data's README."""
    metric = get_metric("bleu")
    lists = mt_dev.lists
    counts = metric.counts(lists.texts, lists.segments, mt_dev.references)
    found = depths(np.zeros(len(lists.texts)), counts, lists.offsets, metric)
    assert [one.depth for one in found] == [1, 2, 5, 10, 20, 50, 100, 200]
    assert {round(one.best, 2) for one in found} == {39.05}  # no total is higher than the first
    assert found[-1].oracle == pytest.approx(59.6, abs=0.3)
    assert sorted(one.oracle for one in found) == [one.oracle for one in found]
