"""A real socket, and peers who send what they like as slowly as they like: an answer or an end, and no 500.

The service serves on all the while: others are answered as before.
"""

import asyncio
import json
import logging
import random
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from typing import Any

import pytest
import uvicorn
from hypothesis import given, settings
from hypothesis import strategies as st

from service.app import create_app
from service.headers import SECURITY
from service.server import config_of

Fuzz = Callable[[int], settings]
LISTS = {"lists": [{"id": "u", "hypotheses": [{"text": "a", "features": {"total": -3.0}}]}]}
BODY = json.dumps(LISTS).encode()
SECONDS = 10.0  # what a test waits for an answer: never that long in truth


class Running:
    """A service on a port, in a thread."""

    def __init__(self, world: Any, **changes: Any) -> None:
        given = world.settings(access_log=False, **changes)
        app = create_app(given, opener=world.open_scorer, shipped=["small"])
        self.server = uvicorn.Server(config_of(app, given))
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self.listener.getsockname()[1]
        self._thread = threading.Thread(target=self._run, daemon=True)

    def _run(self) -> None:
        asyncio.run(self.server.serve(sockets=[self.listener]))

    def __enter__(self) -> "Running":
        self._thread.start()
        while not self.server.started:
            time.sleep(0.01)
        return self

    def __exit__(self, *_: object) -> None:
        self.server.should_exit = True
        self._thread.join(10)
        assert not self._thread.is_alive()

    def open(self) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.port), timeout=SECONDS)

    def ask(self, *parts: bytes, pause: float = 0.0, patience: float = SECONDS) -> bytes:
        """All that comes back for these bytes until the other side closes; after so long, we do."""
        with closing(self.open()) as one:
            with suppress(OSError):  # it may have answered and closed before the end
                for part in parts:
                    one.sendall(part)
                    time.sleep(pause)
            one.settimeout(patience)
            answer = read_all(one)
            with suppress(OSError):
                one.shutdown(socket.SHUT_WR)
            one.settimeout(SECONDS)
            return answer + read_all(one)

    def is_well(self) -> bool:
        answer = self.ask(request(BODY, close=True))
        return status(answer) == 200 and b'"ranking"' in answer

    @property
    def connections(self) -> int:
        return len(self.server.server_state.connections)


@contextmanager
def running(world: Any, **changes: Any) -> Iterator[Running]:
    with Running(world, **changes) as found:
        yield found
        assert found.is_well()


def read_all(one: socket.socket) -> bytes:
    found = b""
    with suppress(ConnectionError, TimeoutError):
        while part := one.recv(65536):
            found += part
    return found


def request(
    body: bytes, *headers: bytes, path: bytes = b"/v1/rescore", close: bool = False, length: bool = True
) -> bytes:
    lines = [b"POST " + path + b" HTTP/1.1", b"Host: x", b"Content-Type: application/json", *headers]
    lines += [b"Connection: close"] * close + [b"Content-Length: %d" % len(body)] * length
    return b"\r\n".join([*lines, b"", b""]) + body


def status(answer: bytes) -> int | None:
    """Of the first answer that is not 100; None where nothing came."""
    while answer.startswith(b"HTTP/1.1 100"):
        answer = answer.partition(b"\r\n\r\n")[2]
    return int(answer[9:12]) if answer.startswith(b"HTTP/1.1 ") else None


def chunked(body: bytes, sizes: list[int]) -> list[bytes]:
    parts, at = [], 0
    for size in sizes:
        piece, at = body[at : at + size], at + size
        parts += [b"%x\r\n%s\r\n" % (len(piece), piece)] if piece else []
    rest = body[at:]
    return [*parts, *([b"%x\r\n%s\r\n" % (len(rest), rest)] if rest else []), b"0\r\n\r\n"]


