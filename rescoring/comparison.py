"""One system beside another on the same segments: the difference, its interval, and whether it is chance.

A system is one output, or several from runs of its optimizer that differ in nothing but chance (Clark et al.
2011): one tuning each says little about two systems.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import comb

import numpy as np
from numpy.typing import NDArray

from nbest.errors import ReferenceMismatchError, shorten
from rescoring.alignment import align
from rescoring.evaluation import resampled
from rescoring.groups import Groups
from rescoring.matched_pairs import mapsswe
from rescoring.metrics.base import Metric, References, single_references
from rescoring.significance import (
    SAMPLES,
    SEED,
    TRIALS,
    Interval,
    difference_interval,
    interval,
    paired_test,
    runs_test,
)

Ints = NDArray[np.int64]


@dataclass(frozen=True)
class Run:
    """An output with the references that it was read with; `name` is for messages."""

    name: str
    hypotheses: Sequence[str]
    references: References


@dataclass(frozen=True)
class System:
    """One system's runs.

    names      of the outputs
    scores     of each run, by the reference implementation
    interval   bootstrap interval of their mean
    counts     (R, S, K)
    """

    names: tuple[str, ...]
    scores: tuple[float, ...]
    interval: Interval
    counts: Ints

    @property
    def mean(self) -> float:
        """Of the runs' scores."""
        return float(np.mean(self.scores))

    @property
    def deviation(self) -> float | None:
        """Standard deviation between runs: what the luck of the optimizer is worth; None for one run."""
        return float(np.std(self.scores, ddof=1)) if len(self.scores) > 1 else None


@dataclass(frozen=True)
class Verdict:
    """What a test says: how often chance alone would make a difference as large.

    p_value    two-sided; None where the test could not be made, and `note` says why
    trials     resamplings, where it resamples
    statistic  W of the matched pairs
    """

    test: str
    p_value: float | None
    trials: int | None = None
    statistic: float | None = None
    note: str | None = None

    @property
    def said(self) -> str:
        """What belongs to the p-value, in words."""
        parts = [
            None if self.trials is None else f"{self.trials} trials",
            None if self.statistic is None else f"W {self.statistic:+.2f}",
            self.note,
        ]
        return ", ".join(filter(None, parts))


@dataclass(frozen=True)
class Comparison:
    """Two systems.

    difference          the second's mean score minus the first's
    interval            its bootstrap interval over segments (or clusters), the runs being these
    interval_with_runs  the runs drawn too; None where both systems have one
    tests               those that fit the metric and the runs
    units               how many segments or clusters were resampled
    signature           the metric's
    """

    first: System
    second: System
    difference: float
    interval: Interval
    interval_with_runs: Interval | None
    tests: tuple[Verdict, ...]
    units: int
    signature: str

    def verdict(self, test: str) -> Verdict:
        """That of the test called so."""
        return next(one for one in self.tests if one.test == test)


def compare(
    first: Sequence[Run],
    second: Sequence[Run],
    metric: Metric,
    samples: int = SAMPLES,
    seed: int = SEED,
    trials: int = TRIALS,
    clusters: Groups | None = None,
) -> Comparison:
    """The second system against the first, each of one run or more.

    Resampling is by segments, or by whole `clusters` such as speakers, whose segments are not independent;
    the matched pairs of WER are always of segments within utterances.

    Raises ReferenceMismatchError, naming the outputs, unless all have the same references in the same order;
    ConfigError for a single cluster.
    """
    _check(first, second)
    references = first[0].references

    def system(runs: Sequence[Run]) -> tuple[System, str]:
        reports = [metric.report(run.hypotheses, references) for run in runs]
        segments = np.arange(len(references))
        counts = np.stack([metric.counts(run.hypotheses, segments, references) for run in runs])  # (R, S, K)
        near = interval(_units(counts, clusters), metric, samples, seed)
        scores = tuple(report.score for report in reports)
        return System(tuple(run.name for run in runs), scores, near, counts), reports[0].signature

    (one, signature), (other, _) = system(first), system(second)
    before, after = _units(one.counts, clusters), _units(other.counts, clusters)
    several = len(first) > 1 or len(second) > 1
    tests = [
        Verdict("randomization", paired_test(before, after, metric, trials=trials, seed=seed), trials),
        Verdict("bootstrap", paired_test(before, after, metric, "bootstrap", samples, seed), samples),
    ]
    if metric.name == "wer":
        tests.append(_matched_pairs(first, second))
    if len(first) > 1 and len(second) > 1:
        ways = comb(len(first) + len(second), len(second))
        least = (2 if len(first) == len(second) else 1) / ways
        said = f"{ways} ways to divide the runs: p is {least:.2g} or more"
        tests.append(Verdict("runs", runs_test(one.scores, other.scores, trials, seed), note=said))
    return Comparison(
        first=one,
        second=other,
        difference=other.mean - one.mean,
        interval=difference_interval(before, after, metric, samples, seed),
        interval_with_runs=(
            difference_interval(before, after, metric, samples, seed, resample_runs=True) if several else None
        ),
        tests=tuple(tests),
        units=before.shape[-2],
        signature=signature,
    )


def _units(counts: Ints, clusters: Groups | None) -> Ints:
    """(S or G, K) of one run, (R, S or G, K) of several."""
    counts = counts if clusters is None else resampled(counts, clusters)
    return counts[0] if len(counts) == 1 else counts


def _matched_pairs(first: Sequence[Run], second: Sequence[Run]) -> Verdict:
    if len(first) > 1 or len(second) > 1:
        return Verdict("mapsswe", None, note="compares one output with one other")
    spoken = single_references(first[0].references, "word error rate")
    found = mapsswe(align(first[0].hypotheses, spoken), align(second[0].hypotheses, spoken))
    note = "; ".join(filter(None, (f"{found.segments} segments with errors", found.note)))
    return Verdict("mapsswe", found.p_value, statistic=found.statistic, note=note)


def _check(first: Sequence[Run], second: Sequence[Run]) -> None:
    """Raises ReferenceMismatchError unless all runs have the references of the second system's first run."""
    if not first or not second:
        raise ReferenceMismatchError("no output to compare", expected="at least one of each system", got="0")
    ours = tuple(map(tuple, second[0].references))
    for run in (*first, *second[1:]):
        theirs = tuple(map(tuple, run.references))
        if theirs == ours:
            continue
        pairs = enumerate(zip(theirs, ours, strict=False), start=1)
        odd = next((f"segment {number}: {shorten(str(x))}" for number, (x, y) in pairs if x != y), None)
        raise ReferenceMismatchError(
            "the two outputs have different segments",
            where=run.name,
            expected=f"the {len(ours)} segments of {second[0].name}, in its order",
            got=odd or f"{len(theirs)} segments",
        )
