"""The bound on a job's time, held against a process that really shares equally."""

import doctest
from collections.abc import Sequence

from hypothesis import given
from hypothesis import strategies as st

from service.scoring import shares
from service.scoring.shares import Waiting, shared_seconds

JOBS = st.builds(Waiting, st.sampled_from([None, "a", "b", "c"]), st.floats(0.01, 50.0))


def simulated(jobs: Sequence[Waiting], mine: int) -> float:
    """When job `mine` is done where owners share equally, and the jobs of one owner its share."""
    left = [job.seconds for job in jobs]
    now = 0.0
    while left[mine] > 1e-9:
        running = [place for place, rest in enumerate(left) if rest > 1e-9]
        owners = [place if jobs[place].owner is None else jobs[place].owner for place in running]
        speed = {
            place: 1 / len(set(owners)) / owners.count(owner)
            for place, owner in zip(running, owners, strict=True)
        }
        step = min(left[place] / speed[place] for place in running)
        now += step
        for place in running:
            left[place] -= step * speed[place]
    return now


@given(st.lists(JOBS, min_size=1, max_size=7))
def test_a_job_is_never_later_than_the_bound(jobs: list[Waiting]) -> None:
    bound = shared_seconds(jobs[0], jobs[1:])
    assert simulated(jobs, 0) <= bound * (1 + 1e-6) + 1e-6
    assert bound <= sum(job.seconds for job in jobs) * (1 + 1e-9)


def test_the_bound_is_met_where_all_are_alone_and_alike() -> None:
    jobs = [Waiting(None, 2.0)] * 4
    assert shared_seconds(jobs[0], jobs[1:]) == simulated(jobs, 0) == 8.0


def test_examples() -> None:
    assert doctest.testmod(shares).failed == 0
