"""When jobs that share a process equally will be done: what decides whether one more can be taken."""

from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Waiting:
    """A job in work: its owner (None: nobody else) and the seconds that the rest of it would take alone."""

    owner: Hashable
    seconds: float


def finish_seconds(jobs: Sequence[Waiting]) -> NDArray[np.float64]:
    """(N,) at most so long until each job is done, if nobody else comes; exact where each has its own owner.

    Owners have equal shares, and the jobs of one owner have equal shares of that. Until a job is done,
    another job of its owner gets no more than it does; another owner gets no more than its own all together.

    >>> finish_seconds([Waiting("a", 100.0), Waiting("b", 0.5), Waiting(None, 100.0), Waiting("b", 1.0)])
    array([201.5,   3. , 201.5,   4.5])
    """
    places: dict[Hashable, int] = {}
    which = [
        places.setdefault(("alone", number) if job.owner is None else ("owner", job.owner), len(places))
        for number, job in enumerate(jobs)
    ]
    seconds = np.array([job.seconds for job in jobs])
    owner = np.array(which, dtype=np.int64)
    together = np.bincount(owner, seconds, minlength=len(places))  # (owners,) all that an owner has in work
    own = seconds.copy()  # what the job's owner gets until it is done
    for one in np.flatnonzero(np.bincount(owner) > 1):
        members = np.flatnonzero(owner == one)
        own[members] = np.minimum(seconds[members, None], seconds[members]).sum(axis=1)
    all_owners = np.minimum(own[:, None], together).sum(axis=1)
    finish: NDArray[np.float64] = all_owners - np.minimum(own, together[owner]) + own
    return finish


def used_seconds(jobs: Sequence[Waiting], passed: float) -> NDArray[np.float64]:
    """(N,) how much of `passed` seconds each job had."""
    owners: dict[Hashable, int] = {}
    for job in jobs:
        if job.owner is not None:
            owners[job.owner] = owners.get(job.owner, 0) + 1
    count = len(owners) + sum(job.owner is None for job in jobs)  # of owners
    return np.array([passed / count / (1 if job.owner is None else owners[job.owner]) for job in jobs])
