"""How sure a corpus score is, and whether two systems differ: resampling of segments' counts.

Samples are drawn as sacrebleu draws them (``significance.py``), so the same seed gives the same intervals
and, of the randomization, the same p-values unless chance differences tie with the real one. A system may
have several outputs, one for each run of its optimizer: counts (R, S, K) in place of (S, K). To resample
speakers and not segments, give counts summed by speaker (`rescoring.groups.Groups.sums`).
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations
from math import comb
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from nbest.errors import ConfigError, ReferenceMismatchError
from rescoring.metrics.base import Metric

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Method = Literal["randomization", "bootstrap"]

SEED = 12345  # sacrebleu's default
SAMPLES = 1000  # sacrebleu's default for the bootstrap
TRIALS = 10000  # sacrebleu's default for approximate randomization
ROUNDING = 1e-9  # points of the metric: differences nearer than this are equal
BLOCK = 64  # samples drawn at once; a multiple of 32 keeps the stream of random bits that of one draw


@dataclass(frozen=True)
class Interval:
    """A percentile interval: `confidence` of the resampled scores lie between `low` and `high`."""

    low: float
    high: float
    confidence: float
    samples: int
    seed: int


def interval(
    counts: Ints, metric: Metric, samples: int = SAMPLES, seed: int = SEED, confidence: float = 0.95
) -> Interval:
    """Bootstrap interval of the corpus score of counts (S, K); Koehn 2004, section 3.

    Of counts (R, S, K) that of the runs' mean score.
    """
    _check(counts, samples, confidence)
    scores = _bootstrap([counts], metric, samples, seed)[0].mean(axis=1)
    return _percentiles(scores, confidence, seed)


def difference_interval(
    first: Ints,
    second: Ints,
    metric: Metric,
    samples: int = SAMPLES,
    seed: int = SEED,
    confidence: float = 0.95,
    *,
    resample_runs: bool = False,
) -> Interval:
    """Bootstrap interval of the second system's score minus the first's on the same drawn segments.

    A system of several runs scores their mean; with `resample_runs` each sample draws its runs too, with
    replacement, so that the luck of the optimizer is in the interval.
    """
    _check(first, samples, confidence, second)
    before, after = _bootstrap([first, second], metric, samples, seed)  # (samples, R) each
    if resample_runs:
        random = np.random.default_rng([seed, 1])  # the segments stay those of the other interval
        before, after = (
            np.take_along_axis(one, random.integers(one.shape[1], size=one.shape), axis=1)
            for one in (before, after)
        )
    return _percentiles(after.mean(axis=1) - before.mean(axis=1), confidence, seed)


def paired_test(
    first: Ints,
    second: Ints,
    metric: Metric,
    method: Method = "randomization",
    trials: int | None = None,
    seed: int = SEED,
) -> float:
    """Two-sided p-value of the difference between two systems' counts (S, K) on the same segments.

    ``randomization`` swaps segments at random (Riezler and Maxwell 2005), `trials` is 10000 unless given;
    ``bootstrap`` resamples them (Koehn 2004) and counts differences as far from their mean as the real one
    is from 0 (Riezler and Maxwell 2005, figure 2), 1000. A chance difference that equals the real one counts
    (sacrebleu's does not), so a system does not differ from itself. sacrebleu's own p-value of the bootstrap
    takes absolute values before it centres: that is one tail, about half of this one.

    With several runs (R, S, K) the randomization is stratified (Clark et al. 2011, as MultEval does): the
    outputs of a segment are dealt out anew among all runs of both systems, and what is compared is the score
    of all of a system's runs as one corpus; the bootstrap compares mean scores.
    """
    if method == "randomization":
        drawn = TRIALS if trials is None else trials
    elif method == "bootstrap":
        drawn = SAMPLES if trials is None else trials
    else:
        raise ConfigError("unknown test", expected="randomization or bootstrap", got=repr(method))
    _check(first, drawn, 0.95, second)
    if method == "randomization":
        difference = float(metric.score(_pooled(second)) - metric.score(_pooled(first)))
        if first.ndim == second.ndim == 2:
            chance = np.abs(_shuffled_differences(first, second, metric, drawn, seed))
        else:
            chance = np.abs(_dealt_differences(_runs(first), _runs(second), metric, drawn, seed))
    else:
        difference = _mean_score(second, metric) - _mean_score(first, metric)
        before, after = _bootstrap([first, second], metric, drawn, seed)
        differences = after.mean(axis=1) - before.mean(axis=1)
        chance = np.abs(differences - differences.mean())
    return (int((chance >= abs(difference) - ROUNDING).sum()) + 1) / (drawn + 1)


def runs_test(
    first: Sequence[float], second: Sequence[float], trials: int = TRIALS, seed: int = SEED
) -> float:
    """Two-sided p-value of the difference of two systems' mean scores, whole runs being exchanged.

    Says whether the luck of the optimizer alone could have made the difference: segments stay as they are.
    Exact, over all ways to divide the runs, where these are no more than `trials`; else that many at random.
    """
    scores = np.array([*first, *second], dtype=np.float64)
    size, total = len(second), float(scores.sum())
    ways = comb(len(scores), size)
    real = abs(float(np.mean(second)) - float(np.mean(first)))
    if ways <= trials:
        chosen = np.array(list(combinations(range(len(scores)), size)), dtype=np.int64)  # (ways, R)
    else:
        random = np.random.default_rng(seed)
        chosen = np.argsort(random.random((trials, len(scores))), axis=1)[:, :size]
    mine = scores[chosen].sum(axis=1)
    chance = np.abs(mine / size - (total - mine) / len(first))
    as_large = int((chance >= real - ROUNDING).sum())
    return as_large / ways if ways <= trials else (as_large + 1) / (trials + 1)


def _runs(counts: Ints) -> Ints:
    """(R, S, K) of one run or several."""
    return counts[None] if counts.ndim == 2 else counts


def _pooled(counts: Ints) -> Ints:
    """(K,) summed over segments and runs."""
    return np.asarray(_runs(counts).sum(axis=(0, 1)))


def _mean_score(counts: Ints, metric: Metric) -> float:
    return float(metric.score(_runs(counts).sum(axis=1)).mean())


def _bootstrap(systems: list[Ints], metric: Metric, samples: int, seed: int) -> list[Floats]:
    """For each system (samples, R) scores of segments drawn with replacement, the same for every system."""
    random = np.random.default_rng(seed)
    several = [_runs(system) for system in systems]
    size = several[0].shape[1]
    flat = [np.moveaxis(system, 0, 1).reshape(size, -1) for system in several]  # (S, R * K)
    scores: list[list[Floats]] = [[] for _ in systems]
    for count in _blocks(samples):
        drawn = random.choice(size, size=(count, size), replace=True)  # (B, S)
        drawn += size * np.arange(count)[:, None]
        times = np.bincount(drawn.ravel(), minlength=count * size).reshape(count, size)
        for system, shape, found in zip(flat, several, scores, strict=True):
            found.append(metric.score(_sums(times, system).reshape(count, len(shape), -1)))  # (B, R)
    return [np.concatenate(found) for found in scores]


def _shuffled_differences(first: Ints, second: Ints, metric: Metric, trials: int, seed: int) -> Floats:
    """(trials,) differences between two systems that swap each segment with probability one half."""
    random = np.random.default_rng(seed)
    both = first.sum(axis=0) + second.sum(axis=0)
    differences = []
    for count in _blocks(trials):
        keep = random.integers(2, size=(count, len(first)), dtype=np.bool_)  # (B, S)
        mixed = _sums(keep, first) + _sums(~keep, second)
        differences.append(metric.score(mixed) - metric.score(both - mixed))
    return np.concatenate(differences)


def _dealt_differences(first: Ints, second: Ints, metric: Metric, trials: int, seed: int) -> Floats:
    """(trials,) differences between the pools, each segment's outputs being dealt out anew.

    Which outputs the first system gets is drawn one after the other, each with the probability that leaves
    every choice of R of them equally likely (Knuth's algorithm S).
    """
    random = np.random.default_rng(seed)
    both = np.concatenate([first, second])  # (M, S, K)
    total = both.sum(axis=(0, 1))
    differences = []
    for count in _blocks(trials):
        wanted = np.full((count, both.shape[1]), len(first))  # (B, S) how many it still gets
        mixed = np.zeros((count, both.shape[2]))
        for place, output in enumerate(both):
            take = random.random(wanted.shape) * (len(both) - place) < wanted
            wanted -= take
            mixed += _sums(take, output)
        differences.append(metric.score(total - mixed) - metric.score(mixed))
    return np.concatenate(differences)


def _sums(times: NDArray[np.generic], counts: Ints) -> Floats:
    """(B, K) weighted sums; float64 holds them exactly below 2**53 and multiplies faster than integers."""
    return times.astype(np.float64) @ counts.astype(np.float64)


def _blocks(samples: int) -> Iterator[int]:
    for start in range(0, samples, BLOCK):
        yield min(BLOCK, samples - start)


def _percentiles(scores: Floats, confidence: float, seed: int) -> Interval:
    low, high = np.quantile(scores, [(1 - confidence) / 2, (1 + confidence) / 2])
    return Interval(float(low), float(high), confidence, len(scores), seed)


def _check(counts: Ints, samples: int, confidence: float, other: Ints | None = None) -> None:
    segments = counts.shape[-2]
    if not segments or not len(counts):
        raise ReferenceMismatchError("nothing to resample", expected="at least one segment", got="0")
    if other is not None and other.shape[-2:] != counts.shape[-2:]:
        raise ReferenceMismatchError(
            "the two systems have different segments",
            expected=f"{segments} segments",
            got=f"{other.shape[-2]}",
        )
    if samples < 1:
        raise ConfigError("too few samples", expected="at least 1", got=str(samples))
    if not 0.0 < confidence < 1.0:
        raise ConfigError("no such confidence", expected="more than 0, less than 1", got=str(confidence))
