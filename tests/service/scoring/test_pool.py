"""Scoring processes that end, hang, come back and find other files; with real processes."""

import asyncio
import ctypes
import functools
import logging
import os
import signal
import threading
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from nbest.errors import BusyError, ModelFileError
from rescoring.scorer import ScoreArrays
from service.errors import NotReadyError, ProcessLostError, ScoringFailedError
from service.scoring.messages import Opened, Step
from service.scoring.pool import Job, Pool
from service.scoring.process import InProcess, InThread, Start
from service.scoring.queue import CALLER, ModelQueue


class FileScorer:
    """Scores each text by the number in a file; special words make it sleep, crash, end its process."""

    def __init__(self, source: str) -> None:
        path = Path(source)
        if not path.is_file():
            raise ModelFileError("no such file", where=source)
        self.name, self.digest = path.name, f"sha256:{path.read_text()}"
        self._value = float(path.read_text())

    def score(self, texts: Sequence[str]) -> ScoreArrays:
        for text in texts:
            if text == "segfault":
                ctypes.string_at(0)
            if text == "fault":
                raise ZeroDivisionError("no")
            if text.startswith("sleep "):
                time.sleep(float(text.split(" ")[1]))
        ones = np.ones(len(texts), dtype=np.int64)
        return ScoreArrays(np.full(len(texts), self._value), ones, 0 * ones)

    def score_tokens(self, texts: Sequence[str]) -> list[Any]:
        return [[(text,) if text == "half" else (text, self._value, False)] for text in texts]


class Told:
    """What a pool tells."""

    def __init__(self) -> None:
        self.ups: list[bool] = []
        self.losses: list[str] = []
        self.gone_models: list[int] = []
        self.steps: list[Step] = []

    def stepped(self, step: Step) -> None:
        self.steps.append(step)

    def lost(self, how: str) -> None:
        self.losses.append(how)

    def up(self, is_up: bool) -> None:
        self.ups.append(is_up)

    def gone(self, model: int) -> None:
        self.gone_models.append(model)


class Quiet:
    """An observer of a queue."""

    def __init__(self) -> None:
        self.waits: list[float] = []
        self.left = 0

    def waited(self, seconds: float) -> None:
        self.waits.append(seconds)

    def abandoned(self) -> None:
        self.left += 1


@pytest.fixture
def model(tmp_path: Path) -> Path:
    path = tmp_path / "model"
    path.write_text("-1.5")
    return path


def run(
    work: Callable[[Pool, Told], Awaitable[None]], *, start: Start | None = None, **settings: Any
) -> Told:
    """`work` with a pool of processes."""

    async def main() -> Told:
        told = Told()
        settings.setdefault("stuck_seconds", 60.0)
        size = settings.pop("size", 1)
        pool = Pool(start or InProcess(FileScorer, threads=1), size, told, **settings)
        try:
            async with asyncio.timeout(120):
                await work(pool, told)
        finally:
            pool.close()
        return told

    return asyncio.run(main())


def job(opened: Opened, *texts: str, **more: Any) -> Job:
    return Job(opened.model, list(texts), 0.1, **more)


async def until(condition: Callable[[], bool]) -> None:
    for _ in range(4000):
        if condition():
            return
        await asyncio.sleep(0.01)
    raise AssertionError("never came true")


async def values(pool: Pool, asked: Job) -> list[float]:
    found = (await pool.score(asked)).scores
    assert found is not None
    return [float(value) for value in found.nat_log_probs]


def test_a_process_that_ends_costs_only_what_it_had_in_work(model: Path) -> None:
    async def work(pool: Pool, told: Told) -> None:
        opened = await pool.open(str(model))
        assert await values(pool, job(opened, "a", "b")) == [-1.5, -1.5]
        (before,) = pool.pids
        lost = [asyncio.create_task(values(pool, job(opened, f"sleep 30 {k}"))) for k in range(3)]
        await asyncio.sleep(0.3)
        os.kill(before, signal.SIGSEGV)
        for task in lost:
            with pytest.raises(ProcessLostError) as caught:
                await task
            assert caught.value.retry_after_seconds > 0
        with pytest.raises(NotReadyError):
            await pool.score(job(opened, "a"))
        await until(lambda: pool.is_up)
        assert pool.pids != [before]
        assert await values(pool, job(opened, "a")) == [-1.5]  # the model is there again, under its number
        assert pool.threads == 1

    told = run(work)
    assert told.losses == ["signal 11"]
    assert told.ups == [True, False, True]
    assert told.gone_models == []


def test_a_text_that_ends_the_process_does_so_once_and_others_go_on(model: Path) -> None:
    async def work(pool: Pool, told: Told) -> None:
        opened = await pool.open(str(model))
        with pytest.raises(ProcessLostError):
            await pool.score(job(opened, "segfault"))
        for _ in range(2):  # ends it again: then it comes back later
            await until(lambda: pool.is_up)
            with pytest.raises(ProcessLostError):
                await pool.score(job(opened, "segfault"))
        await until(lambda: pool.is_up)
        assert await values(pool, job(opened, "a")) == [-1.5]

    assert run(work).losses == ["signal 11"] * 3


