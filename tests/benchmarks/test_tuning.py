"""The tuning benchmark refuses a busy machine and more threads than one; what it checks against is right."""

import subprocess
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from rescoring.metrics import METRICS, get_metric

Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def benchmark(load_benchmark: Callable[[str], ModuleType]) -> ModuleType:
    return load_benchmark("tuning")


def test_one_thread_and_an_idle_machine(run_benchmark: Run, tmp_path: Path) -> None:
    result = run_benchmark("tuning", "--data", "nowhere", "--out", tmp_path, threads="2")
    assert result.returncode == 1
    assert "run with OMP_NUM_THREADS=1" in result.stderr
    result = run_benchmark("tuning", "--data", "nowhere", "--out", tmp_path, "--load-limit", -1, threads="1")
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
