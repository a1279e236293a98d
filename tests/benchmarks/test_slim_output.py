"""The benchmark of slim outputs: every contender of one small shape, and that they agree."""

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

pytest.importorskip("nbest_native", reason="the compiled kernels are not installed: make native")


@pytest.fixture
def benchmark(repository: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(repository / "benchmarks")
    path = repository / "benchmarks" / "slim_output.py"
    spec = importlib.util.spec_from_file_location("slim_output_benchmark", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, spec.name, module)
    spec.loader.exec_module(module)
    return module


def test_contenders_agree(benchmark: ModuleType) -> None:
    shape = (3_000, 64, 4, 8, 64)
    results = {name: benchmark.timed(make, shape)(None) for name, make in benchmark.MAKERS.items()}
    assert all(seconds > 0 for seconds, _ in results.values())
    found = {name: result for name, (_, result) in results.items() if name.startswith("normaliser")}
    assert len(found) == 5
    for result in found.values():
        assert np.abs(result - found["normaliser, torch dense"]).max() < 1e-4