def test_one_that_is_silent_in_its_work_is_ended(model: Path) -> None:
    async def work(pool: Pool, told: Told) -> None:
        opened = await pool.open(str(model))
        began = time.monotonic()
        with pytest.raises(ProcessLostError):
            await pool.score(job(opened, "sleep 100"))
        assert 0.9 < time.monotonic() - began < 30
        await until(lambda: pool.is_up)
        await asyncio.sleep(2.0)  # with nothing in work it may be silent
        assert await values(pool, job(opened, "a")) == [-1.5]

    assert run(work, stuck_seconds=1.0).losses == ["signal 9"]


def test_a_model_whose_files_changed_meanwhile_is_given_up(model: Path) -> None:
    async def work(pool: Pool, told: Told) -> None:
        opened = await pool.open(str(model))
        model.write_text("-2.5")
        os.kill(pool.pids[0], signal.SIGKILL)
        await until(lambda: told.ups == [True, False, True])
        assert told.gone_models == [opened.model]
        with pytest.raises(ScoringFailedError):
            await pool.score(job(opened, "a"))
        again = await pool.open(str(model))
        assert await values(pool, job(again, "a")) == [-2.5]

    run(work)


def test_of_several_the_others_go_on_while_one_comes_back(model: Path) -> None:
    async def work(pool: Pool, told: Told) -> None:
        opened = await pool.open(str(model))
        await until(lambda: len(pool.pids) == 2 and pool.threads == 2)
        slow = [asyncio.create_task(values(pool, job(opened, f"sleep 2 {k}"))) for k in range(2)]
        await asyncio.sleep(0.5)
        os.kill(pool.pids[0], signal.SIGKILL)
        await until(lambda: bool(told.losses))
        assert await values(pool, job(opened, "a")) == [-1.5]
        results = await asyncio.gather(*slow, return_exceptions=True)
        assert sorted(type(one).__name__ for one in results) == ["ProcessLostError", "list"]
        assert told.ups[-1]
        await until(lambda: pool.threads == 2)
        both = await asyncio.gather(*(values(pool, job(opened, f"sleep 0.5 {k}")) for k in range(2)))
        assert both == [[-1.5], [-1.5]]

    assert False not in run(work, size=2).ups  # a process was there all the time


def test_what_cannot_be_opened_says_why_and_leaves_nothing(model: Path, tmp_path: Path) -> None:
    async def work(pool: Pool, told: Told) -> None:
        with pytest.raises(ModelFileError, match="no such file"):
            await pool.open(str(tmp_path / "none"))
        opened = await pool.open(str(model))
        assert opened.digest == "sha256:-1.5"
        with pytest.raises(ScoringFailedError):
            await pool.score(job(opened, "fault"))
        with pytest.raises(ScoringFailedError):  # what is made of the answer fails
            await pool.score(job(opened, "half", tokens=True))
        pool.close_model(opened.model)
        with pytest.raises(ScoringFailedError):
            await pool.score(job(opened, "a"))

    assert run(work).losses == []


def cannot_start() -> Any:
    raise OSError("no memory")


def test_processes_that_cannot_start_are_tried_again(model: Path, caplog: pytest.LogCaptureFixture) -> None:
    outcomes: Iterator[Start] = iter([cannot_start, cannot_start, InThread(FileScorer)])

    async def work(pool: Pool, told: Told) -> None:
        with pytest.raises(NotReadyError):
            await pool.open(str(model))
        await until(lambda: pool.is_up)
        assert await values(pool, job(await pool.open(str(model)), "a")) == [-1.5]

    with caplog.at_level(logging.CRITICAL):
        run(work, start=lambda: next(outcomes)())


def test_a_caller_who_leaves_is_forgotten(model: Path) -> None:
    calls: list[list[str]] = []
    gate = threading.Event()

    class Gated(FileScorer):
        def score(self, texts: Sequence[str]) -> ScoreArrays:
            calls.append(list(texts))
            gate.wait(30)
            return super().score(texts)

    async def work(pool: Pool, told: Told) -> None:
        queue, quiet = ModelQueue(pool, await pool.open(str(model)), 1000, watch := Quiet()), watch
        first = asyncio.create_task(queue.scores(["a"]))
        await until(lambda: len(calls) == 1)
        leaving = asyncio.create_task(queue.scores(["b"]))
        staying = asyncio.create_task(queue.scores(["c"]))
        await asyncio.sleep(0.1)
        assert queue.words == 6
        leaving.cancel()
        await asyncio.sleep(0.1)
        assert (queue.words, quiet.left) == (4, 1)
        gate.set()
        await asyncio.gather(first, staying)
        assert calls == [["a"], ["c"]]
        assert len(quiet.waits) == 2
        assert queue.words == 0

    run(work, start=InThread(Gated))


