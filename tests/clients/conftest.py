"""The real service in a thread, a fake one that misbehaves as told, and both clients behind one call."""

import asyncio
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import uvicorn

from nbest_client import AsyncClient, Client, Retry
from service.app import create_app
from service.server import listen
from tests.service.conftest import World

QUICK = Retry(total_seconds=20, first_seconds=0.001, most_seconds=0.01)


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


@dataclass
class Running:
    url: str
    app: Any


@pytest.fixture
def start(world: World) -> Iterator[Callable[..., Running]]:
    """Starts the service with the given settings; each listens on a port of its own."""
    stops: list[Callable[[], None]] = []

    def begin(**changes: Any) -> Running:
        app = create_app(world.settings(**changes), opener=world.open_scorer, shipped=["small"])
        listener = listen("127.0.0.1", 0)
        config = uvicorn.Config(app, log_config=None, access_log=False, timeout_graceful_shutdown=1)
        server = uvicorn.Server(config)
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()

        def stop() -> None:
            server.should_exit = True
            thread.join(20)
            listener.close()
            assert not thread.is_alive()

        stops.append(stop)
        return Running(f"http://127.0.0.1:{listener.getsockname()[1]}", app)

    yield begin
    for stop in stops:
        stop()


@pytest.fixture
def service(start: Callable[..., Running]) -> Running:
    return start()


class Both:
    """One of the two clients, made anew for each call; what it gives is the same for both."""

    def __init__(self, kind: str) -> None:
        self.kind = kind

    def __call__(self, url: str, method: str, *arguments: Any, **given: Any) -> Any:
        how = {
            name: given.pop(name) for name in ("key", "retry", "timeout_seconds", "compress") if name in given
        }
        how.setdefault("retry", QUICK)
        if self.kind == "sync":
            with Client(url, **how) as client:
                found = getattr(client, method)(*arguments, **given)
                return list(found) if method == "rescore_stream" else found

        async def main() -> Any:
            async with AsyncClient(url, **how) as client:
                if method == "rescore_stream":
                    return [one async for one in client.rescore_stream(*arguments, **given)]
                return await getattr(client, method)(*arguments, **given)

        return asyncio.run(main())


@pytest.fixture(params=["sync", "async"])
def call(request: pytest.FixtureRequest) -> Both:
    return Both(request.param)


@dataclass
class Fake:
    """A server that reads whole requests and answers each with the next of its bytes, then hangs up."""

    url: str
    answers: list[bytes]
    requests: list[bytes] = field(default_factory=list)


@pytest.fixture
def fake() -> Iterator[Callable[..., Fake]]:
    listeners: list[socket.socket] = []
    threads: list[threading.Thread] = []

    def begin(*answers: bytes) -> Fake:
        listener = socket.create_server(("127.0.0.1", 0))
        found = Fake(f"http://127.0.0.1:{listener.getsockname()[1]}", list(answers))
        thread = threading.Thread(target=_serve, args=(listener, found))
        listeners.append(listener)
        threads.append(thread)
        thread.start()
        return found

    yield begin
    for listener in listeners:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
    for thread in threads:
        thread.join(10)


def _serve(listener: socket.socket, fake: Fake) -> None:
    while True:
        try:
            connection, _ = listener.accept()
        except OSError:
            return
        with connection:
            connection.settimeout(10)
            fake.requests.append(_whole_request(connection))
            if fake.answers:
                connection.sendall(fake.answers.pop(0))
                connection.shutdown(socket.SHUT_WR)
                while connection.recv(4096):  # until the client has gone too: no reset on the way
                    pass


def _whole_request(connection: socket.socket) -> bytes:
    found = b""
    while b"\r\n\r\n" not in found and (more := connection.recv(65536)):
        found += more
    head, _, body = found.partition(b"\r\n\r\n")
    length = next(
        (
            int(line.partition(b":")[2])
            for line in head.split(b"\r\n")
            if line.lower().startswith(b"content-length")
        ),
        0,
    )
    while len(body) < length and (more := connection.recv(65536)):
        body += more
    return head + b"\r\n\r\n" + body


@pytest.fixture
def dripping() -> Iterator[Callable[[bytes, bytes], str]]:
    """A server that answers with a beginning and then a little now and then, without an end."""
    stop = threading.Event()
    threads: list[threading.Thread] = []

    def begin(beginning: bytes, little: bytes) -> str:
        listener = socket.create_server(("127.0.0.1", 0))
        listener.settimeout(0.05)

        def serve() -> None:
            with listener:
                open_ones: list[socket.socket] = []
                while not stop.wait(0.05):
                    with suppress(TimeoutError):
                        connection, _ = listener.accept()
                        _whole_request(connection)
                        connection.sendall(beginning)
                        open_ones.append(connection)
                    for connection in open_ones:
                        with suppress(OSError):
                            connection.sendall(little)
                for connection in open_ones:
                    connection.close()

        threads.append(threading.Thread(target=serve))
        threads[-1].start()
        return f"http://127.0.0.1:{listener.getsockname()[1]}"

    yield begin
    stop.set()
    for thread in threads:
        thread.join(10)
