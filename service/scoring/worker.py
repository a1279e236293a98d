"""Inside a scoring process: holds the models, works on all jobs at once, says what came of each.

orders ─▶ this thread ─▶ loader: opens models          ─▶ reports
                     └─▶ scoring loop: all jobs, step by step
"""

import logging
import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from multiprocessing.connection import Connection
from typing import Any

from nbest.errors import NbestError
from rescoring.scorer import ScoreArrays
from service.logs import LogFormat, log_of_a_server
from service.memory import resident_bytes
from service.scoring.messages import (
    CloseModel,
    Failed,
    Opened,
    OpenModel,
    Order,
    Report,
    Scored,
    ScoreTexts,
    Started,
    Step,
    Steps,
    Token,
)
from service.scoring.plain import PlainScorer

log = logging.getLogger("nbest.scoring")

Opener = Callable[[str], Any]
_SAY_SECONDS = 0.25  # between two reports of steps, while at work
_TURN_SECONDS = 0.0005  # an order that comes waits for no more of a step's Python than that


def main(connection: Connection, opener: Opener, threads: int, log_format: LogFormat) -> None:
    """A whole process; ends when the other end of the connection is closed, or gone."""
    for number in (signal.SIGINT, signal.SIGTERM):  # a terminal or a supervisor tells every process
        signal.signal(number, signal.SIG_IGN)
    log_of_a_server(log_format)
    sys.setswitchinterval(_TURN_SECONDS)
    import torch

    torch.set_num_threads(threads)
    serve(connection, opener)
    os._exit(0)  # whatever is in work, nobody waits for it


def serve(connection: Connection, opener: Opener) -> None:
    """Takes orders until the connection ends."""
    Worker(connection, opener).run()


class Worker:
    """Models and jobs by number."""

    def __init__(self, connection: Connection, opener: Opener) -> None:
        from models.scoring.loop import ScoringLoop  # torch

        self._connection = connection
        self._opener = opener
        self._sending = threading.Lock()
        self._models: dict[int, Any] = {}
        self._numbers: dict[Any, int] = {}
        self._jobs: dict[int, Future[Any]] = {}
        self._loader = ThreadPoolExecutor(1, "loading")
        self._steps: list[Step] = []
        self._said = 0.0
        self._loop = ScoringLoop(self._stepped)

    def run(self) -> None:
        """Takes orders until the connection ends; raises what is wrong with an order."""
        import torch

        self._send(Started(torch.get_num_threads()))
        while True:
            try:
                self._obey(self._connection.recv())
            except (EOFError, OSError):
                break
        for job in list(self._jobs.values()):
            job.cancel()
        self._loader.shutdown(wait=False, cancel_futures=True)

    def _obey(self, order: Order) -> None:
        """A method, so that nothing is held on to while the next order is waited for."""
        if isinstance(order, ScoreTexts):
            self._score(order)
        elif isinstance(order, OpenModel):
            self._loader.submit(self._open, order)
        elif isinstance(order, CloseModel):
            self._numbers.pop(self._models.pop(order.model, None), None)
        elif (job := self._jobs.pop(order.job, None)) is not None:
            job.cancel()

    def _open(self, order: OpenModel) -> None:
        before = resident_bytes()
        try:
            scorer = self._opener(order.source)
            if not hasattr(scorer, "frontier"):
                scorer = PlainScorer(scorer)
        except Exception as error:
            if not isinstance(error, NbestError | OSError):
                log.error("opening a model failed", exc_info=error)
            self._fail(order.model, error)
            return
        self._models[order.model] = scorer
        self._numbers[scorer] = order.model
        grown = max(0, resident_bytes() - before)
        self._send(Opened(order.model, scorer.digest, scorer.takes_context, grown))

    def _score(self, order: ScoreTexts) -> None:
        began = time.monotonic()
        try:
            scorer = self._models[order.model]
            make = scorer.token_task if order.tokens else scorer.score_task
            task = make(order.texts, order.contexts)
            job = self._loop.submit(scorer, task, order.owner)
        except Exception as error:
            log.error("a job could not be begun", exc_info=error)
            self._fail(order.job, error)
            return
        self._jobs[order.job] = job
        job.add_done_callback(lambda done: self._done(order, task, began, done))

    def _done(self, order: ScoreTexts, task: Any, began: float, job: "Future[Any]") -> None:
        """In the scoring loop's thread, or in the one that cancelled."""
        self._jobs.pop(order.job, None)
        if job.cancelled():
            return
        error = job.exception()
        if error is not None:
            self._fail(order.job, error)
            return
        self._say_steps()
        try:
            scored = _scored(order, task, began, job.result())
        except Exception as failed:  # nobody else would hear of it, and the job be waited for
            log.error("a job's answer could not be made", exc_info=failed)
            self._fail(order.job, failed)
        else:
            self._send(scored)

    def _fail(self, number: int, error: BaseException) -> None:
        self._send(Failed(number, error if isinstance(error, NbestError | OSError) else None))

    def _stepped(self, scorer: Any, step: Any) -> None:
        number = self._numbers.get(scorer, -1)  # closed meanwhile
        self._steps.append(Step(number, step.nodes, step.words, step.seconds))
        if time.monotonic() - self._said > _SAY_SECONDS:
            self._say_steps()

    def _say_steps(self) -> None:
        self._said = time.monotonic()
        steps, self._steps = self._steps, []
        if steps:
            self._send(Steps(steps))

    def _send(self, report: Report) -> None:
        try:
            with self._sending:
                self._connection.send(report)
        except OSError:
            pass  # the other end is gone; `run` hears of it


def _scored(order: ScoreTexts, task: Any, began: float, result: Any) -> Scored:
    if order.tokens:
        tokens = [[Token(*token) for token in text] for text in result]
        return Scored(order.job, None, tokens, task.unique_tokens, began)
    scores = ScoreArrays(result.nat_log_probs, result.token_counts, result.oov_counts)
    return Scored(order.job, scores, None, task.unique_tokens, began)
