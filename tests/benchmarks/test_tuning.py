"""The tuning benchmark refuses a busy machine and more threads than one; what it checks against is right."""

import importlib.util
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from rescoring.metrics import METRICS, get_metric


@pytest.fixture
def benchmark(repository: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(repository / "benchmarks")
    spec = importlib.util.spec_from_file_location("tuning_benchmark", repository / "benchmarks" / "tuning.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, spec.name, module)
    spec.loader.exec_module(module)
    return module


def _run(repository: Path, *arguments: object, threads: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "benchmarks/tuning.py", "--data", "nowhere", *map(str, arguments)],
        cwd=repository,
        env={"PATH": "", "PYTHONPATH": str(repository), "OMP_NUM_THREADS": threads},
        capture_output=True,
        text=True,
        check=False,
    )


def test_one_thread_and_an_idle_machine(repository: Path, tmp_path: Path) -> None:
    result = _run(repository, "--out", tmp_path, threads="2")
    assert result.returncode == 1
    assert "run with OMP_NUM_THREADS=1" in result.stderr
    result = _run(repository, "--out", tmp_path, "--load-limit", -1, threads="1")
    assert result.returncode == 1
    assert "wait until the machine is idle, or --force" in result.stderr
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", METRICS)
def test_what_counts_are_held_against(benchmark: ModuleType, name: str) -> None:
    texts, reference = ["a b c", "c b x", ""], "a b c d"
    counts = get_metric(name).counts(texts, np.zeros(3, dtype=np.int64), [[reference]])
    assert [benchmark.by_library(name, text, reference) for text in texts] == counts.tolist()


def test_medians_are_said(benchmark: ModuleType, capsys: pytest.CaptureFixture[str]) -> None:
    found = benchmark.said("counts", {"seconds": [3.0, 1.0, 2.0]})
    assert found == {"seconds": [3.0, 1.0, 2.0], "median_seconds": 2.0}
    assert capsys.readouterr().out.startswith("counts: seconds 2.00 (1.00 to 3.00); peers {'Moses extractor'")
