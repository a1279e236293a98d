"""One output beside another on the same segments: the difference, its interval, and whether it is chance."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from nbest.errors import ReferenceMismatchError, shorten
from rescoring.metrics.base import Metric, References
from rescoring.significance import SAMPLES, SEED, TRIALS, difference_interval, paired_test

Scored = tuple[Sequence[str], References]  # S hypotheses and their references


@dataclass(frozen=True)
class Comparison:
    """A system against a baseline.

    score       the baseline's
    difference  the system's score minus the baseline's
    interval    its bootstrap percentiles, of `confidence`
    p_value     two-sided, by `test` with `trials`
    """

    score: float
    difference: float
    interval: tuple[float, float]
    confidence: float
    p_value: float
    test: str
    trials: int


def compare(
    baseline: Scored,
    system: Scored,
    metric: Metric,
    samples: int = SAMPLES,
    seed: int = SEED,
    names: tuple[str, str] = ("baseline", "system"),
) -> Comparison:
    """Paired approximate randomization (`TRIALS`) and a paired bootstrap (`samples`).

    Raises ReferenceMismatchError, with `names` of the two outputs, unless both have the same references in
    the same order.
    """
    (before, theirs), (after, ours) = baseline, system
    known = [tuple(map(tuple, several)) for several in (theirs, ours)]
    if known[0] != known[1]:
        pairs = enumerate(zip(*known, strict=False), start=1)
        odd = next((f"segment {number}: {shorten(str(x))}" for number, (x, y) in pairs if x != y), None)
        raise ReferenceMismatchError(
            "the two outputs have different segments",
            where=names[0],
            expected=f"the {len(known[1])} segments of {names[1]}, in its order",
            got=odd or f"{len(known[0])} segments",
        )
    segments = np.arange(len(before))
    first, second = metric.counts(before, segments, theirs), metric.counts(after, segments, ours)  # (S, K)
    scores = [metric.report(texts, ours).score for texts in (before, after)]
    near = difference_interval(first, second, metric, samples, seed)
    return Comparison(
        score=scores[0],
        difference=scores[1] - scores[0],
        interval=(near.low, near.high),
        confidence=near.confidence,
        p_value=paired_test(first, second, metric, seed=seed),
        test="randomization",
        trials=TRIALS,
    )
