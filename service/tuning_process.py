"""One tuning at a time, each in a process of its own that gives way to scoring; who waits is counted."""

import asyncio
import logging
import os
import pickle
import sys
from collections.abc import Callable, Coroutine, Mapping
from contextlib import suppress
from pathlib import Path
from time import monotonic
from typing import Any

from nbest.errors import BusyError, LimitError, NbestError
from service.tuning_worker import LENGTH_BYTES, Result, Task

log = logging.getLogger("nbest.service")

Tell = Callable[[Mapping[str, Any]], None]
MOST = 5  # tunings in hand: one that runs, and those that wait or whose texts are scored
_WORK = "from service.tuning_worker import main; main()"
_ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
_PACKAGES = str(Path(__file__).parents[1])


class TuningFailedError(NbestError):
    """The tuning failed: a fault of the service, not of the request."""

    slug = "tuning-failed"


class Tunings:
    """The tunings in hand; for the event loop.

    seconds  longest search of one, from the start of its process
    """

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._turn = asyncio.Lock()
        self._tasks: set[asyncio.Task[None]] = set()
        self._until = 0.0  # by then the search that runs has ended

    def check_room(self) -> None:
        """Raises BusyError where no more are taken."""
        if len(self._tasks) >= MOST:
            raise BusyError(
                f"{MOST} tunings are in hand", retry_after_seconds=max(1.0, self._until - monotonic())
            )

    def start(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """The work as a task that is in hand until it ends; whoever asked is told of its errors."""
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._ended)
        return task

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled():
            task.exception()

    async def run(self, task: Task, tell: Tell) -> Result:
        """What comes of `task`, when its turn has come; where this is cancelled its process is killed.

        Raises what tuning raises, LimitError when it takes longer than it may, TuningFailedError.
        """
        if self._turn.locked():
            tell({"stage": "waiting"})
        async with self._turn:
            self._until = monotonic() + self._seconds
            try:
                async with asyncio.timeout(self._seconds):
                    return await _run(task, tell)
            except TimeoutError:
                raise LimitError(
                    "this takes too long for the service: nbest tune has no such limit",
                    expected=f"at most {self._seconds:g} seconds",
                ) from None

    async def close(self) -> None:
        """All end now, their processes too."""
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _run(task: Task, tell: Tell) -> Result:
    packed = await asyncio.to_thread(pickle.dumps, task)
    path = os.pathsep.join([_PACKAGES, *filter(None, [os.environ.get("PYTHONPATH")])])
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-c",
        _WORK,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env={**os.environ, **_ONE_THREAD, "PYTHONPATH": path},
    )
    assert process.stdin is not None
    assert process.stdout is not None
    assert process.stderr is not None
    complaints = asyncio.create_task(process.stderr.read())
    try:
        with suppress(ConnectionError):  # it has gone already: the end of its output says so
            process.stdin.write(packed)
            await process.stdin.drain()
        while True:
            length = int.from_bytes(await process.stdout.readexactly(LENGTH_BYTES), "little")
            told = pickle.loads(await process.stdout.readexactly(length))  # of a process of ours
            if isinstance(told, Result):
                return told
            if isinstance(told, NbestError):
                raise told
            tell(told)
    except asyncio.IncompleteReadError:
        code, words = await process.wait(), (await complaints).decode(errors="replace")
        log.error("a tuning ended with the status %d: %s", code, words)
        raise TuningFailedError("the tuning failed; the service's log has the details") from None
    finally:
        with suppress(ProcessLookupError):
            process.kill()
        process.stdin.close()
        await process.wait()
        await complaints
