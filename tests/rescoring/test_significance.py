"""Intervals and p-values, against sacrebleu's own paired tests."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from sacrebleu.metrics.bleu import BLEU
from sacrebleu.significance import PairedTest, _bootstrap_resample

from nbest.errors import ConfigError, ReferenceMismatchError
from rescoring import significance
from rescoring.groups import by_label
from rescoring.metrics import get_metric
from rescoring.significance import _bootstrap, difference_interval, interval, paired_test, runs_test

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


def sacrebleus(system: list[str], test: Any, trials: int, monkeypatch: pytest.MonkeyPatch) -> float:
    monkeypatch.setenv("SACREBLEU_SEED", "12345")
    paired = PairedTest(
        [("first", GOOD), ("second", system)],
        {"BLEU": BLEU(tokenize="none", force=True)},
        [REFERENCES],
        test_type=test,
        n_samples=trials,
    )
    found: float = paired()[1]["BLEU"][1].p_value  # type: ignore[union-attr, assignment]
    return found


@pytest.mark.parametrize("system", [BAD, OTHER])
def test_randomization_is_sacrebleus(system: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    wanted = sacrebleus(system, "ar", 300, monkeypatch)
    assert paired_test(counts(GOOD), counts(system), BLEU_METRIC, trials=300) == pytest.approx(wanted)


@pytest.mark.parametrize("system", [BAD, OTHER])
def test_bootstrap_samples_are_sacrebleus(system: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Its p-value takes absolute values first, and so has one tail only; ours is of the same samples."""
    first, second = counts(GOOD), counts(system)
    before, after = (one[:, 0] for one in _bootstrap([first, second], BLEU_METRIC, 300, 12345))
    real = abs(float(BLEU_METRIC.score(second.sum(axis=0)) - BLEU_METRIC.score(first.sum(axis=0))))
    one_tail = np.abs(after - before)
    one_tail = (int((one_tail - one_tail.mean() > real).sum()) + 1) / 301
    assert one_tail == pytest.approx(sacrebleus(system, "bs", 300, monkeypatch))
    differences = after - before
    both_tails = (int((np.abs(differences - differences.mean()) >= real).sum()) + 1) / 301
    assert paired_test(first, second, BLEU_METRIC, "bootstrap", 300) == both_tails >= one_tail


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


def simulated(rates: Sequence[float], segments: int, random: np.random.Generator) -> Any:
    """(R, S, 4) WER counts of runs with these error rates, 10 words a segment, errors all independent."""
    wrong = np.stack([random.binomial(10, rate, segments) for rate in rates])
    return np.stack([wrong, 0 * wrong, 0 * wrong, 0 * wrong + 10], axis=-1)


@pytest.mark.parametrize(
    ("method", "runs"),
    [("randomization", (1, 1)), ("randomization", (2, 3)), ("bootstrap", (1, 1)), ("bootstrap", (2, 3))],
)
def test_p_values_are_uniform_where_nothing_differs(method: Any, runs: tuple[int, int]) -> None:
    random = np.random.default_rng(7)
    values = []
    for trial in range(300):
        one, other = (simulated([0.2] * many, 500, random) for many in runs)  # long enough for few ties
        if runs == (1, 1):
            one, other = one[0], other[0]
        values.append(paired_test(one, other, WER_METRIC, method, 99, seed=trial))
    for level in (0.05, 0.1, 0.25, 0.5, 0.75):
        share = float(np.mean(np.array(values) <= level))
        assert share == pytest.approx(level, abs=3.3 * np.sqrt(level * (1 - level) / 300)), level


def test_one_tail_would_find_too_much() -> None:
    """Why the p-value of sacrebleu's bootstrap is not ours."""
    random = np.random.default_rng(8)
    theirs, ours = [], []
    for trial in range(300):
        one, other = (simulated([0.2], 500, random)[0] for _ in range(2))
        before, after = (drawn[:, 0] for drawn in _bootstrap([one, other], WER_METRIC, 99, trial))
        real = abs(float(WER_METRIC.score(other.sum(axis=0)) - WER_METRIC.score(one.sum(axis=0))))
        one_tail = np.abs(after - before)
        theirs.append((int((one_tail - one_tail.mean() > real).sum()) + 1) / 100)
        ours.append(paired_test(one, other, WER_METRIC, "bootstrap", 99, seed=trial))
    assert np.mean(np.array(theirs) <= 0.05) > 0.09
    assert np.mean(np.array(ours) <= 0.05) < 0.09


