"""One function, many numbers, several processes; the results come in the numbers' order."""

import multiprocessing
import os
import signal
import sys
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, TypeVar

from nbest.errors import ConfigError

T = TypeVar("T")
_task: Callable[[Any], Any]  # of a worker process; a space of lists is sent to it once


def in_order(task: Callable[[int], T], numbers: Iterable[int], jobs: int) -> Iterator[T]:
    """``task(number)`` for each number, made by up to `jobs` processes; `task` must be picklable then.

    Raises ConfigError for fewer jobs than one.
    """
    if jobs < 1:
        raise ConfigError("no process to work", expected="jobs of at least 1", got=str(jobs))
    wanted = list(numbers)
    jobs = min(jobs, len(wanted))
    if jobs <= 1:
        yield from map(task, wanted)
        return
    context = multiprocessing.get_context("spawn")  # a fork of a process with threads may hang
    with context.Pool(jobs, _begin, (task,)) as pool:
        yield from pool.imap(_run, wanted)


def processors() -> int:
    """How many processors this process may use: by its affinity, and by the quota of its control group."""
    here = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, min([here, *_quotas(Path("/sys/fs/cgroup"))]))


def _quotas(root: Path) -> Iterator[int]:
    """Whole processors by cpu.max (cgroup v2) or cpu.cfs_quota_us (v1), where a container sees its own."""
    for files in (["cpu.max"], ["cpu/cpu.cfs_quota_us", "cpu/cpu.cfs_period_us"]):
        try:
            quota, period = " ".join((root / name).read_text() for name in files).split()
        except (OSError, ValueError):
            continue
        if quota.isdigit() and period.isdigit():  # v2 says max, v1 -1, where there is no quota
            yield int(quota) // int(period)


def _begin(task: Callable[[Any], Any]) -> None:
    """What a task raises goes to the caller; of a caller that was stopped or killed a worker says nothing."""
    global _task
    _task = task
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a terminal sends it to all: the caller ends the workers
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stderr.fileno())


def _run(number: int) -> Any:
    return _task(number)
