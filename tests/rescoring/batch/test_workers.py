import multiprocessing
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from nbest.errors import BusyError, ConfigError, NbestError
from rescoring.batch.workers import AHEAD, RETRIES, in_order


@dataclass(frozen=True)
class Task:
    """What a process does with a number; `folder` is for what it has to tell."""

    folder: Path | None = None

    def __call__(self) -> Callable[[int], tuple[int, int]]:
        return self.run

    def run(self, number: int) -> tuple[int, int]:
        time.sleep(0.02 * (number % 3 == 0))
        return number * number, os.getpid()


@dataclass(frozen=True)
class Deadly(Task):
    """Kills its process at number 2, `times` times."""

    times: int = 1

    def run(self, number: int) -> tuple[int, int]:
        assert self.folder is not None
        seen = len(list(self.folder.iterdir()))
        if number == 2 and seen < self.times:
            (self.folder / str(seen)).touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return super().run(number)


@dataclass(frozen=True)
class Faulty(Task):
    def run(self, number: int) -> tuple[int, int]:
        if number == 3:
            raise BusyError("not now", retry_after_seconds=2.5)
        if number == 7:
            raise ValueError("a bug")
        return super().run(number)


@dataclass(frozen=True)
class Stillborn(Task):
    def __call__(self) -> Callable[[int], tuple[int, int]]:
        os._exit(7)


@dataclass(frozen=True)
class Unopened(Task):
    def __call__(self) -> Callable[[int], tuple[int, int]]:
        raise ConfigError("no such model")


@pytest.mark.parametrize("jobs", [1, 2, 3])
def test_results_come_in_order_from_several_processes(jobs: int) -> None:
    found = list(in_order(Task(), range(20), jobs))
    assert [square for square, _ in found] == [number * number for number in range(20)]
    assert os.getpid() not in {process for _, process in found}
    assert len({process for _, process in found}) <= jobs


def test_no_task_needs_no_process() -> None:
    assert list(in_order(Task(), [], 2)) == []
    with pytest.raises(ConfigError, match="jobs of at least 1; got 0"):
        list(in_order(Task(), [1], 0))


def test_tasks_are_read_ahead_but_not_without_bound() -> None:
    given = 0

    def tasks() -> Iterator[int]:
        nonlocal given
        for number in range(50):
            given += 1
            yield number

    for taken, _ in enumerate(in_order(Task(), tasks(), 2), 1):
        assert given <= taken + 2 * AHEAD
    assert given == 50


def test_the_task_of_a_process_that_was_killed_is_done_again(tmp_path: Path) -> None:
    said: list[str] = []
    found = list(in_order(Deadly(tmp_path, times=RETRIES), range(8), 2, said.append))
    assert [square for square, _ in found] == [number * number for number in range(8)]
    assert said == ["a worker process was killed by SIGKILL at task 3; another takes its place"] * RETRIES


def test_what_kills_every_process_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(NbestError, match="3 worker processes died at task 3, the last one was killed by SIG"):
        list(in_order(Deadly(tmp_path, times=9), range(8), 2))
    with pytest.raises(
        NbestError, match="3 worker processes died at its start, the last one ended with code 7"
    ):
        list(in_order(Stillborn(), range(8), 2))


def test_errors_of_a_task_come_in_their_turn_as_they_are() -> None:
    with pytest.raises(BusyError, match="not now") as caught:
        list(in_order(Faulty(), range(7), 2))
    assert caught.value.retry_after_seconds == 2.5
    with pytest.raises(RuntimeError, match="ValueError: a bug"):
        list(in_order(Faulty(), range(4, 9), 2))
    with pytest.raises(ConfigError, match="no such model"):
        list(in_order(Unopened(), range(4), 2))


def test_a_process_that_dies_in_the_middle_of_its_answer_hangs_nobody(tmp_path: Path) -> None:
    """An answer larger than a pipe, half of it written: the reader gets an end, not a wait."""
    said: list[str] = []
    results = in_order(Large(tmp_path), range(6), 2, said.append)
    found = [next(results)]
    (tmp_path / "taken").touch()
    time.sleep(1)  # nobody reads meanwhile: the other process is stuck in its answer
    for process in multiprocessing.active_children():
        process.kill()
    found += list(results)
    assert [len(one) for one in found] == [1 << 22] * 6
    assert "a worker process was killed by SIGKILL at task 2; another takes its place" in said


@dataclass(frozen=True)
class Large:
    """Two processes are at the first two tasks; the second answers when the first's answer was taken."""

    folder: Path

    def __call__(self) -> Callable[[int], bytes]:
        return self.run

    def run(self, number: int) -> bytes:
        if number == 1:
            (self.folder / "begun").touch()
        awaited = {0: "begun", 1: "taken"}.get(number)
        while awaited and not (self.folder / awaited).exists():
            time.sleep(0.01)
        return b"x" * (1 << 22)


PARENT = """
import os, signal, sys, time
sys.path.insert(0, {tests!r})
from rescoring.batch.workers import in_order
from workers_of_tests import Sleeper

for process in in_order(Sleeper(), range(100), 2):
    print(process, flush=True)
"""

SLEEPER = """
import os, time

class Sleeper:
    def __call__(self):
        return self.run

    def run(self, number):
        if number > 3:
            time.sleep(600)
        return os.getpid()
"""


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_no_process_outlives_its_parent(tmp_path: Path, repository: Path, number: signal.Signals) -> None:
    (tmp_path / "workers_of_tests.py").write_text(SLEEPER)
    (tmp_path / "parent.py").write_text(
        f"if __name__ == '__main__':\n{_indented(PARENT.format(tests=str(tmp_path)))}"
    )
    parent = subprocess.Popen(
        [sys.executable, tmp_path / "parent.py"],
        env={**os.environ, "PYTHONPATH": str(repository)},
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )
    assert parent.stdout is not None
    processes = {int(parent.stdout.readline()) for _ in range(4)}
    parent.send_signal(number)
    parent.wait(timeout=60)
    parent.stdout.close()
    deadline = time.monotonic() + 30
    while any(_is_alive(process) for process in processes):
        assert time.monotonic() < deadline, "a process is left behind"
        time.sleep(0.05)


def _indented(text: str) -> str:
    return "".join(f"    {line}\n" for line in text.split("\n"))


def _is_alive(process: int) -> bool:
    try:
        state = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False
    return state != "Z"
