"""The log-linear model: a hypothesis' score is the sum of its features times their weights.

Sums are float64 and made column by column, in the order of the columns: a matrix product may round a row
differently in a block of another size, and output must not depend on how the lists were cut.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from nbest.errors import FormatError, WeightsError
from rescoring.nbest import NbestLists
from rescoring.weights import WeightSet

Floats = NDArray[np.float64]
Rows = NDArray[np.int64]


def vector(weights: WeightSet, lists: NbestLists) -> Floats:
    """(F,) the weight of each column of `lists`.

    Raises WeightsError unless both have the same features with the same widths.
    """
    return weights.vector(lists.schema)


def totals(lists: NbestLists, vector: Floats) -> Floats:
    """(N,) weighted sums, float64, larger is better, of weights (F,), or (S, F) where each list has its own.

    Raises WeightsError for a sum that is not finite.
    """
    _check_width(lists, vector)
    own = vector.ndim == 2
    sums = np.zeros(len(lists.texts))
    with np.errstate(over="ignore", invalid="ignore"):
        for column in range(vector.shape[-1]):
            weight = vector[lists.segments, column] if own else float(vector[column])
            sums += lists.features[:, column] * weight
    if not np.isfinite(sums).all():
        row = int(np.flatnonzero(~np.isfinite(sums))[0])
        raise WeightsError(
            "weighted sum is not finite",
            where=lists.where(row),
            expected="a finite number",
            got=str(sums[row]),
        )
    return sums


def contributions(lists: NbestLists, vector: Floats) -> Floats:
    """(N, schema) what each feature adds to the total; a wide feature's columns are summed."""
    _check_width(lists, vector)
    parts = np.zeros((len(lists.texts), len(lists.schema)))
    column = 0
    for place, feature in enumerate(lists.schema):
        for _ in range(feature.width):
            parts[:, place] += lists.features[:, column] * float(vector[column])
            column += 1
    return parts


def ranking(lists: NbestLists, totals: Floats) -> Rows:
    """(N,) rows list by list, best first; of equal totals the earlier hypothesis is first."""
    return np.lexsort((-totals, lists.segments))  # stable: ties keep their order


def one_best(lists: NbestLists, totals: Floats) -> Rows:
    """(S,) the best row of each list; of equal totals the earlier. Raises FormatError for an empty list."""
    sizes = np.diff(lists.offsets)
    if (sizes == 0).any():
        empty = lists.ids[int(np.flatnonzero(sizes == 0)[0])]
        raise FormatError("an empty list has no best hypothesis", where=f"{lists.source}, list {empty!r}")
    if not len(sizes):
        return np.zeros(0, dtype=np.int64)
    highest = np.maximum.reduceat(totals, lists.offsets[:-1])  # (S,)
    winners = np.flatnonzero(totals == np.repeat(highest, sizes))
    _, first = np.unique(lists.segments[winners], return_index=True)
    return np.asarray(winners[first], dtype=np.int64)


def _check_width(lists: NbestLists, vector: NDArray[Any]) -> None:
    width = lists.features.shape[1]
    if vector.shape not in ((width,), (len(lists), width)):
        raise WeightsError(
            "weight vector does not fit the lists",
            where=lists.source,
            expected=f"{lists.features.shape[1]} weights",
            got=f"shape {vector.shape}",
        )
