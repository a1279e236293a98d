"""What both clients tell httpx2, and what its errors mean here."""

from collections.abc import Iterator
from contextlib import contextmanager

import httpx2

from nbest_client.calls import Call
from nbest_client.errors import ConnectionFailedError, TruncatedError
from nbest_client.reading import Reply
from nbest_client.retries import Attempts


def base_of(url: str) -> str:
    """The service's address; raises ValueError for what is none."""
    try:
        parsed = httpx2.URL(url)
    except (httpx2.InvalidURL, TypeError):
        parsed = httpx2.URL("")
    if parsed.scheme not in ("http", "https") or not parsed.host or parsed.query or parsed.userinfo:
        raise ValueError("not the address of a service; expected http://HOST:PORT or https://HOST")
    return url.rstrip("/")


def reply_of(response: httpx2.Response, body: bytes) -> Reply:
    """The answer as the pure part reads it."""
    return Reply(response.status_code, {k.lower(): v for k, v in response.headers.items()}, body)


@contextmanager
def translated(base: str, call: Call[object]) -> Iterator[None]:
    """httpx2's errors of transport as ours, without what was sent."""
    try:
        yield
    except (httpx2.RemoteProtocolError, httpx2.DecodingError) as error:
        raise TruncatedError(f"{call.method} {base}{_path(call)}: {_said(error)}") from error
    except httpx2.TransportError as error:
        raise ConnectionFailedError(f"{call.method} {base}{_path(call)}: {_said(error)}") from error


def in_time(attempts: Attempts, now: float, base: str) -> None:
    """Raises ConnectionFailedError for an answer that still comes when the total is over."""
    if attempts.is_late(now):
        raise ConnectionFailedError(
            f"{attempts.call.method} {base}{_path(attempts.call)}: no whole answer within "
            f"{attempts.total_seconds:g} seconds"
        )


def _path(call: Call[object]) -> str:
    return call.path.partition("?")[0]


def _said(error: Exception) -> str:
    return f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
