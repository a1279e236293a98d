"""Concurrent requests share calls of one function: a bounded queue, fair batches, unique texts once.

    requests ─▶ queue of jobs ─▶ batch: an equal share of words from every waiting job ─▶ one call in a thread
                                        texts that stand in several jobs are in it once
    each job gets exactly its own answers; a cancelled job leaves; a failing batch is tried job by job

The queue and the plan live on the event loop; only the call itself runs in the thread, so nothing
here needs a lock.
"""

import asyncio
import logging
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from contextvars import Context
from dataclasses import dataclass, field
from time import perf_counter
from typing import Generic, Protocol, TypeVar

from nbest.errors import BusyError, NbestError
from service.errors import ScoringFailedError

log = logging.getLogger("nbest.service")

_FIRST_WORDS_PER_SECOND = 20_000.0  # before anything was measured; replaced by the first batch
_CALL_SECONDS = 0.5  # a call aims at this: whoever comes meanwhile waits for it, and for little more
_LEAST_WORDS = 2048  # of a call, however slow the model: shorter ones would tear lists' common prefixes apart
_SMOOTHING = 0.3  # weight of the newest batch in the measured speed


T = TypeVar("T")


@dataclass(eq=False)
class Job(Generic[T]):
    """One request's unique texts and what came of them so far."""

    texts: Sequence[str]
    costs: Sequence[int]  # words of each text
    left: int  # words that no batch has taken yet
    done: asyncio.Future[dict[str, T]]
    enqueued: float = field(default_factory=perf_counter)
    began: float | None = None  # when a batch first took of it
    taken: int = 0  # texts[:taken] are in a batch or answered
    answers: dict[str, T] = field(default_factory=dict)

    @property
    def waiting(self) -> bool:
        """Whether a batch should still take of it."""
        return self.taken < len(self.texts) and not self.done.done()

    def take(self, share: int) -> Sequence[str]:
        """The next texts within `share` words; at least one, so that nobody starves."""
        first = self.taken
        while self.taken < len(self.texts) and (self.costs[self.taken] <= share or self.taken == first):
            share -= self.costs[self.taken]
            self.left -= self.costs[self.taken]
            self.taken += 1
        return self.texts[first : self.taken]


@dataclass(frozen=True)
class Answers(Generic[T]):
    """One answer for each text asked for, and how long they took."""

    by_text: dict[str, T]
    queue_seconds: float
    compute_seconds: float


def words(text: str) -> int:
    """What a text costs: its words and the end of the sentence."""
    return text.count(" ") + 2


