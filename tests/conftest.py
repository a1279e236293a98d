"""What every test may ask for: the repository, and the shared data beside it where there is any."""

import os
from pathlib import Path

import pytest
from hypothesis import settings

REPOSITORY = Path(__file__).resolve().parents[1]

# No deadline: a busy machine is not a bug. In CI the same examples every time: a failure is about the change.
settings.register_profile("nbest", deadline=None, derandomize=bool(os.environ.get("CI")))
settings.load_profile("nbest")


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
