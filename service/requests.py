"""What every route does with a request: its id, its kind of body, its caller who may go away."""

import asyncio
import re
import uuid
from collections.abc import Coroutine
from contextlib import suppress
from typing import Any, TypeVar

from fastapi import Request
from starlette.requests import ClientDisconnect

from nbest.errors import shorten
from service.bodies import check_announced, coding_of, gunzip, read_body
from service.errors import DeadlineError, InvalidRequestError, UnsupportedMediaTypeError
from service.state import service_of

T = TypeVar("T")
_REQUEST_ID = re.compile(r"[\w.:-]{1,64}", re.ASCII)
JSON, TEXT = "application/json", "text/plain"


def request_id(request: Request) -> str:
    """The caller's X-Request-ID if it is a plain word, else a fresh one; the same at every call."""
    if not hasattr(request.state, "request_id"):
        given = request.headers.get("x-request-id", "")
        request.state.request_id = given if _REQUEST_ID.fullmatch(given) else uuid.uuid4().hex
    return str(request.state.request_id)


def media_type(request: Request, *accepted: str) -> str:
    """The body's media type, JSON where none is said; raises UnsupportedMediaTypeError."""
    header = request.headers.get("content-type", JSON)
    kind, *parameters = (part.strip().lower() for part in header.split(";"))
    charset = next(
        (p.removeprefix("charset=").strip('"') for p in parameters if p.startswith("charset=")), "utf-8"
    )
    if kind not in accepted:
        raise UnsupportedMediaTypeError(
            "unknown content type", expected=" or ".join(accepted), got=shorten(kind)
        )
    if charset not in {"utf-8", "utf8", "us-ascii"}:
        raise UnsupportedMediaTypeError("unknown charset", expected="utf-8", got=shorten(charset))
    return kind


def no_query(request: Request) -> None:
    """Raises InvalidRequestError for options in the query of a request that has them in its body."""
    if request.query_params:
        raise InvalidRequestError(
            "options of a JSON request stand in its body", expected="no query", got=shorten(request.url.query)
        )


async def body_of(request: Request, max_bytes: int) -> bytes:
    """The whole body, decompressed; raises LimitError, BusyError, BodyTimeoutError, ClientDisconnect."""
    coding = coding_of(request.headers.get("content-encoding"))
    check_announced(request.headers.get("content-length"), max_bytes)
    service = service_of(request)
    hold = request.state.hold = service.held.hold()
    body = await read_body(request.stream(), max_bytes, service.settings.body_seconds, hold.take)
    if coding == "gzip":
        body = await asyncio.to_thread(gunzip, body, max_bytes)
        hold.take(len(body))
    return body


async def while_connected(request: Request, work: Coroutine[Any, Any, T]) -> T:
    """The result of `work`, which is cancelled when the caller goes away; the body must have been read."""
    task = asyncio.ensure_future(work)
    gone = asyncio.ensure_future(_disconnected(request))
    try:
        await asyncio.wait({task, gone}, return_when=asyncio.FIRST_COMPLETED)
        if not task.done():
            raise ClientDisconnect
        return task.result()
    finally:
        for pending in (task, gone):
            if not pending.done():
                pending.cancel()
                with suppress(asyncio.CancelledError, Exception):
                    await pending


async def _disconnected(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass


async def within(deadline_seconds: float | None, work: Coroutine[Any, Any, T]) -> T:
    """The result of `work`; DeadlineError when it takes longer, and `work` is cancelled."""
    try:
        async with asyncio.timeout(deadline_seconds):
            return await work
    except TimeoutError:
        raise DeadlineError(
            "no answer within the deadline",
            retry_after_seconds=deadline_seconds or 1.0,
        ) from None
