import asyncio
import gzip
import json
import time
from collections.abc import AsyncIterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nbest.errors import FormatError, LimitError, NbestError
from service.bodies import coding_of, gunzip, read_body
from service.errors import BodyTimeoutError, UnsupportedMediaTypeError


def read(body: bytes, encoding: str | None = None, max_bytes: int = 1000, chunk: int = 7) -> bytes:
    async def chunks() -> AsyncIterator[bytes]:
        for start in range(0, len(body), chunk):
            yield body[start : start + chunk]

    sent = asyncio.run(read_body(chunks(), max_bytes))
    return gunzip(sent, max_bytes) if coding_of(encoding) == "gzip" else sent


@given(st.binary(max_size=300), st.integers(1, 50))
def test_gzip_in_any_chunks_is_the_same_as_plain(body: bytes, chunk: int) -> None:
    assert read(body, None, chunk=chunk) == body
    assert read(gzip.compress(body), "gzip", chunk=chunk) == body


def test_several_gzip_members_are_one_body() -> None:
    assert read(gzip.compress(b"one ") + gzip.compress(b"two"), "gzip") == b"one two"


def test_limit_counts_decompressed_bytes_exactly() -> None:
    packed = gzip.compress(b"x" * 1000)
    assert len(packed) < 100
    assert read(packed, "gzip", max_bytes=1000) == b"x" * 1000
    with pytest.raises(LimitError, match="at most 999 bytes"):
        read(packed, "gzip", max_bytes=999)
    with pytest.raises(LimitError):
        read(b"x" * 1001, None, max_bytes=1000)


def test_a_bomb_is_refused_before_it_unpacks() -> None:
    bomb = gzip.compress(b"\0" * (64 * 1024 * 1024))
    with pytest.raises(LimitError):
        read(bomb, "gzip", max_bytes=1000, chunk=1 << 20)


@pytest.mark.parametrize(
    ("body", "encoding", "error", "words"),
    [
        (b"plain", "gzip", FormatError, "not gzip"),
        (gzip.compress(b"x" * 50)[:-4], "gzip", FormatError, "ends early"),
        (b"", "gzip", FormatError, "empty body"),
        (gzip.compress(b"x") + b"junk", "gzip", FormatError, "not gzip"),
        (b"x", "br", UnsupportedMediaTypeError, "'br'"),
        (b"x", "gzip, gzip", UnsupportedMediaTypeError, "gzip or identity"),
    ],
)
def test_bad_encodings(body: bytes, encoding: str, error: type[NbestError], words: str) -> None:
    with pytest.raises(error) as caught:
        read(body, encoding)
    assert words in str(caught.value)


def test_empty_members_without_end_are_counted_as_sent() -> None:
    with pytest.raises(LimitError):
        read(gzip.compress(b"") * 60, "gzip", max_bytes=1000)


def test_many_short_members_take_linear_time() -> None:
    began = time.perf_counter()
    assert gunzip(gzip.compress(b"x") * 20_000, 20_000) == b"x" * 20_000
    assert time.perf_counter() - began < 5  # 0.1 s; were all that follows copied for each member, 10 GB


def test_a_body_that_stops_on_the_way_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("service.bodies._SILENCE_SECONDS", 0.05)

    async def chunks() -> AsyncIterator[bytes]:
        yield b"{"
        await asyncio.Event().wait()

    with pytest.raises(BodyTimeoutError, match="stopped on the way"):
        asyncio.run(read_body(chunks(), 1000))


def test_a_body_may_take_longer_than_the_longest_silence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("service.bodies._SILENCE_SECONDS", 0.5)

    async def chunks() -> AsyncIterator[bytes]:
        for _ in range(12):
            await asyncio.sleep(0.06)
            yield b"x"

    assert asyncio.run(read_body(chunks(), 1000)) == b"x" * 12


def test_bodies_in_hand_have_a_budget_together(make_client: Any) -> None:
    client = make_client(max_held_bytes=1000)
    held = client.app.state.service.held
    body = {"model": "small", "texts": ["a " * 300]}
    assert client.post("/v1/score", json=body).status_code == 200
    assert held.bytes == 0
    other = held.hold()
    other.take(600)
    refused = client.post("/v1/score", json=body)
    assert (refused.status_code, refused.json()["type"], refused.headers["retry-after"]) == (429, "busy", "1")
    packed = gzip.compress(json.dumps(body).encode())
    assert client.post("/v1/score", content=packed, headers={"Content-Encoding": "gzip"}).status_code == 429
    assert held.bytes == 600
    other.release()
    assert (
        client.post("/v1/score", json={"model": "small", "texts": ["a " * 3000]}).status_code == 200
    )  # alone
    assert held.bytes == 0
