import itertools
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nbest.errors import FormatError
from rescoring.metrics import get_metric
from rescoring.nbest import NbestLists
from rescoring.oracle import oracle, oracle_rows

text = st.lists(st.sampled_from("abc"), max_size=5).map(" ".join)
corpus = st.lists(st.tuples(st.lists(text, min_size=1, max_size=3), text), min_size=1, max_size=4)


def every_choice(counts: Any, offsets: Any) -> Any:
    """(choices, K) summed counts of every way to take one row from each list."""
    ranges = [range(begin, end) for begin, end in itertools.pairwise(offsets.tolist())]
    return np.array([counts[list(rows)].sum(axis=0) for rows in itertools.product(*ranges)])


def arrays(corpus: list[tuple[list[str], str]], name: str) -> tuple[Any, Any, Any]:
    metric = get_metric(name)
    texts = [text for hypotheses, _ in corpus for text in hypotheses]
    sizes = [len(hypotheses) for hypotheses, _ in corpus]
    offsets = np.concatenate([[0], np.cumsum(sizes)])
    counts = metric.counts(texts, np.repeat(np.arange(len(sizes)), sizes), [[ref] for _, ref in corpus])
    return counts, offsets, metric


@given(corpus)
def test_wer_oracle_is_the_best_of_all_choices(corpus: list[tuple[list[str], str]]) -> None:
    counts, offsets, metric = arrays(corpus, "wer")
    found = oracle(counts, offsets, metric)
    assert found.exact
    assert found.score == metric.score(every_choice(counts, offsets)).min()
    assert found.score == metric.score(counts[found.rows].sum(axis=0))


@given(corpus)
def test_bleu_oracle_cannot_be_mended_in_one_list(corpus: list[tuple[list[str], str]]) -> None:
    counts, offsets, metric = arrays(corpus, "bleu")
    found = oracle(counts, offsets, metric)
    assert found.exact == (found.score == 100.0)  # nothing is above that
    assert found.score == metric.score(counts[found.rows].sum(axis=0))
    assert found.score <= metric.score(every_choice(counts, offsets)).max()
    for segment, rows in enumerate(itertools.pairwise(offsets.tolist())):
        others = counts[np.delete(found.rows, segment)].sum(axis=0)
        assert metric.score(others + counts[slice(*rows)]).max() <= found.score
    assert found.score >= metric.score(counts[offsets[:-1]].sum(axis=0)) or len(corpus) > 1


def test_of_equals_the_first(make_lists: Callable[..., NbestLists]) -> None:
    lists = make_lists([["x", "a b", "b a", "a b"]], np.zeros((4, 1)))
    assert oracle_rows(lists, [["a b"]], get_metric("wer")).tolist() == [1]


def test_an_empty_list() -> None:
    with pytest.raises(FormatError, match="empty list"):
        oracle(np.zeros((1, 4), dtype=np.int64), np.array([0, 1, 1]), get_metric("wer"))


def test_real_lists(mt_dev: Any, asr_dev: Any) -> None:
    """WER 24.97; BLEU 59.42 by the best sentence scores (the data's README), which mending raises."""
    wer = get_metric("wer")
    rows = oracle_rows(asr_dev.lists, asr_dev.references, wer)
    counts = wer.counts(asr_dev.lists.texts, asr_dev.lists.segments, asr_dev.references)
    assert round(float(wer.score(counts[rows].sum(axis=0))), 2) == 24.97
    bleu = get_metric("bleu")
    counts = bleu.counts(mt_dev.lists.texts, mt_dev.lists.segments, mt_dev.references)
    assert round(oracle(counts, mt_dev.lists.offsets, bleu).score, 2) == 59.62
