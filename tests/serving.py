"""The real service in a thread, and servers that misbehave as told: fixtures for whoever tests a client."""

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import pytest
import uvicorn

from service.app import create_app
from service.server import listen
from tests.service.conftest import World


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
