"""The bound on a job's time, held against a process that really shares equally."""

import doctest
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.scoring import shares
from service.scoring.shares import Waiting, finish_seconds, used_seconds

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
def test_no_job_is_later_than_the_bound(jobs: list[Waiting]) -> None:
    bounds = finish_seconds(jobs).tolist()
    for mine, bound in enumerate(bounds):
        assert simulated(jobs, mine) <= bound * (1 + 1e-6) + 1e-6
        assert bound <= sum(job.seconds for job in jobs) * (1 + 1e-9)


@given(st.lists(st.floats(0.01, 50.0), min_size=1, max_size=7), st.booleans())
def test_the_bound_is_met_where_each_has_an_owner_of_its_own(seconds: list[float], named: bool) -> None:
    jobs = [Waiting(f"{number}" if named else None, one) for number, one in enumerate(seconds)]
    expected = [simulated(jobs, mine) for mine in range(len(jobs))]
    assert finish_seconds(jobs).tolist() == pytest.approx(expected, rel=1e-6)


def test_time_that_passed_is_shared_by_owners_and_then_by_their_jobs() -> None:
    jobs = [Waiting("a", 9.0), Waiting(None, 9.0), Waiting("a", 9.0), Waiting("b", 9.0)]
    assert used_seconds(jobs, 6.0).tolist() == [1.0, 2.0, 1.0, 2.0]
    assert used_seconds([], 1.0).tolist() == finish_seconds([]).tolist() == []


def test_examples() -> None:
    assert doctest.testmod(shares).failed == 0
