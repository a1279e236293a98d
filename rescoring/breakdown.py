"""Where a score comes from: the corpus score of each group of segments, of one system or of two."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from rescoring.groups import Groups
from rescoring.metrics.base import Metric
from rescoring.significance import SAMPLES, SEED, Interval, difference_interval, interval

Ints = NDArray[np.int64]


@dataclass(frozen=True)
class Group:
    """One group's score.

    scores    of each system the mean of its runs' scores
    interval  of one system's score, or of the second's minus the first's; None for a single segment
    counts    by name, of the last system, all its runs together
    """

    label: str
    segments: int
    scores: tuple[float, ...]
    interval: Interval | None
    counts: Mapping[str, int]


@dataclass(frozen=True)
class Breakdown:
    """All groups of one kind."""

    by: str
    groups: tuple[Group, ...]


def breakdown(
    groups: Groups, metric: Metric, *systems: Ints, samples: int = SAMPLES, seed: int = SEED
) -> Breakdown:
    """The groups' scores of one system or two, each by its counts (S, K), or (R, S, K) of several runs."""
    rows = []
    for place, label in enumerate(groups.labels):
        mine = groups.index == place
        parts = [system[..., mine, :] for system in systems]
        near = None
        if mine.sum() > 1:
            near = (
                interval(parts[0], metric, samples, seed)
                if len(parts) == 1
                else difference_interval(parts[0], parts[1], metric, samples, seed)
            )
        sums = [part.sum(axis=-2) for part in parts]  # (K,) or (R, K)
        total = sums[-1].reshape(-1, sums[-1].shape[-1]).sum(axis=0).tolist()
        rows.append(
            Group(
                label,
                int(mine.sum()),
                tuple(float(metric.score(one).mean()) for one in sums),
                near,
                dict(zip(metric.count_names, total, strict=True)),
            )
        )
    return Breakdown(groups.name, tuple(rows))
