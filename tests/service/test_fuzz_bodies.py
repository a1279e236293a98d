# ruff: noqa: E501 - tables read better with more on a line

"""Bodies that no schema describes: cut, packed wrongly, nested without end, spelt oddly, of another kind.

Each is answered soon with a status that /openapi.json names for the route, a problem document beside it, and
never as a fault of the service.
"""

import gzip
import json
import random
import zlib
from collections import Counter
from collections.abc import Callable
from time import perf_counter
from typing import Any

import pytest
from fastapi.testclient import TestClient
from hypothesis import given, settings
from hypothesis import strategies as st

Fuzz = Callable[[int], settings]
MOST_BYTES = 300_000
SECONDS = 20.0  # far beyond what any of these takes, even on a busy machine

VALID: dict[str, Any] = {
    "/v1/rescore": {
        "models": ["small"],
        "weights": {"features": {"ac": 1.0, "small": 0.5, "tm": [1.0, 2.0]}},
        "options": {"top_k": 2, "contributions": True, "tokens": True, "unknown_feature": "ignore"},
        "lists": [
            {"id": "u1", "hypotheses": [{"text": "a man", "features": {"ac": -1.5, "tm": [-1, -2]}},
                                        {"text": "", "features": {"ac": -2, "tm": [-3.5, 0]}}]},
            {"id": "u2", "context": ["before"], "references": ["a"],
             "hypotheses": [{"text": "horse", "features": {"ac": -7e-3, "tm": [0, 0]}}]},
        ],
    },
    "/v1/score": {"model": "small", "texts": ["a man is riding", "", "zebra"], "tokens": True},
    "/v1/evaluate": {"metric": "bleu-0.5*ter", "hypotheses": ["a man", "b"], "references": [["a man", "x"], "b"]},
    "/v1/weights/new": {"format": "nbest-weights/1", "features": {"ac": 1.0, "tm": [0.5, 2]}, "text": "raw"},
}  # fmt: skip
SPELLINGS = (
    "NaN", "Infinity", "-Infinity", "nan", "inf", "1e999", "-1e999", "1E400", "1e-400", "+1", "01", ".5", "1.", "0x1",
    "1_0", "--1", "-", "-0", "-0.0", "5e-324", "1" * 400, "1" * 5000, "-" + "9" * 100_000, "0." + "1" * 10_000, "1e" + "9" * 50,
    "true", "null", "undefined", "'a'", '"\\ud800"', '"\\udfff\\ud800"', '"\\u0000"', '"\\x"', '"\t"', '"\\', "{}", "[]", "[[", "/**/1",
    "[" * 200 + "]" * 200, "[" * 20_000, '{"a":' * 5_000, "[" * 90_000 + "]" * 90_000, '{"a":1,"a":2}', "\ufeff1", "\u20281", "1 2",
)  # fmt: skip
KINDS = (
    "application/json", "application/json; charset=utf-8", "text/plain", "text/plain; charset=latin-1",
    "application/json;charset=utf-16", "application/json; charset=", "application/x-www-form-urlencoded",
    "multipart/form-data; boundary=x", "text/html", "", "json", "application/json, text/plain", ";;;", "a" * 5000,
    "application/problem+json", "APPLICATION/JSON", 'application/json; charset="UTF-8"', "application/json; q=\xff",
)  # fmt: skip
CODINGS = ("gzip", "x-gzip", "GZIP", "identity", "br", "deflate", "gzip, gzip", "", "gzip;q=0", "\xff")

# FORMATS.md's quirks of Moses lists, one or more to a line.
MOSES = (
    "0 ||| a man is riding ||| d= 0 lm= -3.2 -4.1 tm= -1 -2 w= -5 ||| -4.2",
    "0 ||| a man is writing |||  d: 0 lm: -3.2 lm: -4.1 tm: -1 -2 w: -5 ||| -4.3 ||| 0-0 1-2 |||",
    "0|||text ||| map: x w: 9 1 2 3 4 ||| -1",
    "1 ||| a ||| PL_2,2= 3 WT_männern~men= 1 lm= -3 ||| -100",
    "1 ||| a  man ||| -1 -2.5 3e-3 ||| 0 ||| 0-1=0-2",
    "4 |||  ||| lm= -1 ||| 0",
    "7 ||| a |0-1| man |2-2| ||| lm= -1 |0-1| ||| 0",
    "100 ||| UNK_x <x> word|POS word++POS &#124; &apos; a\u00a0b ||| X=-1 lm= nan ||| -inf",
    "",
    "0 ||| a ||| lm= -1.000 ||| -0.123\r",
    "x ||| a ||| lm= 1 ||| 1",
    "-1 ||| a ||| lm= 1 ||| 1 ||| ||| |||",
    "99999999999999999999 ||| a ||| lm= 1e999 ||| 1e-999",
    "0 ||| a\u2028b\x0bc\x85d ||| lm= 1 ||| 1",
    "0 ||| a ||| = ||| 1",
    "0 ||| a ||| lm= ||| ",
    "|||||||||",
)  # fmt: skip


