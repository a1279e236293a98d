"""How sure a corpus score is, and whether two systems differ: resampling of segments' counts.

Samples are drawn as sacrebleu draws them (``significance.py``), so the same seed gives the same p-values
unless chance differences tie with the real one.
"""

from collections.abc import Iterator
from dataclasses import dataclass
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
    """Bootstrap interval of the corpus score of counts (S, K); Koehn 2004, section 3."""
    _check(counts, samples, confidence)
    scores = _bootstrap([counts], metric, samples, seed)[0]
    return _percentiles(scores, confidence, seed)


def difference_interval(
    first: Ints,
    second: Ints,
    metric: Metric,
    samples: int = SAMPLES,
    seed: int = SEED,
    confidence: float = 0.95,
) -> Interval:
    """Bootstrap interval of the second system's score minus the first's on the same drawn segments."""
    _check(first, samples, confidence, second)
    before, after = _bootstrap([first, second], metric, samples, seed)
    return _percentiles(after - before, confidence, seed)


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
    ``bootstrap`` resamples them (Koehn 2004) and centres the differences, 1000. A chance difference that
    equals the real one counts (sacrebleu's does not), so a system does not differ from itself.
    """
    if method == "randomization":
        drawn = TRIALS if trials is None else trials
    elif method == "bootstrap":
        drawn = SAMPLES if trials is None else trials
    else:
        raise ConfigError("unknown test", expected="randomization or bootstrap", got=repr(method))
    _check(first, drawn, 0.95, second)
    difference = abs(float(metric.score(second.sum(axis=0)) - metric.score(first.sum(axis=0))))
    if method == "randomization":
        chance = np.abs(_shuffled_differences(first, second, metric, drawn, seed))
    else:
        before, after = _bootstrap([first, second], metric, drawn, seed)
        chance = np.abs(after - before)
        chance -= chance.mean()
    return (int((chance >= difference - ROUNDING).sum()) + 1) / (drawn + 1)


def _bootstrap(systems: list[Ints], metric: Metric, samples: int, seed: int) -> list[Floats]:
    """For each system (samples,) scores of segments drawn with replacement, the same for every system."""
    random = np.random.default_rng(seed)
    size = len(systems[0])
    scores: list[list[Floats]] = [[] for _ in systems]
    for count in _blocks(samples):
        drawn = random.choice(size, size=(count, size), replace=True)  # (B, S)
        drawn += size * np.arange(count)[:, None]
        times = np.bincount(drawn.ravel(), minlength=count * size).reshape(count, size)
        for system, found in zip(systems, scores, strict=True):
            found.append(metric.score(_sums(times, system)))
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
    if not len(counts):
        raise ReferenceMismatchError("nothing to resample", expected="at least one segment", got="0")
    if other is not None and other.shape != counts.shape:
        raise ReferenceMismatchError(
            "the two systems have different segments", expected=f"{len(counts)} segments", got=f"{len(other)}"
        )
    if samples < 1:
        raise ConfigError("too few samples", expected="at least 1", got=str(samples))
    if not 0.0 < confidence < 1.0:
        raise ConfigError("no such confidence", expected="more than 0, less than 1", got=str(confidence))
