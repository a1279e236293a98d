"""One scoring process from the outside: orders go in, reports come back on the event loop, its end is told.

A thread writes and a thread reads, so that the loop waits for neither. In tests the same worker runs in a
thread of this process.
"""

import asyncio
import multiprocessing
import os
import pickle
import queue
import socket
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import Protocol

from service.logs import LogFormat
from service.scoring import worker
from service.scoring.messages import Order, Report


class Body(Protocol):
    """What does the work behind the connection."""

    @property
    def pid(self) -> int | None:
        """The process, if it is one."""

    def kill(self) -> None:
        """End it at once, whatever it does."""

    def ending(self) -> str:
        """How it ended, in a word: once the connection is gone."""


Start = Callable[[], tuple[Connection, Body]]


@dataclass(frozen=True)
class InProcess:
    """Starts a process of its own; `opener` must be one that another process can import."""

    opener: worker.Opener
    threads: int
    log_format: LogFormat = "text"

    def __call__(self) -> tuple[Connection, Body]:
        """A new one."""
        context = multiprocessing.get_context("spawn")  # a fork of a process with threads may hang
        ours, theirs = context.Pipe()
        process = context.Process(
            target=worker.main,
            args=(theirs, self.opener, self.threads, self.log_format),
            name="nbest-scoring",
            daemon=True,
        )
        process.start()
        theirs.close()
        return ours, _Process(process)


@dataclass(frozen=True)
class InThread:
    """Starts a thread: for openers that live in this process only."""

    opener: worker.Opener

    def __call__(self) -> tuple[Connection, Body]:
        """A new one."""
        ours, theirs = multiprocessing.Pipe()
        thread = threading.Thread(
            target=worker.serve, args=(theirs, self.opener), name="nbest-scoring", daemon=True
        )
        thread.start()
        return ours, _Thread(theirs)


class _Process:
    def __init__(self, process: "multiprocessing.context.SpawnProcess") -> None:
        self._process = process
        self.pid = process.pid

    def kill(self) -> None:
        self._process.kill()

    def ending(self) -> str:
        self._process.join(5)
        code = self._process.exitcode
        if code is None:
            self._process.kill()
            return "hung"
        return f"signal {-code}" if code < 0 else f"exit {code}"


class _Thread:
    pid = None

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def kill(self) -> None:
        # Closing alone does not wake who waits for something to read.
        with suppress(OSError), socket.socket(fileno=os.dup(self._connection.fileno())) as end:
            end.shutdown(socket.SHUT_RDWR)

    def ending(self) -> str:
        return "end of thread"


class ScoringProcess:
    """One that was started; `heard` gets its reports and `lost` its end, both on the event loop."""

    def __init__(
        self,
        connection: Connection,
        body: Body,
        loop: asyncio.AbstractEventLoop,
        heard: Callable[[Report], None],
        lost: Callable[[str], None],
    ) -> None:
        self._connection, self._body, self._loop = connection, body, loop
        self._heard, self._lost = heard, lost
        self._outbox: queue.SimpleQueue[Order | None] = queue.SimpleQueue()
        for name, work in (("to", self._write), ("from", self._read)):
            threading.Thread(target=work, name=f"{name}-scoring", daemon=True).start()

    @property
    def pid(self) -> int | None:
        """Of the process, if it is one."""
        return self._body.pid

    def send(self, order: Order) -> None:
        """Give it an order; one that does not arrive is told by `lost`."""
        self._outbox.put(order)

    def kill(self) -> None:
        """End it; `lost` hears of it."""
        self._body.kill()

    def close(self) -> None:
        """End it because it is not needed any more: nobody hears of it."""
        self._lost = lambda _: None
        self._outbox.put(None)
        self._body.kill()

    def _write(self) -> None:
        while (order := self._outbox.get()) is not None:
            try:
                self._connection.send(order)
            except OSError:
                return  # the reader tells

    def _read(self) -> None:
        try:
            while True:
                self._tell(self._heard, self._connection.recv())
        except (EOFError, OSError, pickle.UnpicklingError):
            pass
        self._connection.close()
        with suppress(EOFError):
            self._tell(self._end, self._body.ending())

    def _end(self, how: str) -> None:
        self._outbox.put(None)
        self._lost(how)

    def _tell(self, call: Callable[..., None], what: object) -> None:
        try:
            self._loop.call_soon_threadsafe(call, what)
        except RuntimeError:
            raise EOFError from None  # the loop is closed: nobody listens