def written(value: Any, rng: random.Random) -> bytes:
    """JSON in which some values are other than they should be, or spelt as no writer would."""
    text = json.dumps(value)
    for _ in range(rng.randrange(3)):
        tokens = text.split(" ")
        at = rng.randrange(len(tokens))
        end = tokens[at][-1:] if tokens[at][-1:] in ",:}]" else ""
        tokens[at] = rng.choice(SPELLINGS) + end
        text = " ".join(tokens)
    if rng.random() < 0.2:
        at = rng.randrange(len(text))
        text = text[:at] + rng.choice(('"a":1,', ",", "}", "]", "\\", '"', "\x00", "\udc00")) + text[at:]
    coding = rng.choice(("utf-8",) * 12 + ("utf-16", "utf-8-sig", "utf-32", "latin-1"))
    return text.encode(coding, "surrogatepass" if coding.startswith("utf") else "replace")


def moses(rng: random.Random) -> bytes:
    """Moses lines of all kinds together, some of them spoilt."""
    lines = [rng.choice(MOSES) for _ in range(rng.choice((1, 1, 2, 5, 30)))]
    if rng.random() < 0.5:
        lines = [rng.choice(lines)] * rng.randrange(1, 4)  # all of a kind: those are taken
    text = "\n".join(lines)
    for _ in range(rng.randrange(3)):
        at = rng.randrange(len(text) + 1)
        piece = rng.choice(
            (
                "|||",
                " ||| ",
                "\n",
                "\r",
                "\t",
                " ",
                "\x00",
                "=",
                ":",
                "nan",
                "-inf",
                "1e999",
                "\ufeff",
                "é",
                "9" * 500,
                "|",
            )
        )
        text = text[:at] + piece + text[at + rng.randrange(4) :]
    return text.encode("utf-8" if rng.random() < 0.9 else "utf-16")


def packed(body: bytes, rng: random.Random) -> bytes:
    """As gzip: whole, in members, cut, with something behind it, of too much, or not at all."""
    whole = gzip.compress(body, mtime=0)
    half = len(body) // 2
    return rng.choice(
        (
            lambda: whole,
            lambda: gzip.compress(body[:half]) + gzip.compress(body[half:]),
            lambda: gzip.compress(b"") * 50 + whole,
            lambda: whole[: rng.randrange(len(whole))],
            lambda: whole + rng.randbytes(rng.randrange(1, 20)),
            lambda: whole + bytes(8),
            lambda: whole[:10] + rng.randbytes(len(whole)),
            lambda: rng.randbytes(50),
            lambda: zlib.compress(body),
            lambda: gzip.compress(whole),
            lambda: gzip.compress(bytes(20 * MOST_BYTES)),
            lambda: gzip.compress(b'{"a":' * MOST_BYTES),
            lambda: body,
        )
    )()


def cut(body: bytes, rng: random.Random) -> bytes:
    return body[: rng.randrange(len(body) + 1)] if rng.random() < 0.2 else body


