"""What a million lists take, by arithmetic, with figures that can be checked by hand."""

from collections.abc import Callable
from types import ModuleType
from typing import Any

import pytest

# 1,000 lists: a local process does one in 0.36 s behind a start of 3.6 s, two of Ray one in 0.18 s behind 36;
# looking through them takes 0.0036 s a list.
FOUND: dict[str, Any] = {
    "lists": {"lists": 1000, "reading_seconds": 3.6},
    "throughput": {
        "engines": {
            "1": {"seconds": 363.6, "start_seconds": 3.6, "hypotheses_a_second": 1234},
            "ray 2": {"seconds": 216.0, "start_seconds": 36.0, "hypotheses_a_second": 2345},
        }
    },
}


@pytest.fixture
def tables(load_benchmark: Callable[[str], ModuleType]) -> ModuleType:
    return load_benchmark("batch_tables")


def test_a_million_lists_on_this_machine(tables: ModuleType) -> None:
    assert tables.engines(FOUND).split("\n")[2:] == [
        "| local 1 | 363.6 | 3.6 | 1,234 | 100.00 | 100.00 |",
        "| ray 2 | 216.0 | 36.0 | 2,345 | 50.01 | 100.02 |",
    ]


def test_a_million_lists_on_many(tables: ModuleType) -> None:
    """0.36 s of one process a list: 100 hours over 1, 19 and 199 processes; reading takes one hour."""
    assert tables.machines(FOUND).split("\n")[2:] == [
        "| 1 | 1 | 1.00 | 100.00 | 101.01 | 101.01 | 1.0 |",
        "| 10 | 19 | 1.00 | 5.26 | 6.27 | 62.73 | 16.1 |",
        "| 100 | 199 | 1.00 | 1.00 | 2.01 | 201.00 | 50.3 |",
    ]
