"""The server process: uvicorn, its signals, and the one line that says where it listens."""

import asyncio
import logging
import socket
import sys
from types import FrameType

import uvicorn

from service.app import create_app
from service.readiness import Readiness
from service.settings import Settings


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
    """Serves until a signal; says on standard error where, once it listens."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s %(message)s")
    # Bound here, not by uvicorn: a port that is taken is an error like any other, and port 0 can be told.
    listener = _bind(settings.host, settings.port)
    app = create_app(settings)
    config = uvicorn.Config(app, log_config=None, access_log=False, timeout_graceful_shutdown=30)
    server = Server(config, app.state.service.readiness, settings.drain_seconds)
    server.run(sockets=[listener])


def _bind(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
    except OSError as error:
        listener.close()
        raise OSError(error.errno, error.strerror, f"{host}:{port}") from None
    return listener