def test_chunks_of_any_size_sent_slowly_are_one_body(world: Any) -> None:
    with running(world) as service:
        head = request(b"", b"Transfer-Encoding: chunked", close=True, length=False)
        for sizes in ([1] * 20, [len(BODY) // 2], [3, 5, 8, 13]):
            answer = service.ask(head, *chunked(BODY, sizes), pause=0.002)
            assert status(answer) == 200
            assert b'"ranking"' in answer


def test_a_caller_who_waits_for_100_gets_it_or_the_refusal(world: Any) -> None:
    with running(world, max_body_bytes=1000) as service:
        with closing(service.open()) as one:
            head, _, _ = request(BODY, b"Expect: 100-continue", close=True).partition(BODY)
            one.sendall(head)
            assert one.recv(100).startswith(b"HTTP/1.1 100 ")
            one.sendall(BODY)
            assert status(read_all(one)) == 200
        with closing(service.open()) as one:  # what is announced as too large is not asked for
            one.sendall(request(bytes(5000), b"Expect: 100-continue")[:-5000])
            assert one.recv(100).startswith(b"HTTP/1.1 413 ")


@pytest.mark.parametrize(
    ("sent", "expected"),
    [
        (request(BODY)[:-10], {None}),  # Content-Length too long: the caller goes
        (request(BODY, close=True).replace(b"Content-Length: ", b"Content-Length: 1"), {None}),
        (request(BODY).replace(b"Content-Length: ", b"Content-Length: -"), {400}),
        (request(BODY).replace(b"Content-Length: ", b"Content-Length: 9" + b"9" * 30), {400, 413}),
        (request(BODY, b"Content-Length: 5"), {400}),
        (request(BODY, b"Transfer-Encoding: gzip", length=False), {400, 501}),
        (request(BODY, b"Transfer-Encoding: chunked, chunked", length=False), {400, 501}),
        (request(b"zz\r\nabc\r\n", b"Transfer-Encoding: chunked", length=False), {400}),
        (request(b"ffffffffffffffffffffff\r\n", b"Transfer-Encoding: chunked", length=False), {400}),
        (request(b"5\r\nab", b"Transfer-Encoding: chunked", length=False), {None}),
        (request(BODY, b"X: " + b"y" * 100_000), {400, None}),  # None: it was reset before we read it
        (request(BODY, *[b"X%d: y" % k for k in range(5000)]), {400, None}),
        (request(BODY, path=b"/" + b"a" * 100_000), {400, None}),
        (request(BODY, b"X: a\x00b"), {400}),
        (request(BODY, b"X : a"), {400}),
        (request(BODY, path=b"/v1/\xff"), {400}),
        (request(BODY, path=b"http://[/", close=True), {400, 404}),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", {400, None}),
        (b"GET / HTTP/9.9\r\nConnection: close\r\n\r\n", {200, 400}),
        (b"GET / HTTP/1.1\r\n\r\n", {400}),  # no Host
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", {400, 404}),
        (request(b"", b"Upgrade: websocket", b"Connection: Upgrade, close", b"Sec-WebSocket-Key: x"), {400}),
        (b"\r\n" * 1000, {400, None}),
    ],
)  # fmt: skip
def test_what_is_no_http_ends_with_an_answer_or_without(
    world: Any, sent: bytes, expected: set[int | None]
) -> None:
    with running(world) as service:
        answer = service.ask(sent, patience=0.2 if None in expected else SECONDS)
        assert status(answer) in expected
        if answer:
            head = answer.partition(b"\r\n\r\n")[0].decode().lower()
            assert all(f"{name}: {value}".lower() in head for name, value in SECURITY.items())
            assert status(answer) == 200 or "application/problem+json" in head
            assert "server: uvicorn" not in head


@pytest.mark.parametrize("kind", ["nothing", "headers", "second", "after the answer"])
def test_who_sends_a_byte_now_and_then_is_let_go(world: Any, kind: str) -> None:
    """Nothing at all; headers without end; those of a second request; a body nobody wants any more."""
    with running(world, header_seconds=0.6) as service, closing(service.open()) as one:
        if kind == "headers":
            one.sendall(b"GET /livez HTTP/1.1\r\nX: ")
        elif kind == "second":
            one.sendall(b"GET /livez HTTP/1.1\r\nHost: x\r\n\r\n")
            assert status(one.recv(5000)) == 200
            one.sendall(b"GET ")
        elif kind == "after the answer":
            one.sendall(request(b"", b"Content-Length: 1000000", length=False, path=b"/nowhere"))
            assert status(one.recv(5000)) == 404
        began = time.monotonic()
        one.settimeout(0.1)
        ended = False
        while not ended and time.monotonic() - began < SECONDS:
            try:
                if kind != "nothing":
                    one.sendall(b"a")
                ended = one.recv(1) == b""
            except TimeoutError:
                continue
            except ConnectionError:
                ended = True
        assert ended
        assert 0.3 < time.monotonic() - began < 5


def test_a_body_that_trickles_has_an_end(world: Any) -> None:
    """It never stops for long, and so is within the limit on silence; the whole has its own."""
    with running(world, body_seconds=0.6) as service, closing(service.open()) as one:
        one.sendall(request(bytes(1000))[:-1000])
        one.settimeout(0.1)
        answer = b""
        began = time.monotonic()
        while not answer and time.monotonic() - began < SECONDS:
            with suppress(TimeoutError):
                one.sendall(b" ")
                answer = one.recv(5000)
        one.settimeout(SECONDS)
        while b"}" not in answer and (part := one.recv(5000)):  # its body may come apart from its head
            answer += part
        assert status(answer) == 408
        assert b"the body took too long" in answer
        assert b"within 0.6 seconds" in answer


def test_who_never_reads_the_answer_is_let_go(world: Any) -> None:
    hypotheses = [{"text": "a " * 50, "features": {"total": -1.0}} for _ in range(20_000)]
    body = json.dumps({"lists": [{"id": "u", "hypotheses": hypotheses}]}).encode()
    with running(world, body_seconds=2, header_seconds=1) as service:
        one = socket.socket()
        with closing(one):
            one.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            one.settimeout(SECONDS)
            one.connect(("127.0.0.1", service.port))
            one.sendall(request(body))
            assert one.recv(1) == b"H"
            assert service.connections == 1
            began = time.monotonic()
            while service.connections and time.monotonic() - began < SECONDS:
                time.sleep(0.05)
            assert service.connections == 0


def test_one_connection_too_many_is_told_so(world: Any) -> None:
    with running(world, max_connections=3, header_seconds=5) as service:
        kept = [service.open() for _ in range(3)]
        while service.connections < 3:
            time.sleep(0.01)
        with closing(service.open()) as one:
            answer = read_all(one)
        assert status(answer) == 503
        assert b"retry-after: 1" in answer.lower()
        assert json.loads(answer.partition(b"\r\n\r\n")[2])["type"] == "not-ready"
        for one in kept:
            one.close()
        while service.connections:
            time.sleep(0.01)


GOOD = (
    request(BODY, close=True),
    request(BODY) + request(BODY, close=True),  # two in one
    b"GET /v1/models HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
    request(b"", b"Transfer-Encoding: chunked", close=True, length=False) + b"".join(chunked(BODY, [7, 9])),
    request(BODY, b"Expect: 100-continue", close=True),
)


def spoilt(rng: random.Random) -> bytes:
    """A request with bytes of its head or body changed, taken out, doubled, or put in."""
    sent = rng.choice(GOOD)
    for _ in range(rng.randrange(1, 4)):
        at = rng.randrange(len(sent))
        count = rng.choice((1, 1, 2, 5, 30))
        piece = rng.choice(
            (
                b"",
                rng.randbytes(count),
                sent[at : at + count] * 2,
                b"\r\n",
                b"\n",
                b":",
                b" ",
                b"\0",
                b"0",
                b"9" * 9,
            )
        )
        sent = sent[:at] + piece + sent[at + count :]
    return sent


def test_spoilt_requests_in_pieces(world: Any, fuzz: Fuzz, caplog: pytest.LogCaptureFixture) -> None:
    seen: set[int | None] = set()
    with running(world) as service:

        @fuzz(150)
        @given(st.randoms(use_true_random=False))
        def holds(rng: random.Random) -> None:
            sent = spoilt(rng)
            cut = rng.randrange(len(sent) + 1)
            parts = [sent] if rng.random() < 0.7 else [sent[:cut], sent[cut:]]
            answer = service.ask(*parts, pause=0.001 * (len(parts) > 1), patience=0.1)
            found = status(answer)
            assert found is None or found < 500 or found in (501, 503), (sent, answer)
            assert b"internal-error" not in answer
            seen.add(found)

        holds()
        for _ in range(200):
            if not service.connections:
                break
            time.sleep(0.05)
        assert service.connections == 0
    assert {200, 400} <= seen
    assert not [one for one in caplog.records if one.levelno >= logging.ERROR]