def fair_shares(waiting: Sequence[int], room: int) -> list[int]:
    """Max-min fair division of `room` among jobs that wait for so many words each.

    >>> fair_shares([5, 100, 30], 60)
    [5, 28, 27]
    """
    shares = [0] * len(waiting)
    order = sorted(range(len(waiting)), key=lambda job: waiting[job])
    for position, job in enumerate(order):
        shares[job] = min(waiting[job], -(-room // (len(order) - position)))
        room -= shares[job]
    return shares


class Observer(Protocol):
    """Is told what becomes of jobs and batches, on the event loop."""

    def waited(self, seconds: float) -> None:
        """A job's first texts are in a batch, after so long."""

    def called(self, texts: int, words: int, seconds: float) -> None:
        """A batch came back, with answers or without."""


class Batcher(Generic[T]):
    """Answers texts by calling `call` on merged batches, one call at a time.

    call         texts (each once) -> one answer per text, in their order; runs in `executor`
    batch_words  most words in a call; fewer where they would take long, but one text alone may exceed it
    queue_words  words that may wait; more raise BusyError. A job always fits an empty queue.
    """

    def __init__(
        self,
        call: Callable[[Sequence[str]], Sequence[T]],
        executor: Executor,
        *,
        batch_words: int,
        queue_words: int,
        observer: Observer | None = None,
    ) -> None:
        self._call = call
        self._observer = observer
        self._executor = executor
        self._batch_words = batch_words
        self._queue_words = queue_words
        self._jobs: list[Job[T]] = []
        self._worker: asyncio.Task[None] | None = None
        self._words_per_second = _FIRST_WORDS_PER_SECOND

    @property
    def waiting_words(self) -> int:
        """Words that no batch has taken yet."""
        return sum(job.left for job in self._jobs if job.waiting)

    @property
    def wait_seconds(self) -> float:
        """Estimated seconds until what waits now is done."""
        return self.waiting_words / self._words_per_second

    def check_wait(self, deadline_seconds: float | None) -> None:
        """Raises BusyError for what would only time out: the queue alone is longer than the deadline."""
        if deadline_seconds is not None and self.wait_seconds > deadline_seconds:
            message = "the model's queue is longer than the deadline"
            raise BusyError(message, retry_after_seconds=self.wait_seconds)

    async def __call__(self, texts: Sequence[str]) -> Answers[T]:
        """An answer for each of `texts`; raises BusyError when the queue is full."""
        unique = tuple(dict.fromkeys(texts))
        if not unique:
            return Answers({}, 0.0, 0.0)
        costs = [words(text) for text in unique]
        waiting = self.waiting_words
        if waiting and waiting + sum(costs) > self._queue_words:
            raise BusyError("the model's queue is full", retry_after_seconds=self.wait_seconds)
        job: Job[T] = Job(unique, costs, sum(costs), asyncio.get_running_loop().create_future())
        self._jobs.append(job)
        if self._worker is None or self._worker.done():
            # Of no request: it serves all of them, and what it logs is nobody's.
            self._worker = asyncio.create_task(self._work(), context=Context())
        answers = await job.done  # cancelled with its caller: then no batch takes of the job any more
        began = job.began or job.enqueued
        return Answers(answers, began - job.enqueued, perf_counter() - began)

    async def _work(self) -> None:
        # The loop's next turn: requests that arrived together then share the first batch too.
        await asyncio.sleep(0)
        while self._jobs:
            batch = self._take()
            if batch:
                await self._run(batch)
            self._jobs = [job for job in self._jobs if job.waiting]

    def _take(self) -> list[tuple[Job[T], Sequence[str]]]:
        """The next batch: of each waiting job the next texts within its fair share of words."""
        jobs = [job for job in self._jobs if job.waiting]
        aim = max(_LEAST_WORDS, int(self._words_per_second * _CALL_SECONDS))
        shares = fair_shares([job.left for job in jobs], min(self._batch_words, aim))
        now = perf_counter()
        for job in jobs:
            if job.began is None:
                job.began = now
                if self._observer:
                    self._observer.waited(now - job.enqueued)
        return [(job, job.take(share)) for job, share in zip(jobs, shares, strict=True)]

    async def _run(self, batch: list[tuple[Job[T], Sequence[str]]]) -> None:
        texts = list(dict.fromkeys(text for _, slice_ in batch for text in slice_))
        began = perf_counter()
        try:
            answers = await asyncio.get_running_loop().run_in_executor(self._executor, self._call, texts)
            by_text = dict(zip(texts, answers, strict=True))
        except Exception as error:
            await self._fail(batch, error)
            return
        finally:
            seconds = perf_counter() - began
            size = sum(map(words, texts))
            if self._observer:
                self._observer.called(len(texts), size, seconds)
        speed = size / max(seconds, 1e-6)
        self._words_per_second += _SMOOTHING * (speed - self._words_per_second)
        for job, slice_ in batch:
            job.answers.update((text, by_text[text]) for text in slice_)
            if len(job.answers) == len(job.texts) and not job.done.done():
                job.done.set_result(job.answers)

    async def _fail(self, batch: list[tuple[Job[T], Sequence[str]]], error: Exception) -> None:
        """One job's text must not fail its batch mates: each is tried alone, and fails alone."""
        if len(batch) > 1:
            for part in batch:
                if not part[0].done.done():
                    await self._run([part])
            return
        job = batch[0][0]
        if job.done.done():
            return
        if isinstance(error, NbestError):
            job.done.set_exception(error)
        else:
            log.error("scoring failed", exc_info=error)
            job.done.set_exception(
                ScoringFailedError("the model failed on these texts; its log has the details")
            )
