"""Upper envelopes of many lists at once: along a line of weights each hypothesis is a line over g.

At weights ``w + g * d`` a hypothesis scores ``x . w + g * (x . d)``: intercept plus g times slope. A list's
best hypothesis changes only at the corners of the upper envelope of its lines (Och 2003, section 4), which is
the upper convex hull of the points (slope, intercept). Most points fall to one test against the two chords
between the hull's ends and its summit. What is left is sorted, and the hulls of all lists grow together:
every chord finds its highest point and splits there, and points below a chord never return.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

STEEPEST = 1e300  # of a chord: a finite one times 0 is 0


@dataclass(frozen=True)
class Heights:
    """The intercepts of N hypotheses: their scores where the line starts.

    values   (N,) finite
    summits  (S,) the first row with the highest intercept of each list
    below    (N,) how far each is below its list's summit, <= 0
    """

    values: Floats
    summits: Ints
    below: Floats

    @classmethod
    def of(cls, values: Floats, offsets: Ints) -> "Heights":
        """From (N,) intercepts of the lists bounded by `offsets` (S+1,), none of them empty."""
        summits = first_highest(values, np.arange(len(values)), offsets)
        return cls(values, summits, values - np.repeat(values[summits], np.diff(offsets)))


@dataclass(frozen=True)
class Slopes:
    """The slopes of N hypotheses along one direction, wherever the line starts.

    values   (N,) finite
    lowest   ascending rows whose slope is the lowest of their list
    highest  ascending rows whose slope is the highest of their list
    """

    values: Floats
    lowest: Ints
    highest: Ints

    @classmethod
    def of(cls, values: Floats, offsets: Ints) -> "Slopes":
        """From (N,) slopes of the lists bounded by `offsets` (S+1,), none of them empty."""
        begins, sizes = offsets[:-1], np.diff(offsets)
        lowest = values == np.repeat(np.minimum.reduceat(values, begins), sizes)
        highest = values == np.repeat(np.maximum.reduceat(values, begins), sizes)
        return cls(values, np.flatnonzero(lowest), np.flatnonzero(highest))


@dataclass(frozen=True)
class Envelopes:
    """The upper envelopes of S lists.

    rows     (E,) the hypotheses on them, list by list, in the order in which they are best
    starts   (S,) where each list begins in `rows`
    corners  (E,) the g from which on each is best; -inf for the first of a list
    """

    rows: Ints
    starts: Ints
    corners: Floats


def upper_envelopes(heights: Heights, slopes: Slopes, offsets: Ints) -> Envelopes:
    """The best hypothesis of every list at each g, for lists bounded by `offsets` (S+1,).

    Of identical lines the earlier row is taken. A line that only touches a corner may appear or not: it is
    best over no length. Within a list slopes ascend strictly, and corners ascend up to rounding.
    """
    rows, begins = _candidates(heights, slopes, offsets)
    hull = _upper_hulls(slopes.values[rows], heights.values[rows], begins)
    rows, starts = rows[hull], np.searchsorted(hull, begins[:-1])
    rises, runs = np.diff(heights.values[rows], prepend=0.0), np.diff(slopes.values[rows], prepend=0.0)
    rises[starts], runs[starts] = np.inf, 1.0
    with np.errstate(over="ignore"):  # nearly parallel lines meet very far away
        return Envelopes(rows, starts, -rises / runs)


def first_highest(values: Floats, rows: Ints, offsets: Ints) -> Ints:
    """(S,) the first of the ascending `rows` with the highest value of its list; each list has a row."""
    starts = np.searchsorted(rows, offsets[:-1])
    mine = values[rows]
    highest = np.repeat(np.maximum.reduceat(mine, starts), np.diff(starts, append=len(rows)))
    reached: Ints = rows[mine == highest]
    return reached[np.searchsorted(reached, offsets[:-1])]


def _candidates(heights: Heights, slopes: Slopes, offsets: Ints) -> tuple[Ints, Ints]:
    """(C,) rows that may be on a hull, list by list, slopes strictly ascending; (S+1,) where lists begin.

    The summit has the highest intercept, so the chord left of it rises and the right one falls, and a point
    is above them where it is above the lower of the two lines.
    """
    sizes = np.diff(offsets)
    first = first_highest(heights.values, slopes.lowest, offsets)  # (S,) rows
    last = first_highest(heights.values, slopes.highest, offsets)
    middle = slopes.values[heights.summits]  # (S,)
    across = slopes.values - np.repeat(middle, sizes)  # (N,)
    left = np.repeat(_ratio(heights.below[first], slopes.values[first] - middle), sizes)
    right = np.repeat(_ratio(heights.below[last], slopes.values[last] - middle), sizes)
    with np.errstate(over="ignore"):  # a line that falls out of the doubles is below every point
        left *= across
        right *= across
    keep = heights.below > np.minimum(left, right, out=left)
    keep[heights.summits] = keep[first] = keep[last] = True
    rows = np.flatnonzero(keep)
    segments = np.searchsorted(offsets, rows, side="right") - 1
    order = _by_list_and_slope(segments, slopes.values[rows], len(offsets) - 1)
    rows, segments = rows[order], segments[order]
    new_slope = np.diff(slopes.values[rows], prepend=np.nan) != 0.0
    starts = np.flatnonzero(new_slope | (np.diff(segments, prepend=-1) != 0))
    mine = heights.values[rows]
    highest = np.repeat(np.maximum.reduceat(mine, starts), np.diff(starts, append=len(rows)))
    best = np.minimum.reduceat(np.where(mine == highest, rows, len(keep)), starts)  # of each slope
    return best, np.searchsorted(segments[starts], np.arange(len(offsets)))


def _by_list_and_slope(segments: Ints, slopes: Floats, lists: int) -> Ints:
    """The order by list, then by slope; equal slopes in any order. Several times faster than np.lexsort."""
    order = np.argsort(slopes)
    narrow = np.uint16 if lists <= 1 << 16 else np.int64  # numpy sorts 16-bit integers by radix
    return order[np.argsort(segments[order].astype(narrow), kind="stable")]


def _ratio(rise: Floats, run: Floats) -> Floats:
    """Rise over run, finite; 0 where both are, that is where the summit is itself the end."""
    with np.errstate(over="ignore"):
        ratio = np.divide(rise, run, out=np.zeros_like(rise), where=run != 0.0)
    return np.clip(ratio, -STEEPEST, STEEPEST)


def _upper_hulls(slopes: Floats, tops: Floats, begins: Ints) -> Ints:
    """(E,) indices of the points (slope, top) on the upper convex hull of each list, ascending.

    Slopes ascend strictly within a list. A chord is a pair (left, right) of hull points; a point belongs to
    the chord between whose ends it lies.
    """
    left, right = begins[:-1], begins[1:] - 1  # (G,) one chord a list
    found = [left, right[right > left]]
    inside = np.ones(len(slopes), dtype=np.bool_)
    inside[left] = inside[right] = False
    points = np.flatnonzero(inside)
    chord = np.repeat(np.arange(len(left)), np.maximum(right - left - 1, 0))  # (P,)
    while len(points):
        run, rise = slopes[right] - slopes[left], tops[right] - tops[left]  # (G,)
        height = (tops[points] - tops[left][chord]) * run[chord]
        height -= (slopes[points] - slopes[left][chord]) * rise[chord]  # (P,) times the chord's run
        above = np.flatnonzero(height > 0.0)
        if not len(above):
            break
        points, chord, height = points[above], chord[above], height[above]
        starts = np.flatnonzero(np.diff(chord, prepend=-1))  # (A,) the chords that split
        sizes = np.diff(starts, append=len(points))
        highest = np.flatnonzero(height == np.repeat(np.maximum.reduceat(height, starts), sizes))
        peak = points[highest[np.searchsorted(highest, starts)]]  # (A,) the first where two are as high
        found.append(peak)
        splitting = chord[starts]
        left = np.column_stack([left[splitting], peak]).ravel()  # (2A,)
        right = np.column_stack([peak, right[splitting]]).ravel()
        beside = np.repeat(peak, sizes)
        rest = np.flatnonzero(points != beside)
        chord = (2 * np.repeat(np.arange(len(peak)), sizes) + (points > beside))[rest]
        points = points[rest]
    return np.sort(np.concatenate(found))
