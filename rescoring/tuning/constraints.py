"""Weights that may not move freely: fixed ones, ranges, and groups that move together.

A group becomes one column, the sum of its columns times their initial weights; what is tuned is the factor
that all of them share. So no optimizer knows about groups.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from nbest.errors import ConfigError, shorten
from rescoring.nbest import Feature, NbestLists

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Constraints:
    """What is asked of the weights, by the name of a feature (all its columns) or column (``name[2]``).

    fixed   name -> the weight it keeps
    ranges  name -> lowest and highest weight
    groups  names whose weights keep their initial ratios
    """

    fixed: Mapping[str, float] = field(default_factory=dict)
    ranges: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    groups: Sequence[Sequence[str]] = ()


@dataclass(frozen=True)
class Problem:
    """What an optimizer is given in place of the lists, and the way back.

    lists    with F' columns
    initial  (F',)
    ranges   (F', 2)
    back     (F', F): weights of the lists as they were are ``weights @ back``
    """

    lists: NbestLists
    initial: Floats
    ranges: Floats
    back: Floats

    def vector(self, weights: Floats) -> Floats:
        """(F,) weights of the original columns."""
        return np.asarray(weights @ self.back)


def constrained(lists: NbestLists, initial: Floats, constraints: Constraints) -> Problem:
    """The problem of tuning `lists` from `initial` (F,) under `constraints`.

    An initial weight outside its range is moved to its nearer end. Raises FeatureError for a name that the
    lists do not have, ConfigError for contradictions: a column under two rules, a range without room, a
    group of initial weights that are all 0.
    """
    width = lists.features.shape[1]
    bounds = np.tile([-np.inf, np.inf], (width, 1))  # (F, 2)
    rules: dict[int, str] = {}

    def claim(name: str, rule: str) -> list[int]:
        columns = _columns(lists, name)
        for column in columns:
            if column in rules:
                raise ConfigError(
                    f"two rules for the weight of {lists.column_names[column]}",
                    expected="a fixed weight, a range or one group",
                    got=f"{rules[column]} and {rule}",
                )
            rules[column] = rule
        return columns

    for name, weight in constraints.fixed.items():
        bounds[claim(name, "a fixed weight")] = weight
    for name, (low, high) in constraints.ranges.items():
        if not low <= high or low == np.inf or high == -np.inf:
            raise ConfigError(
                f"no range for the weight of {shorten(name)}",
                expected="low:high, low <= high",
                got=f"{low:g}:{high:g}",
            )
        bounds[claim(name, "a range")] = low, high
    first = np.clip(initial, *bounds.T)
    if not constraints.groups:
        return Problem(lists, first, bounds, np.eye(width))
    groups = [
        sorted(column for name in names for column in claim(name, "a group")) for names in constraints.groups
    ]
    for names, columns in zip(constraints.groups, groups, strict=True):
        if not first[columns].any():
            raise ConfigError(
                f"the group {', '.join(map(shorten, names))} has no ratios to keep",
                expected="an initial weight that is not 0",
            )
    heads = {columns[0]: columns for columns in groups}
    inside = {column for columns in groups for column in columns}
    rows, names = [], []
    for column, label in enumerate(lists.column_names):
        if column in inside and column not in heads:
            continue
        row = np.zeros(width)
        for one in heads.get(column, ()):
            row[one] = first[one]
        if column not in heads:
            row[column] = 1.0
        rows.append(row)
        names.append("+".join(lists.column_names[one] for one in heads.get(column, ())) or label)
    back = np.array(rows)  # (F', F)
    keep = [column for column in range(width) if column in heads or column not in inside]
    reduced = np.stack([np.einsum("nf,f->n", lists.features, row) for row in back], axis=1)
    merged = replace(lists, schema=tuple(map(Feature, names)), features=reduced)
    start = np.array([1.0 if column in heads else first[column] for column in keep])
    return Problem(merged, start, bounds[keep], back)


def _columns(lists: NbestLists, name: str) -> list[int]:
    """The columns that a name means; raises FeatureError where there are none."""
    if name in lists.column_names:
        return [lists.column_names.index(name)]
    found = lists.columns(name)
    return list(range(found.start, found.stop))
