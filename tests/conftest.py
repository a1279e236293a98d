"""What every test may ask for: the repository, and the shared data beside it where there is any."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

REPOSITORY = Path(__file__).resolve().parents[1]

# No deadline: a busy machine is not a bug. In CI the same examples every time: a failure is about the change.
settings.register_profile("nbest", deadline=None, derandomize=bool(os.environ.get("CI")))
# For an idle machine: other examples each time, and many more of them (`make fuzz`).
settings.register_profile("long", deadline=None, max_examples=2000)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "nbest"))
_LONGER = int(os.environ.get("FUZZ_TIMES", "100"))


@pytest.fixture(scope="session")
def repository() -> Path:
    return REPOSITORY


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of real data and tools beside the checkout; tests that need it skip without it."""
    folder = REPOSITORY.parent / "shared"
    if not folder.is_dir():
        pytest.skip("no ../shared beside the checkout")
    return folder


@pytest.fixture(scope="session")
def fuzz() -> Callable[[int], settings]:
    """A decorator: to be tried with so many examples, always the same ones unless the profile is long."""
    long = settings.get_current_profile_name() == "long"

    def of(examples: int) -> settings:
        return settings(
            max_examples=examples * (_LONGER if long else 1),
            derandomize=not long,
            database=None,
            suppress_health_check=list(HealthCheck),  # what is slow or rare here is meant
        )

    return of
