"""How an answer leaves: whole or line by line, plain or gzip, as the request's Accept headers say."""

import asyncio
import zlib
from collections.abc import AsyncIterator

from fastapi import Request, Response
from starlette.responses import StreamingResponse

NDJSON = "application/x-ndjson"
_GZIP = 16 + zlib.MAX_WBITS
# Of real answers level 1 leaves 20% and takes 6 ms a megabyte, level 6 leaves 15% and takes 20 ms.
_LEVEL = 1
_LEAST_BYTES = 1024  # shorter ones fit a packet or two as they are
_AT_ONCE_BYTES = 64 * 1024  # packed in less time than a thread takes to begin
_VARY = {"Vary": "Accept, Accept-Encoding"}


def quality(header: str, name: str) -> float:
    """The q of `name` in an Accept or Accept-Encoding header; 0 where it is not named, or cannot be read.

    >>> quality("application/json;q=0.5, Application/X-NDJSON", "application/x-ndjson")
    1.0
    """
    for part in header.lower().split(","):
        kind, *parameters = (piece.strip(" \t") for piece in part.split(";"))
        if kind == name:
            given = [piece[2:] for piece in parameters if piece.startswith("q=")]
            try:
                return float(given[0]) if given else 1.0
            except ValueError:
                return 0.0
    return 0.0


def accepted(request: Request, kind: str) -> float:
    """How much the request wants answers of a media type that it names; `*/*` names none."""
    return quality(", ".join(request.headers.getlist("accept")), kind)


async def whole(
    request: Request, body: bytes, media_type: str, headers: dict[str, str] | None = None
) -> Response:
    """The answer with this body, packed where that is accepted and worth it."""
    headers = {**_VARY, **(headers or {})}
    if len(body) >= _LEAST_BYTES and _takes_gzip(request):
        headers["Content-Encoding"] = "gzip"
        if len(body) <= _AT_ONCE_BYTES:
            body = _packed(body)
        else:
            body = await asyncio.to_thread(_packed, body)
    return Response(body, media_type=media_type, headers=headers)


def lines(request: Request, pieces: AsyncIterator[bytes]) -> Response:
    """The answer whose NDJSON comes in pieces, each sent when it is there."""
    headers = dict(_VARY)
    if _takes_gzip(request):
        headers["Content-Encoding"] = "gzip"
        pieces = _each_packed(pieces)
    return StreamingResponse(pieces, media_type=NDJSON, headers=headers)


def _takes_gzip(request: Request) -> bool:
    return quality(", ".join(request.headers.getlist("accept-encoding")), "gzip") > 0


def _packed(body: bytes) -> bytes:
    return zlib.compress(body, _LEVEL, _GZIP)


async def _each_packed(pieces: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    packer = zlib.compressobj(_LEVEL, wbits=_GZIP)

    def packed(piece: bytes) -> bytes:
        return packer.compress(piece) + packer.flush(zlib.Z_SYNC_FLUSH)  # so that the reader has all of it

    async for piece in pieces:
        yield await asyncio.to_thread(packed, piece)
    yield packer.flush()
