"""The training benchmark runs, refuses a busy machine, and its arithmetic is right."""

import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest

Run = Callable[..., subprocess.CompletedProcess[str]]
TINY = "--vocabulary-size 60 --hidden-size 8 --columns 4 --steps 5 --rounds 2 --batches 1".split()


@pytest.fixture
def benchmark(load_benchmark: Callable[[str], ModuleType]) -> ModuleType:
    return load_benchmark("training")


def test_it_measures_and_writes(run_benchmark: Run, tmp_path: Path) -> None:
    done = run_benchmark("training", *TINY, "--systems", "bllm", "--bf16", "--force", "--out", tmp_path)
    assert done.returncode == 0, done.stderr
    document = json.loads((tmp_path / "training.json").read_text())
    assert set(document["made"]) == {"date", "machine", "load_before", "forced", "signature"}
    assert document["setting"]["hidden_size"] == 8
    plain, ours = document["contenders"]["plain torch"], document["contenders"]["bllm"]
    assert plain["ratio_to_plain"] == 1
    assert len(ours["rounds"]) == len(plain["rounds"]) == 2
    assert min(ours["rounds"] + plain["rounds"]) > 0
    assert list(document["contenders"]) == ["plain torch", "bllm", "plain torch, bf16", "bllm, bf16"]
    assert "x plain" in done.stdout


def test_it_refuses_a_busy_machine(run_benchmark: Run, tmp_path: Path) -> None:
    done = run_benchmark("training", *TINY, "--load-limit", "-1", "--out", tmp_path)
    assert done.returncode == 1
    assert "is above -1.0: wait until the machine is idle, or --force" in done.stderr
    assert "load" in done.stdout
    assert not list(tmp_path.iterdir())


def test_ratios_are_taken_round_by_round(benchmark: ModuleType) -> None:
    """A round in which the machine was slow for all counts as any other."""
    found = benchmark.summary({"plain torch": [100.0, 10.0, 100.0], "lstm": [150.0, 20.0, 150.0]})
    assert found["lstm"]["ratio_to_plain"] == 1.5
    assert found["lstm"]["words_per_second"] == 150


def test_the_text_holds_every_word_and_whole_columns(benchmark: ModuleType) -> None:
    setting = benchmark.Setting(103, 8, 7, 5, 0.0, 1)
    ids = benchmark.words(setting)
    assert len(ids) % 7 == 0
    assert ids.min() >= 0
    assert ids.max() == 99
