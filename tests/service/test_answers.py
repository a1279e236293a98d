"""Answers in lines, packed or not, and results written straight down against the documented models."""

import asyncio
import doctest
import gzip
import json
import zlib
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from fastapi.testclient import TestClient
from hypothesis import given
from hypothesis import strategies as st

from nbest.errors import NonFiniteFeatureError
from rescoring import loglinear
from rescoring.nbest import Feature, NbestLists
from rescoring.pipeline import rescore as ranked_by
from rescoring.weights import WeightSet
from service import answers
from service.answers import quality
from service.errors import list_fault
from service.request_lists import RequestList
from service.results import list_json, tokens_out
from service.routes import rescore
from service.schemas import ListOut, Options, RankedOut, RescoreDone

NDJSON = {"Accept": "application/x-ndjson"}
MakeClient = Callable[..., TestClient]


def body(count: int, hypotheses: int = 3, **more: Any) -> dict[str, Any]:
    each = [{"text": f"a man {j}", "features": {"ac": -1.0 * j}} for j in range(hypotheses)]
    lists: list[Any] = [{"id": f"u{k}", "hypotheses": each} for k in range(count)]
    return {"models": ["small"], "weights": {"features": {"ac": 1.0, "small": 1.0}}, "lists": lists, **more}


def parsed(text: str) -> list[Any]:
    assert text.endswith("\n")
    return [json.loads(line) for line in text.split("\n")[:-1]]


# The straight way and the models say the same


def slow(one: RequestList, ranked: Any, options: Options, tokens: Any) -> ListOut:
    """The result of one list as the documented models."""
    if isinstance(ranked, Exception):
        return ListOut(id=one.id, error=list_fault(ranked))  # type: ignore[arg-type]
    lists = ranked.lists
    parts = loglinear.contributions(lists, ranked.vector)

    def by_name(values: Any) -> Any:
        found, start = {}, 0
        for feature in lists.schema:
            block = values[start : start + feature.width].tolist()
            found[feature.name] = block[0] if feature.width == 1 else block
            start += feature.width
        return found

    names = [feature.name for feature in lists.schema]
    ranking = [
        RankedOut(
            rank=place + 1,
            index=int(row),
            text=lists.texts[row],
            score=float(ranked.totals[row]),
            features=by_name(lists.features[row]),
            contributions=dict(zip(names, parts[row].tolist(), strict=True))
            if options.contributions
            else None,
            tokens={name: tokens_out(of_list[place]) for name, of_list in tokens.items()} or None,
        )
        for place, row in enumerate(ranked.order[: options.top_k])
    ]
    return ListOut(
        id=lists.ids[0],
        changed=bool(ranked.changed[0]),
        warnings=list(ranked.warnings),
        weights=by_name(ranked.vector),
        ranking=ranking,
    )


class Words:
    name, digest = "lm", "sha256:" + "1" * 64

    def score(self, texts: Any) -> Any:
        from rescoring.scorer import ScoreArrays

        count = np.array([len(text) for text in texts])
        return ScoreArrays(-1.25 * count, count, count % 2)


finite = st.floats(-1e6, 1e6)
text = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\n\r"), max_size=12)


@given(
    texts=st.lists(text, min_size=1, max_size=6),
    widths=st.lists(st.integers(1, 3), max_size=3),
    top_k=st.none() | st.integers(1, 8),
    contributions=st.booleans(),
    tokens=st.booleans(),
    data=st.data(),
)
def test_results_are_what_the_models_would_write(
    texts: list[str], widths: list[int], top_k: Any, contributions: bool, tokens: bool, data: Any
) -> None:
    schema = tuple(Feature(f"f{place}", width) for place, width in enumerate(widths))
    numbers = data.draw(
        st.lists(finite, min_size=sum(widths) * len(texts), max_size=sum(widths) * len(texts))
    )
    lists = NbestLists(
        ids=("ü/1",),
        offsets=np.array([0, len(texts)]),
        texts=tuple(texts),
        schema=schema,
        features=np.array(numbers).reshape(len(texts), sum(widths)),
    )
    weights = WeightSet(
        {"lm": (0.5,), **{one.name: tuple(0.25 * k for k in range(one.width)) for one in schema}}
    )
    ranked = ranked_by(lists, [Words()], weights)
    options = Options(top_k=top_k, contributions=contributions, tokens=tokens)
    shown = ranked.order[:top_k].tolist()
    of_list = {"lm": [_tokens(texts[row]) for row in shown]} if tokens else {}
    one = RequestList(lists.ids[0], lists)
    written = list_json(one, ranked, options, of_list)
    reference = slow(one, ranked, options, of_list)
    assert json.loads(written) == json.loads(reference.model_dump_json(exclude_none=True))
    assert ListOut.model_validate_json(written) == reference


def _tokens(text: str) -> list[Any]:
    from types import SimpleNamespace

    return [SimpleNamespace(token=w, nat_log_prob=-1.5, is_oov=w == "a") for w in [*text.split(" "), "</s>"]]