def test_dealing_is_every_way_to_deal() -> None:
    """The stratified randomization against the list of all ways, two runs against one."""
    first = np.array([[[1], [0]], [[0], [0]]])  # (R 2, S 2, K 1)
    second = np.array([[[3], [2]]])  # (R 1, S 2, K 1)

    class Sum:
        name, larger_is_better = "sum", True

        def score(self, sums: Any) -> Any:
            return np.asarray(sums, dtype=float)[..., 0]

    segments = [[1, 0, 3], [0, 0, 2]]
    total = sum(map(sum, segments))
    chance = [
        abs(total - 2 * (total - a - b))
        for a in segments[0]  # what the second system gets
        for b in segments[1]
    ]
    real = abs((3 + 2) - (1 + 0 + 0 + 0))
    exact = np.mean([value >= real for value in chance])
    found = paired_test(first, second, Sum(), trials=20000)  # type: ignore[arg-type]
    assert found == pytest.approx(exact, abs=0.01)


def test_several_runs_score_their_mean() -> None:
    one, other = counts(GOOD), counts(BAD)
    both = np.stack([one, one])
    assert interval(both, BLEU_METRIC, 50) == interval(one, BLEU_METRIC, 50)
    assert difference_interval(both, other, BLEU_METRIC, 50) == difference_interval(
        one, other, BLEU_METRIC, 50
    )
    mixed = np.stack([one, other])  # by hand, sample by sample
    random = np.random.default_rng(12345)
    scores = [
        np.mean([BLEU_METRIC.score(run[drawn].sum(axis=0)) for run in mixed])
        for drawn in random.choice(len(one), size=(50, len(one)), replace=True)
    ]
    found = interval(mixed, BLEU_METRIC, 50)
    assert [found.low, found.high] == pytest.approx(np.quantile(scores, [0.025, 0.975]))


def test_runs_that_differ_widen_the_interval() -> None:
    random = np.random.default_rng(3)
    one, other = simulated([0.1, 0.2, 0.3], 300, random), simulated([0.2, 0.2, 0.2], 300, random)
    fixed = difference_interval(one, other, WER_METRIC, 300)
    drawn = difference_interval(one, other, WER_METRIC, 300, resample_runs=True)
    assert drawn.high - drawn.low > 2 * (fixed.high - fixed.low)


def test_randomization_of_runs_needs_a_difference() -> None:
    random = np.random.default_rng(5)
    one, other = simulated([0.2] * 3, 200, random), simulated([0.2] * 5, 200, random)
    assert paired_test(one, one, WER_METRIC, trials=99) == 1.0
    assert paired_test(one, other, WER_METRIC, trials=99) > 0.05
    assert paired_test(one, simulated([0.25] * 5, 200, random), WER_METRIC, trials=99) == 0.01


def test_whole_runs_exchanged() -> None:
    """Of the 20 ways to divide six runs, two are as far apart as these."""
    assert runs_test([1.0, 2.0, 3.0], [4.0, 5.0, 6.0]) == 2 / 20
    assert runs_test([1.0, 1.0], [1.0, 1.0]) == 1.0
    assert runs_test([1.0], [2.0, 3.0]) == 2 / 3  # {1} and, on the other side, {3}
    many = [float(k) for k in range(12)]
    assert runs_test(many, [k + 12 for k in many], trials=500) == 1 / 501  # 2704156 ways: at random
    assert runs_test(many, many, trials=500) == 1.0


def test_segments_of_a_speaker_are_not_independent() -> None:
    """Each speaker suits one of two equal systems: segments alone find differences that clusters do not."""
    random = np.random.default_rng(9)
    speakers = by_label("speaker", [str(k) for k in range(30) for _ in range(10)])
    alone, whole = [], []
    for trial in range(150):
        tilt = np.repeat(random.normal(0.0, 0.06, 30), 10)
        one, other = (np.zeros((300, 4), dtype=np.int64) for _ in range(2))
        one[:, 0], other[:, 0] = (random.binomial(10, 0.3 + sign * tilt) for sign in (1, -1))
        one[:, 3] = other[:, 3] = 10
        alone.append(paired_test(one, other, WER_METRIC, "bootstrap", 99, seed=trial))
        one, other = speakers.sums(one), speakers.sums(other)
        whole.append(paired_test(one, other, WER_METRIC, "bootstrap", 99, seed=trial))
    assert np.mean(np.array(alone) <= 0.05) > 0.2
    assert np.mean(np.array(whole) <= 0.05) < 0.12