@pytest.fixture
def bounded(make_client: Callable[..., TestClient]) -> TestClient:
    return make_client(max_body_bytes=MOST_BYTES, max_weights_bytes=MOST_BYTES // 4, evaluate_seconds=1.0)


def answered(client: TestClient, method: str, path: str, body: bytes, headers: dict[str, str]) -> Any:
    """The answer, checked against what may come at all."""
    began = perf_counter()
    sent = [(name.encode(), value.encode("latin-1", "replace")) for name, value in headers.items()]
    answer = client.request(method, path, content=body, headers=sent)
    assert perf_counter() - began < SECONDS, (path, body[:500], headers)
    assert answer.status_code < 500, (path, body[:500], headers, answer.text)
    if answer.status_code >= 400:
        assert answer.headers["content-type"] == "application/problem+json"
        said = answer.json()
        assert {"type", "title", "status", "detail"} <= set(said), said
        assert said["status"] == answer.status_code
        assert len(answer.content) < 5000
    return answer


def test_json_of_every_kind(bounded: TestClient, fuzz: Fuzz) -> None:
    documented = bounded.get("/openapi.json").json()["paths"]
    seen: Counter[int] = Counter()

    @fuzz(600)
    @given(st.randoms(use_true_random=False))
    def holds(rng: random.Random) -> None:
        path = rng.choice(list(VALID))
        method = "PUT" if "weights" in path else "POST"
        body = cut(written(VALID[path], rng), rng)
        headers = {"Content-Type": "application/json" if rng.random() < 0.8 else rng.choice(KINDS)}
        if rng.random() < 0.3:
            body = packed(body, rng)
            headers["Content-Encoding"] = "gzip" if rng.random() < 0.8 else rng.choice(CODINGS)
        answer = answered(bounded, method, path, body, headers)
        template = path.replace("new", "{name}") if "weights" in path else path
        assert str(answer.status_code) in documented[template][method.lower()]["responses"]
        seen[answer.status_code] += 1

    holds()
    assert min(seen[200] + seen[201], seen[400], seen[413], seen[415], seen[422]) > 0, seen


def test_moses_of_every_kind(bounded: TestClient, fuzz: Fuzz) -> None:
    seen: Counter[int] = Counter()

    @fuzz(150)
    @given(st.randoms(use_true_random=False))
    def holds(rng: random.Random) -> None:
        body = cut(moses(rng), rng)
        query = rng.choice(("", "", "?models=small", "?unknown_feature=ignore", "?top_k=1", "?text=lower", "?top_k=0",
                            "?models=nosuch", "?weights=asr", "?deadline_seconds=1e999", "?top_k=" + "9" * 5000,
                            "?deadline_seconds=%00", "?models=%ff", "?a=%ed%a0%80", "?top_k=1&top_k=2"))  # fmt: skip
        headers = {"Content-Type": "text/plain"}
        if rng.random() < 0.3:
            headers["Accept"] = "application/json"
        if rng.random() < 0.2:
            headers["Content-Encoding"] = "gzip"
            sent = packed(body, rng)
        else:
            sent = body
        answer = answered(bounded, "POST", "/v1/rescore" + query, sent, headers)
        seen[answer.status_code] += 1
        if answer.status_code == 200 and answer.headers["content-type"].startswith("text/plain"):
            texts = Counter(line.split("|||")[1] for line in body.decode().split("\n") if "|||" in line)
            for line in answer.text.removesuffix("\n").split("\n"):
                assert texts[line.split("|||")[1]] > 0, line  # nothing is ranked that was not sent

    holds()
    assert min(seen[200], seen[400], seen[413], seen[422]) > 0, seen


@pytest.mark.parametrize("spelling", SPELLINGS)
@pytest.mark.parametrize("place", ["feature", "text", "top_k", "id", "weights", "lists", "score", "evaluate"])
def test_every_spelling_in_every_place(bounded: TestClient, spelling: str, place: str) -> None:
    hole = "@@"
    lists = [{"id": "u", "hypotheses": [{"text": "a", "features": {"ac": 1}}]}]
    asked: dict[str, Any] = {"lists": lists, "weights": {"features": {"ac": 1}}, "options": {}}
    path = "/v1/rescore"
    match place:
        case "feature":
            lists[0]["hypotheses"][0]["features"]["ac"] = hole  # type: ignore[index]
        case "text":
            lists[0]["hypotheses"][0]["text"] = hole  # type: ignore[index]
        case "id":
            lists[0]["id"] = hole
        case "top_k":
            asked["options"]["top_k"] = hole
        case "score":
            path, asked = "/v1/score", {"model": "small", "texts": [hole]}
        case "evaluate":
            path, asked = "/v1/evaluate", {"metric": "wer", "hypotheses": [hole], "references": ["a"]}
        case _:
            asked[place] = hole
    body = json.dumps(asked).replace(f'"{hole}"', spelling).encode(errors="surrogatepass")
    answered(bounded, "POST", path, body, {"Content-Type": "application/json"})