@pytest.mark.parametrize("name", [None, "u"])
def test_a_list_with_an_error_says_what(name: str | None) -> None:
    error = NonFiniteFeatureError("not finite", where="/lists/0/hypotheses/1", expected="a number", got="nan")
    one = RequestList(name, error)
    written = list_json(one, error, Options(), {})
    assert json.loads(written) == json.loads(
        slow(one, error, Options(), {}).model_dump_json(exclude_none=True)
    )
    assert ("id" in json.loads(written)) == (name is not None)


# Lines


def test_lines_hold_what_json_does_and_end_with_done(client: TestClient) -> None:
    sent = body(700, options={"top_k": 2})
    sent["lists"][3] = {"id": "u3", "hypotheses": []}
    sent["lists"][9] = "no list"
    whole = client.post("/v1/rescore", json=sent).json()
    answer = client.post("/v1/rescore", json=sent, headers={**NDJSON, "X-Request-ID": "mine"})
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "application/x-ndjson"
    *results, last = parsed(answer.text)
    assert results == whole["results"]
    assert (last["done"], last["ok"], last["failed"]) == (True, 698, 2)
    assert last["request_id"] == answer.headers["x-request-id"] == "mine"
    assert last["signature"] == whole["signature"]
    assert {k: v for k, v in last["usage"].items() if "seconds" not in k} == {
        k: v for k, v in whole["usage"].items() if "seconds" not in k
    }
    RescoreDone.model_validate(last)


def test_a_moses_list_is_answered_in_lines_too(client: TestClient) -> None:
    moses = "0 ||| a man ||| LM0= -1 ||| -1\n1 ||| horse ||| LM0= -2 ||| -2\n"
    headers = {"Content-Type": "text/plain", **NDJSON}
    answer = client.post("/v1/rescore?models=small", content=moses, headers=headers)
    *results, last = parsed(answer.text)
    assert [one["id"] for one in results] == ["0", "1"]
    assert last["ok"] == 2


@pytest.mark.parametrize(
    ("accept", "kind"),
    [
        ("application/x-ndjson", "x-ndjson"),
        ("Application/X-NDJSON; charset=utf-8", "x-ndjson"),
        ("application/json, application/x-ndjson", "x-ndjson"),
        ("application/json;q=0.4, application/x-ndjson;q=0.5", "x-ndjson"),
        ("application/json, application/x-ndjson;q=0.5", "json"),
        ("application/x-ndjson;q=0", "json"),
        ("application/x-ndjson;q=much", "json"),
        ("*/*", "json"),
        ("text/html", "json"),
        ("", "json"),
    ],
)
def test_lines_only_where_they_are_accepted(client: TestClient, accept: str, kind: str) -> None:
    answer = client.post("/v1/rescore", json=body(1), headers={"Accept": accept})
    assert answer.headers["content-type"] == f"application/{kind}"
    assert "accept" in answer.headers["vary"].lower()


def test_an_error_of_the_whole_is_a_problem_in_lines_too(client: TestClient) -> None:
    answer = client.post("/v1/rescore", json=body(1, models=["nosuch"]), headers=NDJSON)
    assert answer.status_code == 404
    assert answer.headers["content-type"] == "application/problem+json"


