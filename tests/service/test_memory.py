"""Processors and memory: what the system tells, and the quota of a container."""

import os
from pathlib import Path

import pytest

from service.memory import peak_of, peak_resident_bytes, processors, resident_bytes
from service.settings import Settings


@pytest.fixture
def host(monkeypatch: pytest.MonkeyPatch) -> None:
    """A host of 64 processors."""
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(64)))
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)


@pytest.mark.parametrize(
    ("quota", "expected"),
    [("200000 100000", 2), ("150000 100000", 1), ("50000 100000", 1), ("max 100000", 64), ("x", 64)],
)
@pytest.mark.usefixtures("host")
def test_a_container_has_the_processors_of_its_quota(tmp_path: Path, quota: str, expected: int) -> None:
    (tmp_path / "cpu.max").write_text(f"{quota}\n")
    assert processors(tmp_path) == expected


@pytest.mark.parametrize(("quota", "expected"), [("400000", 4), ("-1", 64)])
@pytest.mark.usefixtures("host")
def test_the_older_kind_of_quota(tmp_path: Path, quota: str, expected: int) -> None:
    (tmp_path / "cpu").mkdir()
    (tmp_path / "cpu" / "cpu.cfs_quota_us").write_text(f"{quota}\n")
    (tmp_path / "cpu" / "cpu.cfs_period_us").write_text("100000\n")
    assert processors(tmp_path) == expected


@pytest.mark.usefixtures("host")
def test_without_a_quota_there_are_those_the_process_may_run_on(tmp_path: Path) -> None:
    assert processors(tmp_path) == 64


@pytest.mark.parametrize(
    ("there", "given", "expected"),
    [
        (1, {}, (1, 1)),
        (2, {}, (1, 2)),
        (6, {}, (1, 6)),
        (64, {}, (16, 4)),
        (64, {"processes": 2}, (2, 32)),
        (64, {"threads": 3}, (16, 3)),
        (64, {"device": "cuda"}, (1, 64)),
    ],
)
def test_processes_and_threads_fill_the_processors(
    monkeypatch: pytest.MonkeyPatch, there: int, given: dict[str, int], expected: tuple[int, int]
) -> None:
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setattr("service.settings.processors", lambda: there)
    settings = Settings(**given)
    assert (settings.scoring_processes, settings.scoring_threads) == expected


@pytest.mark.parametrize(("told", "threads"), [("3", 3), ("0", 2), ("many", 2), ("", 2)])
def test_openmps_word_counts(monkeypatch: pytest.MonkeyPatch, told: str, threads: int) -> None:
    monkeypatch.setattr("service.settings.processors", lambda: 2)
    monkeypatch.setenv("OMP_NUM_THREADS", told)
    assert Settings().scoring_threads == threads


def test_memory_of_this_process_and_of_none() -> None:
    assert 10_000_000 < resident_bytes() < 1.05 * peak_resident_bytes()  # counted a little apart
    assert resident_bytes(os.getpid()) > 10_000_000
    assert resident_bytes(os.getpid()) < 1.05 * peak_of(os.getpid())
    assert peak_of(2**22 + 1) == 0
    assert resident_bytes(2**22 + 1) == 0  # above the largest number of a process
