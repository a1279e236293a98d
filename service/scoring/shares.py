"""How long a job will take among others that share a process equally: a bound, known before it begins."""

from collections.abc import Hashable, Iterable
from dataclasses import dataclass


@dataclass(frozen=True)
class Waiting:
    """A job in work: whose it is (None: nobody else's) and the seconds that it would take alone."""

    owner: Hashable
    seconds: float


def shared_seconds(job: Waiting, others: Iterable[Waiting]) -> float:
    """At most so long until `job` is done, if nobody else comes.

    Owners have equal shares, and the jobs of one owner have equal shares of that. Until the job is done,
    another job of its owner gets no more than it does; another owner gets no more than its own all together.

    >>> others = [Waiting("a", 100.0), Waiting("b", 0.5), Waiting(None, 100.0)]
    >>> shared_seconds(Waiting("c", 1.0), others)
    3.5
    >>> shared_seconds(Waiting("b", 1.0), others)
    4.5
    """
    own = job.seconds
    by_owner: dict[Hashable, float] = {}
    for number, other in enumerate(others):
        if other.owner is not None and other.owner == job.owner:
            own += min(other.seconds, job.seconds)
        else:
            key = ("alone", number) if other.owner is None else ("owner", other.owner)
            by_owner[key] = by_owner.get(key, 0.0) + other.seconds
    return own + sum(min(seconds, own) for seconds in by_owner.values())
