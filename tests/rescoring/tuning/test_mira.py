from typing import Any

import numpy as np
import pytest

from nbest.errors import ConfigError
from rescoring.loglinear import one_best, totals
from rescoring.metrics import get_metric
from rescoring.nbest import NbestLists
from rescoring.tuning import mira, risk

WER = get_metric("wer")


@pytest.fixture(scope="module")
def noisy(make_lists: Any) -> tuple[NbestLists, Any]:
    """Errors are what two features of very different scale say together, plus noise."""
    random = np.random.default_rng(0)
    lists = make_lists([["x"] * 10] * 40, random.normal(size=(400, 3)) * [1, 1000, 0.01] + [5, -300, 0])
    badness = lists.features @ [1.0, -0.001, 0.0] + random.normal(size=400)
    errors = np.clip(np.round(4 * badness + 10), 0, None)
    return lists, np.column_stack([errors, *np.zeros((2, 400)), np.full(400, 20)]).astype(np.int64)


@pytest.mark.parametrize("way", [mira.tune, risk.tune])
def test_learns_what_matters(noisy: tuple[NbestLists, Any], way: Any) -> None:
    lists, counts = noisy
    tuned = way(lists, counts, WER)
    assert tuned.score == float(WER.score(counts[one_best(lists, totals(lists, tuned.vector))].sum(axis=0)))
    scaled = tuned.vector * lists.features.std(axis=0)
    assert scaled[0] < 0 < scaled[1]
    assert abs(scaled[2]) < min(-scaled[0], scaled[1]) / 2
    assert tuned.score < tuned.initial_score
    assert way(lists, counts, WER).vector.tobytes() == tuned.vector.tobytes()
    signs = np.array([[0.0, np.inf]] * 3)
    assert (way(lists, counts, WER, ranges=signs).vector >= 0).all()


def test_what_cannot_be(noisy: tuple[NbestLists, Any]) -> None:
    with pytest.raises(ConfigError, match="epochs of at least 1"):
        mira.tune(*noisy, WER, epochs=0)
    with pytest.raises(ConfigError, match="l2: not a penalty; expected 0 or more; got -1"):
        risk.tune(*noisy, WER, l2=-1.0)


def test_never_worse_than_the_start(noisy: tuple[NbestLists, Any]) -> None:
    lists, counts = noisy
    good = np.array([-1.0, 0.001, 0.0])
    tuned = mira.tune(lists, counts, WER, good, epochs=1, step=1e-9)
    assert tuned.score <= tuned.initial_score


def test_real_translations(mt_dev: Any) -> None:
    """Moses' kbmira with its bug mended reaches 40.4 (the data's README)."""
    bleu = get_metric("bleu")
    lists = mt_dev.lists
    counts = bleu.counts(lists.texts, lists.segments, mt_dev.references)
    assert risk.tune(lists, counts, bleu).score > 40.0
    assert mira.tune(lists, counts, bleu, epochs=4).score > 40.0
