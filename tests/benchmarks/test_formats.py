import importlib.util
import json
import sys
from pathlib import Path
from types import ModuleType

import pytest


@pytest.fixture
def benchmark(repository: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(repository / "benchmarks"))
    spec = importlib.util.spec_from_file_location("formats", repository / "benchmarks/formats.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "formats", module)
    spec.loader.exec_module(module)
    return module


def test_both_ways_read_the_same(benchmark: ModuleType, repository: Path) -> None:
    lists = str(repository / "examples/mt.dev.nbest")
    for way in benchmark.WAYS:
        found = benchmark.measure(way, lists, 2)
        assert (found["hypotheses"], found["columns"], len(found["all_rounds"])) == (48, 14, 2)
        assert found["processor_seconds"] == min(found["all_rounds"]) >= 0
        json.dumps(found)
