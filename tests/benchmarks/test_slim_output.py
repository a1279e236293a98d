"""The benchmark of slim outputs: every contender of one small shape, and that they agree."""

from collections.abc import Callable
from types import ModuleType

import numpy as np
import pytest

pytest.importorskip("nbest_native", reason="the compiled kernels are not installed: make native")


@pytest.fixture
def benchmark(load_benchmark: Callable[[str], ModuleType]) -> ModuleType:
    return load_benchmark("slim_output")


def test_contenders_agree(benchmark: ModuleType) -> None:
    shape = (3_000, 64, 4, 8, 64)
    results = {name: benchmark.timed(make, shape)(None) for name, make in benchmark.MAKERS.items()}
    assert all(seconds > 0 for seconds, _ in results.values())
    found = {name: result for name, (_, result) in results.items() if name.startswith("normaliser")}
    assert len(found) == 5
    for result in found.values():
        assert np.abs(result - found["normaliser, torch dense"]).max() < 1e-4