def test_a_queue_refuses_what_would_be_late_by_the_speed_it_has_seen(model: Path) -> None:
    async def work(pool: Pool, told: Told) -> None:
        opened = await pool.open(str(model))
        queue = ModelQueue(pool, opened, 100_000, Quiet())
        await queue.scores(["a b c"], deadline_seconds=0.01)  # 20,000 words a second, until it is known
        with pytest.raises(BusyError, match="after the deadline") as caught:
            await queue.scores(["a " * 2000], deadline_seconds=0.01)
        assert caught.value.retry_after_seconds == pytest.approx(1.25 * 0.1, rel=0.01)
        with pytest.raises(BusyError, match="after the deadline"):
            queue.admit(2000, 0.01)
        queue.admit(100, 0.01)
        for _ in range(40):
            queue.stepped(Step(opened.model, 1000, 4000, 4.0))  # a thousand words a second
        with pytest.raises(BusyError) as caught:
            await queue.scores(["a " * 2000], deadline_seconds=0.01)
        assert caught.value.retry_after_seconds == pytest.approx(1.25 * 2.0, rel=0.01)
        with pytest.raises(BusyError) as caught:
            blocked = asyncio.create_task(queue.scores(["sleep 0.3", "x " * 60_000]))
            await asyncio.sleep(0.1)
            await queue.scores(["y " * 60_000])
        assert "full" in str(caught.value)
        await blocked

    run(work)


def test_one_more_is_not_taken_where_it_would_make_another_one_late(model: Path) -> None:
    async def work(pool: Pool, told: Told) -> None:
        opened = await pool.open(str(model))
        quick = ModelQueue(pool, opened, 10**6, Quiet())  # 20,000 words a second, it believes
        first = asyncio.create_task(quick.scores(["sleep 0.5", "a " * 20_000], deadline_seconds=1.6))
        await asyncio.sleep(0.05)
        with pytest.raises(BusyError, match="others'"):  # itself it would be in time
            await quick.scores(["b " * 10_000], deadline_seconds=30.0)
        await quick.scores(["b"], deadline_seconds=30.0)  # next to nothing
        await quick.scores(["b " * 10_000])  # without a deadline it is taken
        await first
        late = asyncio.create_task(quick.scores(["sleep 0.5", "a " * 20_000], deadline_seconds=1.3))
        await asyncio.sleep(0.05)
        pool._members[0].jobs[max(pool._members[0].jobs)].deadline = 0.0
        await quick.scores(["b " * 10_000], deadline_seconds=30.0)  # what is late anyhow keeps nobody out
        await late

    run(work)


def test_large_jobs_are_spread_and_keep_their_order(tmp_path: Path) -> None:
    class Lengths(FileScorer):
        def __init__(self, source: str) -> None:
            self.name, self.digest, self._value = "n", "sha256:0", 0.0

        def score(self, texts: Sequence[str]) -> ScoreArrays:
            lengths = np.array([len(text) for text in texts], dtype=np.int64)
            return ScoreArrays(-lengths.astype(np.float64), lengths, 0 * lengths)

    async def work(pool: Pool, told: Told) -> None:
        queue = ModelQueue(pool, await pool.open("any"), 10**6, Quiet())
        texts = ["w " * (k % 37) + f"{k}" for k in range(3000)]
        found = await queue.scores(texts)
        assert found.scores.token_counts.tolist() == [len(text) for text in texts]
        assert len({step.model for step in told.steps}) == 1
        tokens = await queue.tokens(["a", "b"])
        assert [[token.token for token in one] for one in tokens] == [["a"], ["b"]]
        assert (await queue.scores([])).scores.nat_log_probs.tolist() == []

    run(work, start=InThread(Lengths), size=3)


def test_the_jobs_of_a_key_are_of_one_owner(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    owners: list[str | None] = []

    async def work(pool: Pool, told: Told) -> None:
        queue = ModelQueue(pool, await pool.open(str(model)), 1000, Quiet())
        score = pool.score
        monkeypatch.setattr(pool, "score", lambda asked: owners.append(asked.owner) or score(asked))
        for caller in ("k", "k", None, None):
            token = CALLER.set(caller)
            await queue.scores(["a"])
            CALLER.reset(token)

    run(work, start=InThread(FileScorer))
    assert owners[0] == owners[1] == "key k"
    assert len(set(owners)) == 3


def test_the_thread_of_tests_ends_as_a_process_does(model: Path) -> None:
    async def work(pool: Pool, told: Told) -> None:
        opened = await pool.open(str(model))
        member = pool._members[0]
        assert member.process is not None
        waiting = asyncio.create_task(pool.score(job(opened, "sleep 0.5")))
        await asyncio.sleep(0.1)
        member.process.kill()
        with pytest.raises(ProcessLostError):
            await waiting
        await until(lambda: pool.is_up)

    assert run(work, start=InThread(functools.partial(FileScorer))).losses == ["end of thread"]
