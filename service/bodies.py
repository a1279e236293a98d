"""A request's body in: received and decompressed under a limit, decoded strictly."""

import asyncio
import zlib
from collections.abc import AsyncIterable, Callable

from nbest.errors import BusyError, FormatError, LimitError, shorten
from service.errors import BodyTimeoutError, UnsupportedMediaTypeError

_GZIP = 16 + zlib.MAX_WBITS
_SILENCE_SECONDS = 60.0  # a body may not stop on the way for longer than this
_SLICE = 16 * 1024  # compressed bytes at a time: zlib copies what follows a member, so short ones cost little


def coding_of(header: str | None) -> str:
    """`gzip` or `identity` from a Content-Encoding; raises UnsupportedMediaTypeError for any other."""
    coding = (header or "identity").strip().lower().removeprefix("x-")
    if coding not in {"identity", "gzip"}:
        raise UnsupportedMediaTypeError(
            "unknown content encoding", expected="gzip or identity", got=shorten(coding)
        )
    return coding


def check_announced(length: str | None, max_bytes: int) -> None:
    """Raises LimitError where Content-Length alone says that the body is too large: none of it is read."""
    if length is not None and length.isdecimal() and (len(length) > 20 or int(length) > max_bytes):
        raise _too_large(max_bytes)


class Held:
    """Bytes of the bodies of all requests in hand: many large ones at a time must not take all memory."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self.bytes = 0

    def hold(self) -> "Hold":
        """The part of one request."""
        return Hold(self)

    def take(self, more: int, own: int) -> None:
        """Raises BusyError where others hold too much for `more`; alone, a request may hold any."""
        if self.bytes > own and self.bytes + more > self._limit:
            raise BusyError(
                "the bodies of requests in hand fill the memory for them", retry_after_seconds=1.0
            )
        self.bytes += more


class Hold:
    """What one request holds, until it ends."""

    def __init__(self, held: Held) -> None:
        self._held = held
        self._bytes = 0

    def take(self, more: int) -> None:
        """So many bytes more; raises BusyError."""
        self._held.take(more, self._bytes)
        self._bytes += more

    def release(self) -> None:
        """The request has ended."""
        self._held.bytes -= self._bytes
        self._bytes = 0


async def read_body(
    chunks: AsyncIterable[bytes],
    max_bytes: int,
    max_seconds: float = 300.0,
    take: Callable[[int], None] = lambda _: None,
) -> bytes:
    """All bytes of a body as they were sent; `take` is told how many come.

    Raises LimitError above `max_bytes`, BodyTimeoutError, and what `take` does.
    """
    body = bytearray()
    now = asyncio.get_running_loop().time
    end = now() + max_seconds
    try:
        async with asyncio.timeout_at(min(end, now() + _SILENCE_SECONDS)) as patience:
            async for chunk in chunks:
                patience.reschedule(min(end, now() + _SILENCE_SECONDS))
                take(len(chunk))
                body += chunk
                if len(body) > max_bytes:
                    raise _too_large(max_bytes)
    except TimeoutError:
        late = now() >= end
        raise BodyTimeoutError(
            "the body took too long" if late else "the body stopped on the way",
            expected=f"{'the whole' if late else 'more'} of it within "
            f"{max_seconds if late else _SILENCE_SECONDS:g} seconds",
            got=f"{len(body)} bytes",
        ) from None
    return bytes(body)


def gunzip(packed: bytes, max_bytes: int) -> bytes:
    """A gzip stream of one or more members, unpacked; never more than a byte over `max_bytes` in memory.

    Raises LimitError, FormatError.
    """
    if not packed:
        raise FormatError("body is not gzip", expected="a whole gzip stream", got="an empty body")
    out = bytearray()
    member = zlib.decompressobj(_GZIP)
    for start in range(0, len(packed), _SLICE):
        rest = packed[start : start + _SLICE]
        while rest:
            if member.eof:
                member = zlib.decompressobj(_GZIP)
            try:
                out += member.decompress(rest, max_bytes - len(out) + 1)
            except zlib.error as error:
                raise FormatError(f"body is not gzip ({error})", expected="a whole gzip stream") from None
            if len(out) > max_bytes:
                raise _too_large(max_bytes)
            rest = member.unused_data
    if not member.eof:
        raise FormatError("body is not gzip", expected="a whole gzip stream", got="a stream that ends early")
    return bytes(out)


def _too_large(max_bytes: int) -> LimitError:
    return LimitError("body too large", expected=f"at most {max_bytes} bytes, sent and decompressed")


def decode_text(body: bytes) -> str:
    """Body as text; raises FormatError that names the line and byte of invalid UTF-8."""
    try:
        return body.decode("utf-8")
    except UnicodeDecodeError as error:
        line = body.count(b"\n", 0, error.start) + 1
        column = error.start - body.rfind(b"\n", 0, error.start)
        raise FormatError(
            "invalid UTF-8",
            where=f"body:{line}",
            expected="UTF-8 text",
            got=f"byte 0x{body[error.start]:02x} at byte {column} of the line",
        ) from None