def test_a_fault_on_the_way_leaves_no_last_line(client: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    """The answer has begun: what ends it must not look like an end."""
    real = rescore.list_json

    def failing(one: Any, *rest: Any) -> bytes:
        if one.id == "u400":
            raise RuntimeError("disk on fire")
        return real(one, *rest)

    monkeypatch.setattr(rescore, "list_json", failing)
    seen = b""
    with pytest.raises(RuntimeError, match="disk on fire"):  # with a server: a connection that is cut
        with client.stream("POST", "/v1/rescore", json=body(700), headers=NDJSON) as answer:
            for piece in answer.iter_raw():
                seen += piece
    assert b'"done"' not in seen


def test_lines_leave_while_others_are_written(world: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first piece is sent before the last list is written."""
    from service.app import create_app

    app = create_app(world.settings(), opener=world.open_scorer, shipped=["small"])
    events: list[str] = []
    real = rescore.list_json

    def noted(one: Any, *rest: Any) -> bytes:
        events.append(f"write {one.id}")
        return real(one, *rest)

    monkeypatch.setattr(rescore, "list_json", noted)
    content = json.dumps(body(700)).encode()
    sent: list[bytes] = []

    async def main() -> None:
        given = asyncio.Event()

        async def receive() -> dict[str, Any]:
            if not given.is_set():
                given.set()
                return {"type": "http.request", "body": content, "more_body": False}
            await asyncio.sleep(60)
            return {"type": "http.disconnect"}

        async def send(message: dict[str, Any]) -> None:
            if message["type"] == "http.response.body":
                sent.append(message["body"])
                events.append("send")

        headers = [(b"content-type", b"application/json"), (b"accept", b"application/x-ndjson"),
                   (b"accept-encoding", b"gzip")]  # fmt: skip
        scope = {"type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1", "method": "POST",
                 "path": "/v1/rescore", "raw_path": b"/v1/rescore", "query_string": b"", "root_path": "",
                 "scheme": "http", "headers": headers, "client": ("127.0.0.1", 1),
                 "server": ("127.0.0.1", 80), "state": {}}  # fmt: skip
        await app(scope, receive, send)

    asyncio.run(main())
    assert events.index("send") < events.index("write u699")
    # Each piece can be unpacked as soon as it is there.
    unpacker = zlib.decompressobj(31)
    first = unpacker.decompress(sent[0])
    assert first.endswith(b"\n")
    assert [json.loads(line)["id"] for line in first.split(b"\n")[:-1]][:2] == ["u0", "u1"]
    rest = b"".join(unpacker.decompress(piece) for piece in sent[1:])
    assert unpacker.eof
    assert len((first + rest).split(b"\n")) == 700 + 2


@given(st.lists(st.integers(1, 2 * rescore._RUN_SHOWN), min_size=1, max_size=100))
def test_pieces_are_all_lists_in_order_within_bounds(costs: list[int]) -> None:
    found = list(rescore._runs(costs))
    assert [place for part in found for place in range(part.start, part.stop)] == list(range(len(costs)))
    for part in found:
        assert part.stop - part.start == 1 or sum(costs[part]) <= rescore._RUN_SHOWN


# gzip


@pytest.mark.parametrize("kind", ["application/json", "application/x-ndjson", "text/plain"])
def test_answers_are_packed_where_that_is_accepted(client: TestClient, kind: str) -> None:
    if kind == "text/plain":
        content = "".join(f"{k} ||| a man {j} ||| LM0= -{j} ||| -1\n" for k in range(60) for j in range(30))
    else:
        content = json.dumps(body(60, 30))
    headers = {"Content-Type": kind.replace("x-ndjson", "json"), "Accept": kind}

    def post(coding: str) -> tuple[Any, bytes]:
        asked = {**headers, "Accept-Encoding": coding, "X-Request-ID": "r"}
        path = "/v1/rescore" + ("?models=small" if kind == "text/plain" else "")
        with client.stream("POST", path, content=content, headers=asked) as answer:
            assert answer.status_code == 200
            return answer.headers, b"".join(answer.iter_raw())

    _, plain = post("identity")
    headers_of, packed = post("br, gzip;q=0.8")
    assert headers_of["content-encoding"] == "gzip"
    assert "accept-encoding" in headers_of["vary"].lower()
    assert len(packed) < len(plain) / 3

    def stable(text: bytes) -> Any:
        import re

        return re.sub(rb'"(queue|compute)_seconds":[^,}]*', b"", text)

    assert stable(gzip.decompress(packed)) == stable(plain)
    for coding in ("gzip;q=0", "deflate, br", "*", "identity"):
        assert "content-encoding" not in post(coding)[0]


def test_a_short_answer_is_not_packed(client: TestClient) -> None:
    answer = client.post("/v1/rescore", json=body(1, 1), headers={"Accept-Encoding": "gzip"})
    assert "content-encoding" not in answer.headers


def test_the_example_of_quality() -> None:
    assert doctest.testmod(answers).failed == 0
    assert quality("gzip;q=0.25;x=1", "gzip") == 0.25
    assert quality("gzip; q=0", "gzip") == 0.0


# Small requests are done at once, others in threads: both say the same


@pytest.mark.parametrize("changes", [{}, {"weights": "asr"}, {"options": {"tokens": True, "top_k": 2}}])
def test_small_requests_are_answered_as_others_are(
    client: TestClient, monkeypatch: pytest.MonkeyPatch, changes: dict[str, Any]
) -> None:
    sent = body(3, **changes)
    sent["lists"].append({"id": "odd"})

    def results() -> Any:
        return client.post("/v1/rescore", json=sent).json()["results"]

    at_once = results()
    for bound in ("_AT_ONCE_BYTES", "_AT_ONCE_LISTS", "_AT_ONCE_SHOWN"):
        monkeypatch.setattr(rescore, bound, 0)
    assert at_once == results()
    assert sum("ranking" in one for one in at_once) == 3


def test_lines_are_described(client: TestClient) -> None:
    route = client.get("/openapi.json").json()["paths"]["/v1/rescore"]["post"]
    ok = route["responses"]["200"]
    assert set(ok["content"]) == {"application/json", "application/x-ndjson", "text/plain"}
    assert "Content-Encoding" in ok["headers"]
    (result, last) = ok["content"]["application/x-ndjson"]["schema"]["anyOf"]
    assert result["$ref"].endswith("/ListOut")
    assert set(last["required"]) == set(RescoreDone.model_fields)
