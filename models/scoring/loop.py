"""One thread that scores for many callers at once: tasks go in, futures come back, all advance step by step.

submit ─▶ inbox ─▶ frontier: add, drop what was cancelled, step ─▶ results
"""

import logging
import queue
import threading
from concurrent.futures import Future
from typing import Any, Protocol, TypeVar

from models.scoring.climb import Work
from models.scoring.frontier import Frontier
from models.scoring.tasks import Task

log = logging.getLogger("nbest.scoring")

T = TypeVar("T")


class Scorer(Protocol):
    """Whose tasks the loop works on."""

    def frontier(self) -> Frontier:
        """A new frontier for them."""


class ScoringLoop:
    """Works on tasks of one scorer until it is closed; an idle loop waits, and costs nothing."""

    def __init__(self, scorer: Scorer, name: str = "scoring") -> None:
        self._scorer = scorer
        self._inbox: queue.SimpleQueue[tuple[Task[Any], Future[Any]] | None] = queue.SimpleQueue()
        self._running: dict[Work, tuple[Task[Any], Future[Any]]] = {}
        self._closed = False
        self._thread = threading.Thread(target=self._work, name=name, daemon=True)
        self._thread.start()

    def submit(self, task: Task[T]) -> "Future[T]":
        """The task's result to come; cancelling it drops the task before the next step.

        Raises RuntimeError after `close`.
        """
        if self._closed:
            raise RuntimeError("the scoring loop is closed")
        future: Future[T] = Future()
        self._inbox.put((task, future))
        return future

    def close(self) -> None:
        """Finish what was submitted, then stop; returns when that is done."""
        self._closed = True
        self._inbox.put(None)
        self._thread.join()

    def _work(self) -> None:
        frontier = self._scorer.frontier()
        stopping = False
        while not (stopping and frontier.is_idle):
            stopping |= self._receive(frontier, wait=frontier.is_idle and not stopping)
            try:
                for work, (_, future) in list(self._running.items()):
                    if future.cancelled():
                        frontier.drop(work)
                        del self._running[work]
                over = frontier.step()
            except Exception as error:
                # Whose fault it was cannot be told: all that were in work hear of it, and the rest goes on.
                log.exception("a step failed, and %d tasks with it", len(self._running))
                failed, self._running = self._running, {}
                for _, future in failed.values():
                    _settle(future, error=error)
                frontier = self._scorer.frontier()
                continue
            for work in over:
                task, future = self._running.pop(work)
                try:
                    result = task.result()
                except Exception as error:
                    _settle(future, error=error)
                else:
                    _settle(future, result)

    def _receive(self, frontier: Frontier, *, wait: bool) -> bool:
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
            elif not got[1].cancelled():
                self._running[frontier.add(got[0].groups(), got[0].keep)] = got


def _settle(future: "Future[Any]", result: Any = None, error: Exception | None = None) -> None:
    """Give a future its end, unless it was cancelled."""
    if not future.set_running_or_notify_cancel():
        return
    if error is None:
        future.set_result(result)
    else:
        future.set_exception(error)
