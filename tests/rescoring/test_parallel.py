from pathlib import Path

import pytest

from nbest.errors import ConfigError
from rescoring.parallel import _quotas, in_order, processors


def square(number: int) -> int:
    return number * number


@pytest.mark.parametrize("jobs", [1, 2])
def test_results_come_in_order(jobs: int) -> None:
    assert list(in_order(square, range(7), jobs)) == [number * number for number in range(7)]


def test_processors_are_counted() -> None:
    assert processors() >= 1
    with pytest.raises(ConfigError, match="jobs of at least 1; got 0"):
        list(in_order(square, [1], 0))


@pytest.mark.parametrize(
    ("files", "quotas"),
    [
        ({"cpu.max": "250000 100000\n"}, [2]),
        ({"cpu.max": "50000 100000\n"}, [0]),  # half a processor: `processors` says one
        ({"cpu.max": "max 100000\n"}, []),
        ({"cpu/cpu.cfs_quota_us": "400000\n", "cpu/cpu.cfs_period_us": "100000\n"}, [4]),
        ({"cpu/cpu.cfs_quota_us": "-1\n", "cpu/cpu.cfs_period_us": "100000\n"}, []),
        ({"cpu.max": "what\n"}, []),
        ({}, []),
    ],
)
def test_quotas_of_a_control_group(tmp_path: Path, files: dict[str, str], quotas: list[int]) -> None:
    for name, content in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(content)
    assert list(_quotas(tmp_path)) == quotas
