"""Keeps the scoring processes running: models open in each, jobs given out, a process that ends started anew.

What a lost process had in work fails as "try again"; the others go on. Readiness is gone while none is up.
"""

import asyncio
import itertools
import logging
import time
from collections.abc import Coroutine, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Protocol

import numpy as np

from nbest.errors import ModelFileError, NbestError
from service.errors import NotReadyError, ProcessLostError, ScoringFailedError
from service.scoring.messages import (
    Cancel,
    CloseModel,
    Context,
    Failed,
    Opened,
    OpenModel,
    Report,
    Scored,
    ScoreTexts,
    Started,
    Step,
    Steps,
)
from service.scoring.process import ScoringProcess, Start
from service.scoring.shares import Waiting, finish_seconds, used_seconds

log = logging.getLogger("nbest.scoring")

_SHORT_LIFE_SECONDS = 30.0  # one that ends sooner is started again with a growing delay
_LONGEST_DELAY_SECONDS = 30.0
_START_SECONDS = 300.0
_LATER = 1.25  # of what is computed: speeds vary, and who comes next takes a share too
_REST = 0.02  # of a job's seconds are left until it is done
_LOOK_SECONDS = 1.0  # how often one is looked at that may be stuck


class Observer(Protocol):
    """Is told what the processes do, on the event loop."""

    def stepped(self, step: Step) -> None:
        """A step ended."""

    def lost(self, how: str) -> None:
        """A process ended that nobody had told to."""

    def up(self, is_up: bool) -> None:
        """Whether jobs can be taken now."""

    def gone(self, model: int) -> None:
        """A model could not be opened again, or its files had changed."""


@dataclass(frozen=True)
class Job:
    """Texts for a model.

    seconds           what they would take alone, by the model's speed so far
    deadline_seconds  what is done later is of no use
    """

    model: int
    texts: Sequence[str]
    seconds: float
    contexts: Sequence[Context] | None = None
    tokens: bool = False
    owner: str | None = None
    deadline_seconds: float | None = None


@dataclass
class _InWork:
    """A job that a process has; `left` of its seconds, as far as can be told from here."""

    job: Job
    done: asyncio.Future[Scored]
    left: float
    deadline: float  # by time.monotonic

    @property
    def waiting(self) -> Waiting:
        """What is left of it."""
        return Waiting(self.job.owner, self.left)


@dataclass
class _Member:
    """One of the processes; None while it is not up."""

    process: ScoringProcess | None = None
    threads: int = 0
    born: float = 0.0
    heard: float = 0.0
    short_lives: int = 0
    counted: float = 0.0  # up to when `left` of the jobs is
    jobs: dict[int, _InWork] = field(default_factory=dict)
    openings: dict[int, asyncio.Future[Opened]] = field(default_factory=dict)
    started: asyncio.Future[Started] | None = None
    is_up: bool = False

    def wait(self, job: Job) -> tuple[float, bool]:
        """How long a job would take in it, and whether it or another one would be too late for that."""
        now = time.monotonic()
        self.count(now)
        others = list(self.jobs.values())
        before = _LATER * finish_seconds([other.waiting for other in others]) + now
        own = Waiting(job.owner, job.seconds)
        after = _LATER * finish_seconds([*(other.waiting for other in others), own]) + now
        deadlines = np.array([other.deadline for other in others])
        # Those that are late anyhow do not keep others out.
        harmed = (before <= deadlines) & (after[:-1] > deadlines)
        seconds = float(after[-1]) - now
        late = job.deadline_seconds is not None and seconds > job.deadline_seconds
        return seconds, late or bool(harmed.any())

    def count(self, now: float) -> None:
        """What the jobs have had by now."""
        jobs = list(self.jobs.values())
        used = used_seconds([one.waiting for one in jobs], now - self.counted)
        for one, seconds in zip(jobs, used.tolist(), strict=True):
            one.left = max(one.left - seconds, _REST * one.job.seconds)
        self.counted = now

    def end(self, number: int) -> asyncio.Future[Scored] | None:
        """A job has come to its end; None where it is none of this process."""
        if number not in self.jobs:
            return None
        self.count(time.monotonic())
        return self.jobs.pop(number).done

    def waiting(self) -> list[asyncio.Future[Scored] | asyncio.Future[Opened] | asyncio.Future[Started]]:
        """Everything that somebody waits for."""
        jobs = [one.done for one in self.jobs.values()]
        starts = [] if self.started is None else [self.started]
        return [*jobs, *self.openings.values(), *starts]


