# ruff: noqa: E501 - tables read better with more on a line

"""What a refused request costs: a few times its bytes where they are refused as bytes, and a bound where parsed.

The limits of the settings are scaled down together, so that the worst bodies are a megabyte.
"""

import gc
import gzip
import json
import tracemalloc
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from fastapi.testclient import TestClient

from service import json_body
from service.settings import Settings

MIB = 1 << 20
SCALE = Settings.model_fields["max_body_bytes"].default // MIB


@pytest.fixture
def client(make_client: Callable[..., TestClient], monkeypatch: pytest.MonkeyPatch) -> Iterator[TestClient]:
    names = ("max_lists", "max_hypotheses", "max_features", "max_weights_bytes")
    scaled = {name: Settings.model_fields[name].default // SCALE for name in names}
    monkeypatch.setattr(json_body, "_MOST_VALUES", json_body._MOST_VALUES // SCALE)
    client = make_client(max_body_bytes=MIB, max_text_bytes=MIB // SCALE, **scaled)
    warm = {"models": ["small"], "lists": [{"id": "u", "hypotheses": [{"text": "a"}]}]}
    assert client.post("/v1/rescore", json=warm).status_code == 200  # what is made once is made
    yield client
    tracemalloc.stop()


def cost(client: TestClient, body: bytes, kind: str, **headers: str) -> tuple[int, int]:
    """(status, most bytes that were in use at a time during the request)."""
    gc.collect()
    tracemalloc.start()
    answer = client.post("/v1/rescore", content=body, headers={"Content-Type": kind, **headers})
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    return answer.status_code, peak


def filled(start: str, unit: str, end: str) -> bytes:
    count = (MIB - len(start) - len(end)) // len(unit)
    return (start + (unit * count).rstrip(",") + end).encode()


HYPOTHESIS = '{"text":"a","features":{"x":1}},'
# What stands for itself is refused as bytes; what is parsed becomes objects, and a [] of three bytes is one.
BYTES = {
    "too large": bytes(2 * MIB),
    "no UTF-8": b"\xff" * MIB,
    "nested": b"[" * MIB,
    "no JSON": b"a" * MIB,
    "too many values": filled('{"lists":[', "1,", "]}"),
    "one string": b'"' + b"a" * (MIB - 2),
    "a long number": b'{"lists":' + b"1" * (MIB - 10) + b"}",
    "half a list": filled('{"lists":[{"id":"u","hypotheses":[', '{"text":"a"', ""),
}  # fmt: skip
PARSED = {
    "too many lists": filled('{"lists":[', '{"id":"u"},', "]}"),
    "too many hypotheses": filled('{"lists":[{"id":"u","hypotheses":[', HYPOTHESIS, "]}]}"),
    "too many features": filled('{"lists":[{"id":"u","hypotheses":[{"text":"a","features":{"x":[', "1.5,", "]}}]}]}"),
    "too long a text": b'{"models":["small"],"lists":[{"id":"u","hypotheses":[{"text":"' + b"a " * (MIB // 2 - 50) + b'"}]}]}',
    "unknown fields": b"{" + b",".join(b'"%d":1' % n for n in range(MIB // 12)) + b"}",
    "wrong types": filled('{"models":[', "1.5,", '],"lists":[1]}'),
    "faulty lists": filled('{"lists":[', "[1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17,18,19,20,21,22,23,24,25,26,27],", "]}"),
}  # fmt: skip
MOSES = {
    "no Moses": filled("", "a b c d e f g\n", ""),
    "too many lines": filled("", "0 ||| a ||| x= 1 ||| 1\n", ""),
    "one long line": b"0 ||| " + b"a" * (MIB - 20),
    "wide": b"0 ||| a ||| x= " + b"1 " * (MIB // 2 - 20) + b"||| 1",
    "no UTF-8": b"\xff" * MIB,
    "bars": b"|||" * (MIB // 3),
    "blank": b"\n" * MIB,
}


@pytest.mark.parametrize("name", BYTES)
def test_what_is_refused_as_bytes_costs_a_few_times_those(client: TestClient, name: str) -> None:
    status, peak = cost(client, BYTES[name], "application/json")
    assert 400 <= status < 500
    assert peak < 4 * MIB, peak / MIB


@pytest.mark.parametrize("name", PARSED)
def test_what_is_parsed_first_is_bounded_too(client: TestClient, name: str) -> None:
    """A body of the shortest hypotheses there are takes 17 times its bytes, the others here 4 times."""
    status, peak = cost(client, PARSED[name], "application/json")
    assert 400 <= status < 500 or (
        name in ("too long a text", "faulty lists", "too many features") and status == 200
    )
    assert peak < 20 * MIB, peak / MIB


@pytest.mark.parametrize("name", MOSES)
def test_moses_too(client: TestClient, name: str) -> None:
    status, peak = cost(client, MOSES[name], "text/plain")
    assert 400 <= status < 500
    assert peak < 10 * MIB, peak / MIB


@pytest.mark.parametrize("content", [bytes(64 * MIB), b"[" * (8 * MIB), gzip.compress(bytes(64 * MIB))])
def test_a_bomb_costs_what_the_limit_allows(client: TestClient, content: bytes) -> None:
    bomb = gzip.compress(content)
    status, peak = cost(client, bomb, "application/json", **{"Content-Encoding": "gzip"})
    assert status in (400, 413)
    assert peak < 4 * MIB, peak / MIB


def test_what_is_announced_as_too_large_is_not_even_read(client: TestClient) -> None:
    read: list[Any] = []

    def body() -> Iterator[bytes]:
        for _ in range(100):
            read.append(0)
            yield bytes(MIB // 10)

    headers = {"Content-Type": "application/json", "Content-Length": str(10 * MIB)}
    answer = client.post("/v1/rescore", content=body(), headers=headers)
    assert answer.status_code == 413
    assert (
        answer.json()["expected"]
        == json.loads(answer.text)["expected"]
        == f"at most {MIB} bytes, sent and decompressed"
    )
