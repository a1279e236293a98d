import json
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest


@pytest.fixture
def benchmark(load_benchmark: Callable[[str], ModuleType]) -> ModuleType:
    return load_benchmark("formats")


def test_both_ways_read_the_same(benchmark: ModuleType, repository: Path) -> None:
    lists = str(repository / "examples/mt.dev.nbest")
    for way in benchmark.WAYS:
        found = benchmark.measure(way, lists, 2)
        assert (found["hypotheses"], found["columns"], len(found["all_rounds"])) == (48, 14, 2)
        assert found["processor_seconds"] == min(found["all_rounds"]) >= 0
        json.dumps(found)
