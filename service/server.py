"""The server process: uvicorn, its signals, and the one line that says where it listens."""

import asyncio
import errno
import gc
import socket
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from math import ceil
from types import FrameType

import uvicorn
from fastapi import FastAPI

from nbest.errors import ConfigError, shorten
from service.app import create_app
from service.connections import ConnectionLimits, limited
from service.logs import log_of_a_server
from service.readiness import Readiness
from service.security import check_reach
from service.settings import Settings

_TURN_SECONDS = (
    0.0005  # 50 requests for the lock beside a busy thread: 100 ms, with the usual 5 ms 300 to 580
)


class Server(uvicorn.Server):
    """Not ready from the first SIGTERM on; stops taking connections `drain_seconds` later."""

    def __init__(self, config: uvicorn.Config, readiness: Readiness, drain_seconds: float) -> None:
        super().__init__(config)
        self._readiness = readiness
        self._drain_seconds = drain_seconds
        self._signals = 0

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """As uvicorn's; then the line that scripts wait for."""
        await super().startup(sockets)
        for listener in sockets or ():
            host, port = listener.getsockname()[:2]
            address = f"[{host}]" if ":" in host else host
            print(f"nbest: listening on http://{address}:{port}", file=sys.stderr, flush=True)  # noqa: T201

    async def on_tick(self, counter: int) -> bool:
        """As uvicorn's; a model that was to be preloaded and cannot be ends the process."""
        return await super().on_tick(counter) or self._readiness.failure is not None

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """First signal: drain; a second one does not wait."""
        # uvicorn closes its listening sockets at once, so whoever asks /readyz must be told before that.
        self._readiness.drain()
        self._signals += 1
        if self._signals == 1 and self._drain_seconds > 0:
            try:
                loop = asyncio.get_running_loop()
            except RuntimeError:
                pass  # the signal came before or after the loop
            else:
                loop.call_later(self._drain_seconds, super().handle_exit, sig, frame)
                return
        super().handle_exit(sig, frame)


def run(settings: Settings) -> None:
    """Serves until a signal; says on standard error where, once it listens.

    Raises ConfigError where it cannot listen, NotFoundError and ModelFileError for a model to preload.
    """
    log_of_a_server(settings.log_format)
    # Bound here, not by uvicorn: a port that is taken is an error like any other, and port 0 can be told.
    listener = listen(settings.host, settings.port)
    check_reach(settings, listener.getsockname()[0])
    app = create_app(settings)
    config = config_of(app, settings)
    server = Server(config, app.state.service.readiness, settings.drain_seconds)
    with _calm_collector(), _short_turns():
        server.run(sockets=[listener])
    if app.state.service.readiness.failure is not None:
        raise app.state.service.readiness.failure


def config_of(app: FastAPI, settings: Settings) -> uvicorn.Config:
    """How uvicorn serves the application."""
    limits = ConnectionLimits(settings.header_seconds, settings.body_seconds, settings.max_connections)
    return uvicorn.Config(
        app,
        http=limited(limits),
        ws="none",
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=ceil(settings.grace_seconds),
    )


@contextmanager
def _calm_collector() -> Iterator[None]:
    """Keeps the collector of cycles from walking large bodies again and again: that stops every thread.

    A body's objects have no cycles, and go with their request. What was imported by now stays anyway.
    """
    before = gc.get_threshold()
    gc.freeze()
    gc.set_threshold(10_000, 20, 1_000)  # some 1 ms, 20 ms, and the whole walk each 200 million objects
    try:
        yield
    finally:
        gc.set_threshold(*before)
        gc.unfreeze()


@contextmanager
def _short_turns() -> Iterator[None]:
    """A thread that wants the interpreter's lock waits for it less long: for each of its many short steps.

    A call of a model, and each step of a request between threads, asks for the lock anew; beside a thread
    that reads or ranks a large body each would wait for the usual 5 ms.
    """
    before = sys.getswitchinterval()
    sys.setswitchinterval(_TURN_SECONDS)
    try:
        yield
    finally:
        sys.setswitchinterval(before)


def listen(host: str, port: int) -> socket.socket:
    """A socket bound to that address; raises ConfigError where there can be none."""
    try:
        # With its protocol named, as getaddrinfo does, asyncio turns Nagle's algorithm off: without, an
        # answer on a kept connection waits 40 ms for the client's acknowledgement.
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        with ExitStack() as on_error:
            listener = on_error.enter_context(socket.socket(family, kind, protocol))
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind(address)
            on_error.pop_all()
    except OSError as error:
        raise ConfigError(
            f"cannot listen on {shorten(host)}, port {port}: {error.strerror}",
            expected="another port: --port 0 takes a free one" if error.errno == errno.EADDRINUSE else None,
        ) from None
    except ValueError:  # a part of more than 63 characters, or no Unicode text
        raise ConfigError(
            "not the name of a host", expected="a name or an address", got=shorten(host)
        ) from None
    return listener
