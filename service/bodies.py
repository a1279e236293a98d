"""A request's body in: decompressed under a limit, decoded strictly, parsed as strict JSON."""

import json
import zlib
from collections import Counter
from collections.abc import AsyncIterable
from typing import Any

from nbest.errors import FormatError, LimitError, shorten
from service.errors import UnsupportedMediaTypeError

_GZIP = 16 + zlib.MAX_WBITS


async def read_body(chunks: AsyncIterable[bytes], encoding: str | None, max_bytes: int) -> bytes:
    """All bytes of a body, decompressed if `encoding` is gzip; at most `max_bytes` of them.

    The limit counts decompressed bytes and is kept while inflating, so a small body that unpacks to
    a huge one costs nothing. Raises LimitError, FormatError, UnsupportedMediaTypeError.
    """
    coding = (encoding or "identity").strip().lower()
    if coding not in {"identity", "gzip", "x-gzip"}:
        raise UnsupportedMediaTypeError(
            "unknown content encoding", expected="gzip or identity", got=shorten(coding)
        )
    inflate = _Inflate(max_bytes) if coding != "identity" else None
    body = bytearray()
    async for chunk in chunks:
        body += inflate(chunk, max_bytes - len(body)) if inflate else chunk
        if len(body) > max_bytes:
            raise LimitError("body too large", expected=f"at most {max_bytes} bytes once decompressed")
    if inflate is not None:
        inflate.finish()
    return bytes(body)


class _Inflate:
    """Streaming gunzip of possibly several members, never more than one byte over the room left."""

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._member = zlib.decompressobj(_GZIP)
        self._started = False  # whether the current member has seen a byte

    def __call__(self, chunk: bytes, room: int) -> bytes:
        out = bytearray()
        while chunk:
            if self._member.eof:
                self._member, self._started = zlib.decompressobj(_GZIP), False
            self._started = True
            try:
                out += self._member.decompress(chunk, room - len(out) + 1)
            except zlib.error as error:
                raise FormatError(f"body is not gzip ({error})", expected="a whole gzip stream") from None
            if len(out) > room:
                return bytes(out)
            chunk = self._member.unused_data if self._member.eof else self._member.unconsumed_tail
        return bytes(out)

    def finish(self) -> None:
        if not self._member.eof:
            got = "a stream that ends early" if self._started else "an empty body"
            raise FormatError("body is not gzip", expected="a whole gzip stream", got=got)


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


def parse_json(body: bytes) -> Any:
    """Body as JSON; a key given twice in one object is an error, as is nesting without end.

    NaN, Infinity and 1e999 come through as non-finite floats: whoever knows the field can then say
    where they stood.
    """
    if not body.strip():
        raise FormatError("empty body", expected="a JSON object")
    text = decode_text(body)
    try:
        return json.loads(text, object_pairs_hook=_unique_keys)
    except json.JSONDecodeError as error:
        raise FormatError(
            f"body is not JSON: {error.msg}",
            where=f"body:{error.lineno}",
            expected="a JSON object",
            got=f"{shorten(text[error.pos : error.pos + 20])} at character {error.colno} of the line",
        ) from None
    except RecursionError:
        raise FormatError("body is not JSON of ours: nested too deeply") from None
    except ValueError as error:  # an integer of thousands of digits
        raise FormatError(f"body is not JSON of ours: {error}") from None


def _unique_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        twice = Counter(key for key, _ in pairs).most_common(1)[0][0]
        raise FormatError(
            "a key stands twice in one JSON object", expected="each key once", got=shorten(twice)
        )
    return found
