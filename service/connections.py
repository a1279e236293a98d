"""HTTP/1.1 by uvicorn, with an end to what a peer could drag out: headers, and the reading of answers.

uvicorn has a time for silence between requests alone: who sends a byte a minute, or never reads, would stay
for ever. How long a body may take is for whoever reads it (`service.bodies`).
"""

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

from service.errors import MEDIA_TYPE, Problem
from service.headers import SECURITY

_HEADER_BYTES = 16 * 1024  # h11's limit too: at most twice as much is ever taken for headers
_CHECKS = 4  # in the shortest of the times


@dataclass(frozen=True)
class ConnectionLimits:
    """What one peer and all of them may take.

    header_seconds  from the connection, or the last answer, to the end of the next request's headers
    answer_seconds  that a peer may leave an answer, or the rest of it, unread
    connections     open at a time
    """

    header_seconds: float
    answer_seconds: float
    connections: int


class LimitedConnection(H11Protocol):
    """One connection; `limits` are those of the class, which `limited` makes."""

    limits: ConnectionLimits
    _timer: asyncio.TimerHandle | None = None
    _waiting_since = 0.0  # when the request that is to come could have begun
    _unread_since: float | None = None  # since when there was always something left to send

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """As uvicorn's; one too many is told so and closed."""
        super().connection_made(transport)
        self._waiting_since = self.loop.time()
        if len(self.connections) > self.limits.connections:
            self._refuse(503, "not-ready", "Too many connections", f"more than {self.limits.connections}")
            return
        self._watch()

    def connection_lost(self, exc: Exception | None) -> None:
        """As uvicorn's."""
        super().connection_lost(exc)
        if self._timer is not None:
            self._timer.cancel()

    def data_received(self, data: bytes) -> None:
        """As uvicorn's, which bounds only headers that are incomplete: so they come in pieces."""
        while data and not self.transport.is_closing():
            size = _HEADER_BYTES if self.conn.their_state is h11.IDLE else len(data)
            super().data_received(data[:size])
            data = data[size:]

    def on_response_complete(self) -> None:
        """As uvicorn's; the time of the next request begins."""
        self._waiting_since = self.loop.time()
        super().on_response_complete()

    def send_400_response(self, msg: str) -> None:
        """What is no HTTP gets a problem document as everything does; what was begun is cut off."""
        if self.conn.our_state in (h11.IDLE, h11.SEND_RESPONSE) and self._is_answered():
            self._refuse(400, "invalid-http", "Not HTTP as it should be", msg)
        else:
            self.transport.close()

    def _is_answered(self) -> bool:
        return self.cycle is None or self.cycle.response_complete or not self.cycle.response_started

    def _watch(self) -> None:
        self._timer = None
        if self.transport.is_closing() and not self.transport.get_write_buffer_size():
            return
        now = self.loop.time()
        if not self.transport.get_write_buffer_size():
            self._unread_since = None
        elif self._unread_since is None:
            self._unread_since = now
        idle = self.cycle is None or self.cycle.response_complete
        late = idle and now - self._waiting_since > self.limits.header_seconds
        unread = self._unread_since is not None and now - self._unread_since > self.limits.answer_seconds
        if unread or (late and self._unread_since is None):
            self.transport.abort()
            return
        pause = min(self.limits.header_seconds, self.limits.answer_seconds) / _CHECKS
        self._timer = self.loop.call_later(pause, self._watch)

    def _refuse(self, status: int, kind: str, title: str, detail: str) -> None:
        document = Problem(type=kind, title=title, status=status, detail=detail)
        body = document.model_dump_json(exclude_none=True).encode()
        headers = {
            **SECURITY,
            "Content-Type": MEDIA_TYPE,
            "Content-Length": str(len(body)),
            "Cache-Control": "no-store",
            "Connection": "close",
            **({"Retry-After": "1"} if status == 503 else {}),
        }
        self.transport.write(_message(f"HTTP/1.1 {status} {title}", headers.items()) + body)
        self.transport.close()


def _message(first: str, headers: Iterable[tuple[str, str]]) -> bytes:
    lines = [first, *(f"{name}: {value}" for name, value in headers), "", ""]
    return "\r\n".join(lines).encode("ascii")


def limited(limits: ConnectionLimits) -> type[LimitedConnection]:
    """The class of connections with these limits, for uvicorn's `http`."""
    return type("Connection", (LimitedConnection,), {"limits": limits})
