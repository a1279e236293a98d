"""Processes that take blocks and give back what became of them, in order; one that dies is noticed.

Each process has a pipe of its own: of a queue that all share, one that is killed while it writes would leave
the others, and the reader, waiting for ever. A block whose process died is given to another, so often as
RETRIES says: what kills every process that takes it (memory, mostly) is an error. A process whose parent is
gone, however that ended, ends at once.
"""

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, wait
from typing import Any, Generic, TypeVar, cast

from nbest.errors import ConfigError, NbestError

T = TypeVar("T")
R = TypeVar("R")
RETRIES = 2  # of one task, after the first process that died on it
AHEAD = 2  # tasks in hand for each process, finished ones that wait for their turn counted: memory is bounded
END_SECONDS = 5.0  # that a process has to end by itself
STARTING = -1  # in place of a task


@dataclass
class _Worker:
    process: Any
    pipe: Connection
    task: int | None = STARTING  # what it works at


@dataclass
class _State(Generic[T, R]):
    """Tasks under way by number, and the results that wait for their turn."""

    open: dict[int, T] = field(default_factory=dict)
    results: dict[int, R] = field(default_factory=dict)
    again: list[int] = field(default_factory=list)  # open, and with no process
    deaths: dict[int, int] = field(default_factory=dict)


def in_order(
    make: Callable[[], Callable[[T], R]],
    tasks: Iterable[T],
    jobs: int,
    say: Callable[[str], None] = lambda _: None,
) -> Iterator[R]:
    """``make()(task)`` for each task, by `jobs` processes; the results come in the tasks' order.

    `make` is called once in each process. It, the tasks and the results are pickled. `say` is told of a
    process that died. Raises what a task raised, and NbestError where processes keep dying.
    """
    if jobs < 1:
        raise ConfigError("no process to work", expected="jobs of at least 1", got=str(jobs))
    context = multiprocessing.get_context("spawn")  # a fork of a process with threads may hang
    numbered = enumerate(tasks)
    state: _State[T, R] = _State()
    workers: list[_Worker] = []
    turn = 0
    more = True
    try:
        while True:
            while turn in state.results:
                yield state.results.pop(turn)
                turn += 1
            # A task is read ahead of the process that will be free for it; one beyond the bound has to wait.
            while more and len(state.open) + len(state.results) < AHEAD * jobs:
                number, task = next(numbered, (-1, None))
                more = number >= 0
                if more:
                    state.open[number] = cast("T", task)
                    state.again.append(number)
                    _hand_out(state, workers, context, make, jobs)
            if not state.open and not state.results:
                return
            _hand_out(state, workers, context, make, jobs)
            if turn not in state.results:
                _listen(state, workers, say)
    finally:
        _end(workers)


def _hand_out(
    state: _State[T, R],
    workers: list[_Worker],
    context: Any,
    make: Callable[[], Callable[[T], R]],
    jobs: int,
) -> None:
    """Tasks that wait go to idle processes, lowest number first; new ones are started up to `jobs`."""
    state.again.sort()
    while state.again:
        idle = next((one for one in workers if one.task is None), None)
        if idle is None:
            starting = sum(one.task == STARTING for one in workers)
            if len(workers) < jobs and starting < len(state.again):
                workers.append(_started(context, make))
                continue
            return
        idle.task = state.again.pop(0)
        with suppress(OSError):  # it died before it had its task: `_listen` sees that
            idle.pipe.send(state.open[idle.task])


def _started(context: Any, make: Callable[[], Callable[[T], R]]) -> _Worker:
    mine, theirs = context.Pipe()
    process = context.Process(target=_work, args=(theirs, make), daemon=True)
    # A terminal sends these to all processes; they stay blocked in the new one, for its parent ends it.
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGHUP})
    try:
        process.start()
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
    theirs.close()  # so that the end of the process is the end of the pipe
    return _Worker(process, mine)


def _listen(state: _State[T, R], workers: list[_Worker], say: Callable[[str], None]) -> None:
    """Waits until some process has a result or is dead, and takes note of it."""
    for ready in wait([one.pipe for one in workers]):
        worker = next(one for one in workers if one.pipe is ready)
        try:
            is_well, content = worker.pipe.recv()
        except (EOFError, OSError):
            workers.remove(worker)
            _mourn(state, worker, say)
            continue
        if not is_well:
            raise content
        assert worker.task is not None
        if worker.task != STARTING:
            del state.open[worker.task]
            state.results[worker.task] = content
        worker.task = None


def _mourn(state: _State[T, R], worker: _Worker, say: Callable[[str], None]) -> None:
    """A process is dead: its task waits for another, unless too many have died of it."""
    worker.pipe.close()
    worker.process.join()
    code = worker.process.exitcode
    how = f"was killed by {signal.Signals(-code).name}" if code < 0 else f"ended with code {code}"
    if worker.task is None:
        say(f"a worker process {how}; another takes its place")
        return
    at = "at its start" if worker.task == STARTING else f"at task {worker.task + 1}"
    deaths = state.deaths[worker.task] = state.deaths.get(worker.task, 0) + 1
    if deaths > RETRIES:
        raise NbestError(
            f"{deaths} worker processes died {at}, the last one {how}",
            expected="memory for a model and a block in each of --jobs processes",
        )
    say(f"a worker process {how} {at}; another takes its place")
    if worker.task != STARTING:
        state.again.append(worker.task)


def _end(workers: list[_Worker]) -> None:
    """No process is left behind, whatever it is at."""
    for worker in workers:
        worker.pipe.close()
        if worker.task is not None:
            worker.process.kill()
    for worker in workers:
        worker.process.join(END_SECONDS)
        if worker.process.is_alive():
            worker.process.kill()
            worker.process.join()


def _work(pipe: Connection, make: Callable[[], Callable[[Any], Any]]) -> None:
    """A process: results for tasks, until there is nobody to give one."""
    threading.Thread(target=_outlive_nobody, daemon=True).start()
    try:
        task = make()
    except Exception as error:
        pipe.send((False, portable(error)))
        return
    with suppress(EOFError, OSError):
        pipe.send((True, None))
        while True:
            given = pipe.recv()
            try:
                answer = (True, task(given))
            except Exception as error:
                answer = (False, portable(error))
            pipe.send(answer)


def _outlive_nobody() -> None:
    """Ends this process when its parent ends, though it may be in the middle of a block."""
    parent = multiprocessing.parent_process()
    assert parent is not None
    wait([parent.sentinel])
    os._exit(1)


def portable(error: Exception) -> Exception:
    """Errors of ours cross as they are; others as their text, with where they came from."""
    import traceback

    return (
        error if isinstance(error, NbestError) else RuntimeError("".join(traceback.format_exception(error)))
    )
