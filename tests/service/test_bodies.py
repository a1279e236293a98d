import asyncio
import gzip
import json
import math
from collections.abc import AsyncIterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nbest.errors import FormatError, LimitError, NbestError
from service.bodies import parse_json, read_body
from service.errors import UnsupportedMediaTypeError


def read(body: bytes, encoding: str | None = None, max_bytes: int = 1000, chunk: int = 7) -> bytes:
    async def chunks() -> AsyncIterator[bytes]:
        for start in range(0, len(body), chunk):
            yield body[start : start + chunk]

    return asyncio.run(read_body(chunks(), encoding, max_bytes))


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


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b"", "empty body"),
        (b" \n", "empty body"),
        (b'{"a": 1,\n "b": }', "body:2"),
        (b'{"a": "\xff"}', "invalid UTF-8"),
        (b'\n\n {"a": "\xff"}', "body:3"),
        (b'{"a": 1, "a": 2}', "twice"),
        (b"[" * 100_000, "nested too deeply"),
        (b'{"a": ' + b"1" * 5000 + b"}", "not JSON of ours"),
        ('{"a": 1}'.encode("utf-16"), "invalid UTF-8"),
        (b'\xef\xbb\xbf{"a": 1}', "BOM"),
        (b'{"a": "x\ny"}', "control character"),
    ],
)
def test_bad_json_is_a_format_error(body: bytes, words: str) -> None:
    with pytest.raises(FormatError) as caught:
        parse_json(body)
    assert words in str(caught.value)


def test_non_finite_numbers_come_through_for_the_field_to_refuse() -> None:
    parsed = parse_json(b'{"a": NaN, "b": -Infinity, "c": 1e999, "d": [1, 2.5]}')
    assert math.isnan(parsed["a"])
    assert (parsed["b"], parsed["c"], parsed["d"]) == (-math.inf, math.inf, [1, 2.5])


@given(
    st.recursive(st.none() | st.booleans() | st.integers() | st.text(), lambda x: st.lists(x), max_leaves=5)
)
def test_json_is_json(value: object) -> None:
    assert parse_json(json.dumps(value).encode()) == value
