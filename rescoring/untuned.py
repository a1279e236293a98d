"""Weights for lists that nobody has tuned on: a model's say is measured by the spread of each list.

Decoders' totals come in scales of their own: a nat of a language model is worth some 0.1 of a Moses total
with untuned weights, and some 4 where a recogniser adds 9.5 times its own model to the acoustics. What can be
known of a list by itself is how far its hypotheses lie apart, in the total (T) and in a model's
log-probability (L):

    score = T + SCALE / models * spread * L          spread = (sd T / sd L) ** ((n - 1) / (n + 1))

sd is the standard deviation over the n hypotheses of the list. In a list of few it says little, so that the
ratio is drawn towards 1, as if T and L were both in nats. The rule sees one list at a time: a ranking does
not depend on what else a file or a request holds.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from rescoring.nbest import NbestLists

SCALE = 1.0  # of 0.125 to 2, chosen on dev lists of two tasks: benchmarks/untuned.py, docs/tuning.md

Floats = NDArray[np.float64]


def untuned_vectors(
    lists: NbestLists, total: str | None, models: Sequence[str], scale: float = SCALE
) -> Floats:
    """(S, F) for each list a weight of each column: 1 of `total`, by the spreads of the `models`, else 0.

    Without a total each model has 1. All of them are features of one column.
    """
    vectors = np.zeros((len(lists), lists.features.shape[1]))
    if total is not None:
        vectors[:, lists.columns(total)] = 1.0
    for name in models:
        weights = (
            np.ones(len(lists))
            if total is None
            else scale / len(models) * spread_ratios(lists.feature(total), lists.feature(name), lists.offsets)
        )
        vectors[:, lists.columns(name)] = weights[:, None]
    return vectors


def spread_ratios(first: Floats, second: Floats, offsets: NDArray[np.int64]) -> Floats:
    """(S,) how much wider `first` (N,) or (N, 1) is spread than `second` in each list; short lists: near 1.

    1 where either has no spread: of equal totals the model alone decides, an equal model decides nothing.
    """
    ratios = np.ones(len(offsets) - 1)
    for segment, (start, stop) in enumerate(zip(offsets[:-1].tolist(), offsets[1:].tolist(), strict=True)):
        spreads = [_deviation(values[start:stop].reshape(-1)) for values in (first, second)]
        if all(spreads):
            count = stop - start
            ratios[segment] = np.exp(np.log(spreads[0] / spreads[1]) * (count - 1) / (count + 1))
    return ratios


def _deviation(values: Floats) -> float:
    """Standard deviation, of the list's own numbers alone: rounded the same wherever the list stands."""
    if not len(values) or (values == values[0]).all():
        return 0.0  # exactly, where the mean would be rounded
    with np.errstate(over="ignore", invalid="ignore"):
        return float(np.std(values.copy()))
