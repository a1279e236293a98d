"""A ranking looked at from all sides: lists, weights and references in, everything a report shows out."""

from collections.abc import Sequence
from dataclasses import dataclass

from rescoring.alignment import Confusions, align, confusions
from rescoring.breakdown import Breakdown, breakdown
from rescoring.comparison import Comparison, Run, compare
from rescoring.depth import Depth, depths
from rescoring.groups import Groups
from rescoring.metrics.base import Metric, References
from rescoring.pipeline import Ranked
from rescoring.segment_changes import Extremes, extremes, segment_gains
from rescoring.significance import SAMPLES, SEED, TRIALS
from rescoring.weight_curves import WeightCurve, columns_of, weight_curves

BEFORE, AFTER = "lists' order", "these weights"


@dataclass(frozen=True)
class Study:
    """What is known of a ranking.

    comparison  of the best hypotheses (second) with the first ones of the lists (first)
    curves      the score against each weight, the others fixed; the weight that matters most first
    constant    columns with a weight that are the same in every list, and so have no curve
    depths      1-best and oracle of shorter lists; the last is of the whole ones
    outputs     (S,) texts of the first hypotheses, and of the best, as they are compared
    changes     the segments that changed most
    confusions  the commonest errors of the best hypotheses; None unless the metric is WER
    """

    comparison: Comparison
    curves: tuple[WeightCurve, ...]
    constant: tuple[str, ...]
    depths: tuple[Depth, ...]
    outputs: tuple[Sequence[str], Sequence[str]]
    changes: Extremes
    breakdowns: tuple[Breakdown, ...]
    confusions: Confusions | None


def study(
    ranked: Ranked,
    texts: Sequence[str],
    references: References,
    metric: Metric,
    *,
    groups: Sequence[Groups] = (),
    clusters: Groups | None = None,
    most: int = 10,
    samples: int = SAMPLES,
    trials: int = TRIALS,
    seed: int = SEED,
) -> Study:
    """Everything about `ranked` lists whose N `texts`, as they are compared, have these references.

    `most` segments and errors of each kind. Raises what counting, ranking and resampling raise.
    """
    lists = ranked.lists
    counts = metric.counts(texts, lists.segments, references)  # (N, K)
    before = [texts[row] for row in lists.offsets[:-1].tolist()]
    after = [texts[row] for row in ranked.best.tolist()]
    comparison = compare(
        [Run(BEFORE, before, references)],
        [Run(AFTER, after, references)],
        metric,
        samples,
        seed,
        trials,
        clusters,
    )
    first, second = comparison.first.counts[0], comparison.second.counts[0]  # (S, K) each
    assert ranked.weights is not None  # a report is of weights
    named = ranked.weights.features
    curves = weight_curves(lists, ranked.vector, counts, metric, named)
    shown = {curve.name for curve in curves}
    wrong = None
    if metric.name == "wer":
        wrong = confusions(align(after, [several[0] for several in references]), most)
    return Study(
        comparison=comparison,
        curves=tuple(sorted(curves, key=lambda curve: -float(curve.scores.max() - curve.scores.min()))),
        constant=tuple(name for _, name in columns_of(lists, named) if name not in shown),
        depths=tuple(depths(ranked.totals, counts, lists.offsets, metric)),
        outputs=(before, after),
        changes=extremes(segment_gains(first, second, metric), most),
        breakdowns=tuple(breakdown(one, metric, first, second, samples=samples, seed=seed) for one in groups),
        confusions=wrong,
    )