class Pool:
    """Several scoring processes as one; for the event loop.

    stuck_seconds  one that works on jobs and says nothing for so long is ended
    """

    def __init__(self, start: Start, size: int, observer: Observer, *, stuck_seconds: float) -> None:
        self._start = start
        self._observer = observer
        self._stuck_seconds = stuck_seconds
        self._members = [_Member() for _ in range(size)]
        self._models: dict[int, tuple[str, Opened]] = {}  # those that every process is to have
        self._numbers = itertools.count(1)
        self._tasks: set[asyncio.Task[None]] = set()
        self._first: asyncio.Future[None] | None = None  # that a process is up, or that it failed
        self._closed = False
        self._changing = asyncio.Lock()  # of the models

    @property
    def is_up(self) -> bool:
        """Whether a process is there to take jobs."""
        return any(member.is_up for member in self._members)

    @property
    def pids(self) -> list[int]:
        """Of the processes there are."""
        found = (member.process.pid for member in self._members if member.process is not None)
        return [pid for pid in found if pid is not None]

    @property
    def threads(self) -> int:
        """Of calculations, in all processes."""
        return sum(member.threads for member in self._members if member.is_up)

    @property
    def size(self) -> int:
        """How many processes there are to be."""
        return len(self._members)

    async def started(self) -> None:
        """Returns when the first process is up, or has come to an end; the first call starts them."""
        if self._first is None:
            self._first = asyncio.get_running_loop().create_future()
            for member in self._members:
                self._spawn(self._revive(member, 0.0))
            self._spawn(self._watch())
        await asyncio.shield(self._first)

    async def open(self, source: str) -> Opened:
        """A model in every process; raises what the opener does, and NotReadyError."""
        await self.started()
        number = next(self._numbers)
        async with self._changing:
            members = [member for member in self._members if member.is_up]
            if not members:
                raise _restarting()
            found = await asyncio.gather(
                *(self._open(member, number, source) for member in members), return_exceptions=True
            )
            good = [one for one in found if isinstance(one, Opened)]
            bad = [one for one in found if isinstance(one, BaseException)]
            digests = {one.digest for one in good}
            if len(digests) > 1:
                bad.append(ModelFileError("its files changed while they were read"))
            # One that was lost meanwhile gets the model when it is back.
            faults = [one for one in bad if not isinstance(one, ProcessLostError)]
            if faults or not good:
                self.close_model(number)
                raise (faults or bad)[0]
            self._models[number] = (source, good[0])
            return good[0]

    def close_model(self, model: int) -> None:
        """Nobody asks the model any more."""
        self._models.pop(model, None)
        for member in self._members:
            if member.process is not None:
                member.process.send(CloseModel(model))

    def wait(self, job: Job) -> tuple[float, bool]:
        """So long until such a job would be done, and whether it, or another for its sake, would be too late.

        (0, False) where no process is up.
        """
        waits = (member.wait(job) for member in self._members if member.is_up)
        return min(waits, key=_soonest, default=(0.0, False))

    async def score(self, job: Job) -> Scored:
        """What comes of a job; cancelled with its caller.

        Raises NotReadyError where no process is up, ProcessLostError where the one that had it ended,
        ScoringFailedError for a fault, and what the model says of its texts.
        """
        await self.started()
        members = [member for member in self._members if member.is_up]
        if not members:
            raise _restarting()
        member = min(members, key=lambda one: _soonest(one.wait(job)))
        assert member.process is not None
        number = next(self._numbers)
        future: asyncio.Future[Scored] = asyncio.get_running_loop().create_future()
        now = time.monotonic()
        if not member.jobs:
            member.heard = now
        deadline = float("inf") if job.deadline_seconds is None else now + job.deadline_seconds
        member.jobs[number] = _InWork(job, future, job.seconds, deadline)
        member.process.send(ScoreTexts(number, job.model, job.texts, job.contexts, job.tokens, job.owner))
        try:
            return await future
        finally:
            if member.end(number) is not None and member.process is not None:
                member.process.send(Cancel(number))

    def close(self) -> None:
        """End all processes; nobody waits for them any more."""
        self._closed = True
        for task in self._tasks:
            task.cancel()
        for member in self._members:
            if member.process is not None:
                member.process.close()
            member.process, member.is_up = None, False

    # A process and its end

    async def _revive(self, member: _Member, delay: float) -> None:
        """Start a process, with the models there are; again and again until it is up."""
        await asyncio.sleep(delay)
        loop = asyncio.get_running_loop()
        member.born, member.started = time.monotonic(), loop.create_future()
        try:
            connection, body = await asyncio.to_thread(self._start)
        except OSError as error:
            log.error("a scoring process cannot be started: %s", error)
            self._lost(member, "not started")
            return
        heard, lost = partial(self._heard, member), partial(self._lost, member)
        process = member.process = ScoringProcess(connection, body, loop, heard, lost)
        try:
            async with asyncio.timeout(_START_SECONDS):
                member.threads = (await member.started).threads
            async with self._changing:
                for number, (source, known) in list(self._models.items()):
                    await self._open_again(member, number, source, known)
                member.is_up = True
        except ProcessLostError:
            return  # `_lost` begins again
        except TimeoutError:
            log.error("a scoring process did not start within %.0f s", _START_SECONDS)
            process.kill()
            return
        self._observer.up(True)
        self._tell_first()

    def _tell_first(self) -> None:
        if self._first is not None and not self._first.done():
            self._first.set_result(None)

    async def _open_again(self, member: _Member, number: int, source: str, known: Opened) -> None:
        try:
            now = await self._open(member, number, source)
        except ProcessLostError:
            raise
        except (NbestError, OSError) as error:
            log.error("%s cannot be opened again: %s", source, error)
        else:
            if now.digest == known.digest:
                return
            log.error("%s is not any more what it was: %s instead of %s", source, now.digest, known.digest)
        self.close_model(number)
        self._observer.gone(number)

    async def _open(self, member: _Member, number: int, source: str) -> Opened:
        assert member.process is not None
        future: asyncio.Future[Opened] = asyncio.get_running_loop().create_future()
        member.openings[number] = future
        member.process.send(OpenModel(number, source))
        try:
            return await future
        finally:
            member.openings.pop(number, None)

    def _lost(self, member: _Member, how: str) -> None:
        """Its end: what it had in work is told so, and another one is started."""
        if self._closed:
            return
        log.error(
            "a scoring process ended (%s) with %d jobs in work; another one starts", how, len(member.jobs)
        )
        lived = time.monotonic() - member.born
        member.process, member.is_up = None, False
        for future in member.waiting():
            if not future.done():
                future.set_exception(ProcessLostError("the scoring process ended", retry_after_seconds=1.0))
                future.exception()  # told, even where nobody waits
        member.jobs.clear()
        self._observer.lost(how)
        self._tell_first()
        if not self.is_up:
            self._observer.up(False)
        member.short_lives = member.short_lives + 1 if lived < _SHORT_LIFE_SECONDS else 0
        delay = 0.0 if member.short_lives < 2 else min(_LONGEST_DELAY_SECONDS, 0.25 * 2**member.short_lives)
        self._spawn(self._revive(member, delay))

    def _heard(self, member: _Member, report: Report) -> None:
        member.heard = time.monotonic()
        if isinstance(report, Steps):
            for step in report.steps:
                self._observer.stepped(step)
        elif isinstance(report, Scored):
            over = member.end(report.job)
            if over is not None and not over.done():
                over.set_result(report)
        elif isinstance(report, Failed):
            waits = member.end(report.number) or member.openings.get(report.number)
            if waits is not None and not waits.done():
                waits.set_exception(report.error or ScoringFailedError(_FAULT))
        elif isinstance(report, Opened):
            opening = member.openings.get(report.model)
            if opening is not None and not opening.done():
                opening.set_result(report)
        elif member.started is not None and not member.started.done():
            member.started.set_result(report)

    async def _watch(self) -> None:
        """End what works and says nothing."""
        while True:
            await asyncio.sleep(min(_LOOK_SECONDS, self._stuck_seconds / 4))
            for member in self._members:
                silent = time.monotonic() - member.heard
                if member.jobs and member.process is not None and silent > self._stuck_seconds:
                    log.error("a scoring process has said nothing for %.0f s of work: it is ended", silent)
                    member.heard = time.monotonic()
                    member.process.kill()

    def _spawn(self, work: Coroutine[None, None, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._over)

    def _over(self, task: "asyncio.Task[None]") -> None:
        self._tasks.discard(task)
        if not task.cancelled() and task.exception() is not None:
            log.error("keeping a scoring process running failed", exc_info=task.exception())


_FAULT = "the model failed on these texts; its log has the details"


def _soonest(wait: tuple[float, bool]) -> tuple[bool, float]:
    seconds, late = wait
    return late, seconds


def _restarting() -> NotReadyError:
    return NotReadyError("the scoring process is being started again", retry_after_seconds=1.0)
