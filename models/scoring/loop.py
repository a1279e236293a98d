"""One thread that scores for many callers at once: tasks go in, futures come back, all advance step by step.

submit ─▶ inbox ─▶ a frontier per scorer: add, drop what was cancelled, step ─▶ results
                   the scorers take turns, step by step
"""

import logging
import queue
import threading
from collections import deque
from collections.abc import Callable, Hashable
from concurrent.futures import Future
from dataclasses import dataclass
from time import perf_counter
from typing import Any, Protocol, TypeVar

from models.scoring.climb import GroupScores, Work
from models.scoring.frontier import Frontier
from models.scoring.tasks import Task

log = logging.getLogger("nbest.scoring")

T = TypeVar("T")


class Scorer(Protocol):
    """Whose tasks the loop works on."""

    def frontier(self) -> Frontier:
        """A new frontier for them."""


@dataclass(frozen=True)
class Step:
    """What a step did.

    nodes  prefixes read
    words  of the groups of texts that it completed, ``</s>`` counted
    """

    nodes: int
    words: int
    seconds: float


@dataclass(frozen=True, eq=False)
class _Job:
    task: Task[Any]
    owner: Hashable
    future: Future[Any]


_Ended = tuple[Future[Any], Any, Exception | None]


class _Lane:
    """The jobs of one scorer: in its frontier; or, after a step that failed, one after the other."""

    def __init__(self, scorer: Scorer) -> None:
        self._scorer = scorer
        self._frontier: Frontier | None = None
        self._running: dict[Work, _Job] = {}
        self._suspects: deque[_Job] = deque()
        self._words = 0

    @property
    def is_idle(self) -> bool:
        return not self._running and not self._suspects

    def add(self, job: _Job) -> None:
        if self._suspects:
            self._suspects.append(job)
        else:
            self._begin(job)

    def _begin(self, job: _Job) -> None:
        if self._frontier is None:
            self._frontier = self._scorer.frontier()
            self._frontier.others_come = True
        self._running[self._frontier.add(job.task.groups(), self._keep(job.task), job.owner)] = job

    def _keep(self, task: Task[Any]) -> Callable[[GroupScores], None]:
        def keep(scores: GroupScores) -> None:
            before = task.words_read
            task.keep(scores)
            self._words += task.words_read - before

        return keep

    def step(self) -> tuple[Step, list[_Ended]]:
        """One step of those in work, and who is done."""
        began = perf_counter()
        while self._suspects and not self._running:
            job = self._suspects.popleft()
            if not job.future.cancelled():
                self._begin(job)
        if self._frontier is None:
            return Step(0, 0, 0.0), []
        nodes, self._words = self._frontier.nodes_read, 0
        try:
            for work, job in list(self._running.items()):
                if job.future.cancelled():
                    self._frontier.drop(work)
                    del self._running[work]
            over = self._frontier.step()
            nodes = self._frontier.nodes_read - nodes
        except Exception as error:
            return Step(0, 0, perf_counter() - began), self._failed(error)
        ended: list[_Ended] = []
        for work in over:
            job = self._running.pop(work)
            try:
                ended.append((job.future, job.task.result(), None))
            except Exception as error:
                ended.append((job.future, None, error))
        if not self._running:
            self._frontier = None  # and its memory
        return Step(nodes, self._words, perf_counter() - began), ended

    def _failed(self, error: Exception) -> list[_Ended]:
        """Whose fault it was cannot be told of several: each is tried alone, and fails alone."""
        jobs = list(self._running.values())
        self._running, self._frontier = {}, None
        if len(jobs) > 1:
            log.warning("a step of %d tasks failed (%s): they are tried one by one", len(jobs), error)
            self._suspects.extend(jobs)
            return []
        log.error("scoring failed", exc_info=error)
        return [(job.future, None, error) for job in jobs]


class ScoringLoop:
    """Works on tasks until it is closed; an idle loop waits, and costs nothing.

    observer  is told of every step, in the loop's thread
    """

    def __init__(self, observer: Callable[[Scorer, Step], None] | None = None, name: str = "scoring") -> None:
        self._observer = observer
        self._inbox: queue.SimpleQueue[tuple[Scorer, _Job] | None] = queue.SimpleQueue()
        self._lanes: dict[Scorer, _Lane] = {}
        self._closed = False
        self._thread = threading.Thread(target=self._work, name=name, daemon=True)
        self._thread.start()

    def submit(self, scorer: Scorer, task: Task[T], owner: Hashable = None) -> "Future[T]":
        """The task's result to come; cancelling it drops the task before the next step.

        owner  whose it is: the tasks of one owner have one share of each step together
        Raises RuntimeError after `close`.
        """
        if self._closed:
            raise RuntimeError("the scoring loop is closed")
        future: Future[T] = Future()
        self._inbox.put((scorer, _Job(task, owner, future)))
        return future

    def close(self) -> None:
        """Finish what was submitted, then stop; returns when that is done."""
        self._closed = True
        self._inbox.put(None)
        self._thread.join()

    def _work(self) -> None:
        stopping = False
        while not (stopping and not self._lanes):
            stopping |= self._receive(wait=not self._lanes and not stopping)
            self._step()

    def _step(self) -> None:
        """A step of each scorer. A method, so that nothing is held on to while the loop waits."""
        for scorer, lane in list(self._lanes.items()):
            step, ended = lane.step()
            if self._observer is not None:
                self._observer(scorer, step)
            if lane.is_idle:
                del self._lanes[scorer]
            for future, result, error in ended:
                _settle(future, result, error)

    def _receive(self, *, wait: bool) -> bool:
        """Take what is in the inbox, waiting for something if told so; whether to stop is among it."""
        stopping = False
        while True:
            try:
                got = self._inbox.get(block=wait)
            except queue.Empty:
                return stopping
            wait = False
            if got is None:
                stopping = True
            elif not got[1].future.cancelled():
                scorer, job = got
                self._lanes.setdefault(scorer, _Lane(scorer)).add(job)


def _settle(future: "Future[Any]", result: Any = None, error: Exception | None = None) -> None:
    """Give a future its end, unless it was cancelled."""
    if not future.set_running_or_notify_cancel():
        return
    if error is None:
        future.set_result(result)
    else:
        future.set_exception(error)
