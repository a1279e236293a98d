"""Intervals and p-values, against sacrebleu's own paired tests."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from sacrebleu.metrics.bleu import BLEU
from sacrebleu.significance import PairedTest, _bootstrap_resample

from nbest.errors import ConfigError, ReferenceMismatchError
from rescoring import significance
from rescoring.metrics import get_metric
from rescoring.significance import difference_interval, interval, paired_test

WORDS = "a b c d e f g".split()


def corrupted(references: Sequence[str], share: float, seed: int) -> list[str]:
    """The references with a share of their words replaced."""
    random = np.random.default_rng(seed)
    return [
        " ".join(str(random.choice(WORDS)) if random.random() < share else word for word in one.split())
        for one in references
    ]


REFERENCES = corrupted([" ".join(WORDS + WORDS)] * 90, 0.7, 0)
GOOD, BAD, OTHER = (corrupted(REFERENCES, share, seed) for share, seed in ((0.30, 1), (0.36, 2), (0.30, 3)))
BLEU_METRIC, WER_METRIC = get_metric("bleu"), get_metric("wer")


def counts(texts: Sequence[str], metric: Any = BLEU_METRIC) -> Any:
    return metric.counts(texts, np.arange(len(texts)), [[one] for one in REFERENCES])


@pytest.mark.parametrize("system", [BAD, OTHER])
@pytest.mark.parametrize(
    ("method", "theirs", "trials"), [("randomization", "ar", 300), ("bootstrap", "bs", 300)]
)
def test_p_values_are_sacrebleus(
    system: list[str], method: Any, theirs: Any, trials: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SACREBLEU_SEED", "12345")
    test = PairedTest(
        [("first", GOOD), ("second", system)],
        {"BLEU": BLEU(tokenize="none", force=True)},
        [REFERENCES],
        test_type=theirs,
        n_samples=trials,
    )
    wanted = test()[1]["BLEU"][1].p_value  # type: ignore[union-attr]
    assert paired_test(counts(GOOD), counts(system), BLEU_METRIC, method, trials) == pytest.approx(wanted)


def test_interval_is_that_of_sacrebleus_samples(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SACREBLEU_SEED", "12345")
    scorer = BLEU(tokenize="none", force=True)
    stats = scorer._extract_corpus_statistics(GOOD, [REFERENCES])
    scores = [one.score for one in _bootstrap_resample(stats, scorer, 200)[1]]
    found = interval(counts(GOOD), BLEU_METRIC, samples=200)
    assert [found.low, found.high] == pytest.approx(np.quantile(scores, [0.025, 0.975]))
    assert (found.confidence, found.samples, found.seed) == (0.95, 200, 12345)


def test_samples_do_not_depend_on_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    def everything() -> list[Any]:
        return [
            interval(counts(GOOD), BLEU_METRIC, 200),
            paired_test(counts(GOOD), counts(BAD), BLEU_METRIC, "randomization", 200),
            paired_test(counts(GOOD), counts(BAD), BLEU_METRIC, "bootstrap", 200),
        ]

    cut = everything()
    monkeypatch.setattr(significance, "BLOCK", 1000)
    assert everything() == cut


def test_wer_too() -> None:
    good, bad = counts(GOOD, WER_METRIC), counts(BAD, WER_METRIC)
    found = interval(good, WER_METRIC, 300)
    assert found.low < WER_METRIC.score(good.sum(axis=0)) < found.high
    worse = difference_interval(good, bad, WER_METRIC, 300)
    assert 0.0 < worse.low < worse.high
    assert paired_test(good, bad, WER_METRIC, trials=300) < 0.05


def test_a_system_does_not_differ_from_itself() -> None:
    same = counts(GOOD)
    assert paired_test(same, same, BLEU_METRIC, trials=50) == 1.0
    assert paired_test(same, same, BLEU_METRIC, "bootstrap", trials=50) == 1.0
    found = difference_interval(same, same, BLEU_METRIC, 50)
    assert (found.low, found.high) == (0.0, 0.0)


def test_a_wider_confidence_is_a_wider_interval() -> None:
    narrow, wide = (interval(counts(GOOD), BLEU_METRIC, 200, confidence=c) for c in (0.5, 0.99))
    assert wide.low < narrow.low < narrow.high < wide.high
    assert interval(counts(GOOD), BLEU_METRIC, 200, seed=1) != interval(
        counts(GOOD), BLEU_METRIC, 200, seed=2
    )


def test_what_cannot_be_tested() -> None:
    some = counts(GOOD)
    with pytest.raises(ReferenceMismatchError, match="different segments; expected 90 segments; got 89"):
        paired_test(some, some[1:], BLEU_METRIC)
    with pytest.raises(ReferenceMismatchError, match="nothing to resample"):
        interval(some[:0], BLEU_METRIC)
    with pytest.raises(ConfigError, match="expected randomization or bootstrap; got 'sign'"):
        paired_test(some, some, BLEU_METRIC, "sign")  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="too few samples"):
        interval(some, BLEU_METRIC, samples=0)
    with pytest.raises(ConfigError, match="no such confidence"):
        interval(some, BLEU_METRIC, confidence=1.0)
