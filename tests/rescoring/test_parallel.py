import pytest

from nbest.errors import ConfigError
from rescoring.parallel import in_order, processors


def square(number: int) -> int:
    return number * number


@pytest.mark.parametrize("jobs", [1, 2])
def test_results_come_in_order(jobs: int) -> None:
    assert list(in_order(square, range(7), jobs)) == [number * number for number in range(7)]


def test_processors_are_counted() -> None:
    assert processors() >= 1
    with pytest.raises(ConfigError, match="jobs of at least 1; got 0"):
        list(in_order(square, [1], 0))
