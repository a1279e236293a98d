"""k-means: which of a few centres stands for each of many short vectors.

Centres start by k-means++ (Arthur and Vassilvitskii, 2007) and move until nothing changes; chance comes from
the generator that is given. One such clustering for each position of a vector is product quantisation (Jegou,
Douze and Schmid, 2011).
"""

import numpy as np
from numpy.typing import NDArray

MOST_ROUNDS = 25  # the rest changes the error by less than a hundredth (captions, 7,447 rows, 931 centres)
_BLOCK_NUMBERS = 1 << 22  # of distances at a time: 32 MB

Points = NDArray[np.float64]
Codes = NDArray[np.int32]


def clustered(
    points: Points, count: int, random: np.random.Generator, weights: Points | None = None
) -> tuple[Codes, Points]:
    """((n,) codes in [0, count), (count, d) centres) of points (n, d), each with its nearest centre.

    weights  (n,) positive: how much each point's squared distance counts; by default all count the same

    Where no more than `count` points differ, each is a centre, and centres that are left over are zero.
    """
    weights = np.ones(len(points)) if weights is None else weights
    centres = _spread(points, count, random, weights)
    codes, distances = _nearest(points, centres)
    for _ in range(MOST_ROUNDS):
        if not distances.any():
            break
        centres = _means(points, codes, distances, len(centres), weights)
        before = codes
        codes, distances = _nearest(points, centres)
        if np.array_equal(codes, before):
            break
    return codes, np.concatenate([centres, np.zeros((count - len(centres), points.shape[1]))])


def means_of(points: Points, codes: Codes, count: int, weights: Points) -> Points:
    """(count, d) weighted mean of the points of each code, nearest to them all; zero for a code of none."""
    totals = np.bincount(codes, weights=weights, minlength=count)
    weighted = points.T * weights
    sums = np.stack([np.bincount(codes, weights=row, minlength=count) for row in weighted], axis=1)
    means: Points = sums / np.where(totals > 0, totals, 1.0)[:, None]
    return means


def _spread(points: Points, count: int, random: np.random.Generator, weights: Points) -> Points:
    """At most `count` different points, each drawn by its weighted squared distance to those before."""
    chosen = [points[random.integers(len(points))]]
    distances = ((points - chosen[0]) ** 2).sum(1) * weights
    while len(chosen) < count and (total := float(distances.sum())) > 0:
        sums = np.cumsum(distances)
        index = int(np.searchsorted(sums, random.random() * total, side="right"))
        index = min(index, len(points) - 1)
        if distances[index] == 0:  # rounding of the sums; the farthest is no worse a choice
            index = int(distances.argmax())
        chosen.append(points[index])
        np.minimum(distances, ((points - points[index]) ** 2).sum(1) * weights, out=distances)
    return np.stack(chosen)


def _nearest(points: Points, centres: Points) -> tuple[Codes, Points]:
    """((n,) code of the nearest centre, the first of equal ones; (n,) squared distance)."""
    codes = np.empty(len(points), dtype=np.int32)
    lengths = (centres**2).sum(1)
    block = max(1, _BLOCK_NUMBERS // len(centres))
    for start in range(0, len(points), block):
        part = slice(start, start + block)
        products = points[part] @ centres.T  # (block, count)
        codes[part] = (lengths - 2 * products).argmin(1)
    return codes, ((points - centres[codes]) ** 2).sum(1)


def _means(points: Points, codes: Codes, distances: Points, count: int, weights: Points) -> Points:
    """The centres moved to the means of their points; one without points to a point that is farthest off."""
    centres = means_of(points, codes, count, weights)
    empty = np.flatnonzero(np.bincount(codes, minlength=count) == 0)
    farthest = np.argsort(-distances * weights, kind="stable")[: len(empty)]
    centres[empty[: len(farthest)]] = points[farthest]
    return centres
