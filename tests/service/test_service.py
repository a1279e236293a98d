"""Requests at the same time, deadlines, callers who leave, readiness, names and headers."""

import asyncio
import os
import re
import threading
import time
from collections.abc import AsyncIterator, Callable
from typing import Any

import httpx2
import pytest
from fastapi.testclient import TestClient
from starlette.responses import StreamingResponse

from nbest.errors import NotFoundError
from service import model_files
from service.app import create_app
from service.registry import MODEL_FILE

MakeClient = Callable[..., TestClient]


def ask(text: str, **options: Any) -> dict[str, Any]:
    return {
        "models": ["small"],
        "weights": {"features": {"small": 1.0}},
        "options": options,
        "lists": [{"id": "u", "hypotheses": [{"text": text}, {"text": "a man"}]}],
    }


async def until(condition: Callable[[], bool]) -> None:
    for _ in range(1000):
        if condition():
            return
        await asyncio.sleep(0.005)
    raise AssertionError("never came true")


def with_app(world: Any, run: Callable[[httpx2.AsyncClient, Any], Any], **settings: Any) -> Any:
    """What `run` gives, with a client inside the loop of a fresh service; its model is loaded."""
    app = create_app(world.settings(**settings), opener=world.open_scorer, shipped=["small"])

    async def main() -> Any:
        transport = httpx2.ASGITransport(app=app)
        async with httpx2.AsyncClient(transport=transport, base_url="http://nbest") as client:
            await app.state.service.registry.get("small")
            return await run(client, world.opened["small"])

    return asyncio.run(main())


def test_concurrent_requests_are_merged_and_each_gets_its_own_numbers(world: Any) -> None:
    async def run(client: httpx2.AsyncClient, scorer: Any) -> None:
        scorer.gate.clear()
        first = asyncio.create_task(client.post("/rescore", json=ask("horse")))
        await until(lambda: len(scorer.calls) == 1)
        texts = ["man", "is", "riding", "writing", "a", "man man"]
        tasks = [asyncio.create_task(client.post("/rescore", json=ask(text))) for text in texts]
        registry_waits = [
            asyncio.create_task(client.post("/score", json={"model": "small", "texts": ["zebra"]}))
        ]
        await asyncio.sleep(0.2)
        scorer.gate.set()
        await first
        answers = [await task for task in tasks]
        assert len(scorer.calls) == 2  # seven requests, one call
        assert sorted(scorer.calls[1]) == sorted([*texts, "a man", "zebra"])  # "a man" once
        expected = {"man": -2.5, "is": -2.0, "riding": -3.5, "writing": -5.5, "a": -1.5, "man man": -4.5}
        for text, answer in zip(texts, answers, strict=True):
            ranking = answer.json()["results"][0]["ranking"]
            assert {entry["text"]: entry["score"] for entry in ranking} == {
                text: expected[text],
                "a man": -3.5,
            }
        assert (await registry_waits[0]).json()["scores"][0]["nat_log_prob"] == -8.5

    with_app(world, run)


def test_a_full_queue_is_429_with_retry_after(world: Any) -> None:
    async def run(client: httpx2.AsyncClient, scorer: Any) -> None:
        scorer.gate.clear()
        first = asyncio.create_task(client.post("/rescore", json=ask("horse")))
        await until(lambda: len(scorer.calls) == 1)
        second = asyncio.create_task(client.post("/rescore", json=ask("man")))
        await asyncio.sleep(0.1)
        refused = await client.post("/rescore", json=ask("is"))
        assert (refused.status_code, refused.json()["type"]) == (429, "busy")
        assert int(refused.headers["retry-after"]) >= 1
        scorer.gate.set()
        assert (await first).status_code == (await second).status_code == 200
        assert (await client.post("/rescore", json=ask("is"))).status_code == 200

    with_app(world, run, queue_words=12)


def test_a_deadline_that_passes_is_503_and_its_texts_are_dropped(world: Any) -> None:
    async def run(client: httpx2.AsyncClient, scorer: Any) -> None:
        scorer.gate.clear()
        first = asyncio.create_task(client.post("/rescore", json=ask("horse")))
        await until(lambda: len(scorer.calls) == 1)
        began = time.perf_counter()
        late = await client.post("/rescore", json=ask("zebra", deadline_seconds=0.1))
        assert 0.1 <= time.perf_counter() - began < 5
        assert (late.status_code, late.json()["type"]) == (503, "deadline-exceeded")
        assert "retry-after" in late.headers
        await asyncio.sleep(0.5)  # the scoring thread is told
        scorer.gate.set()
        await first
        in_time = await client.post("/rescore", json=ask("man", deadline_seconds=30))
        assert in_time.status_code == 200
        assert not any("zebra" in texts for texts in scorer.calls)

    with_app(world, run)


def test_a_deadline_shorter_than_the_queue_is_refused_at_once(world: Any) -> None:
    async def run(client: httpx2.AsyncClient, scorer: Any) -> None:
        scorer.gate.clear()
        first = asyncio.create_task(client.post("/rescore", json=ask("horse")))
        await until(lambda: len(scorer.calls) == 1)
        long = asyncio.create_task(client.post("/rescore", json=ask("man " * 100_000)))
        await asyncio.sleep(0.3)
        refused = await client.post("/rescore", json=ask("is " * 50_000, deadline_seconds=4.0))
        assert (refused.status_code, refused.json()["type"]) == (429, "busy")
        # Its own 2.5 seconds, as many for the other, which shares with it, and a quarter more.
        assert int(refused.headers["retry-after"]) == 7
        unread = ask("is " * 15_000, deadline_seconds=1.0)  # small enough to be counted before it is read
        unread["lists"][0]["hypotheses"].append({"text": 3})
        assert (await client.post("/rescore", json=unread)).status_code == 429
        del unread["options"]
        assert (
            await client.post("/rescore", json=unread)
        ).status_code == 200  # its list failed, for its text
        small = asyncio.create_task(client.post("/rescore", json=ask("is", deadline_seconds=30.0)))
        await asyncio.sleep(0.1)
        scorer.gate.set()
        assert (await first).status_code == (await long).status_code == (await small).status_code == 200

    with_app(world, run)


def test_a_caller_who_leaves_is_not_scored(world: Any) -> None:
    app = create_app(world.settings(), opener=world.open_scorer, shipped=["small"])

    async def main() -> None:
        await app.state.service.registry.get("small")
        scorer = world.opened["small"]
        scorer.gate.clear()
        transport = httpx2.ASGITransport(app=app)
        async with httpx2.AsyncClient(transport=transport, base_url="http://nbest") as client:
            first = asyncio.create_task(client.post("/rescore", json=ask("horse")))
            await until(lambda: len(scorer.calls) == 1)
            both = app_waiting()
            body = b'{"model": "small", "texts": ["zebra"]}'
            inbox = asyncio.Queue[dict[str, Any]]()
            inbox.put_nowait({"type": "http.request", "body": body, "more_body": False})
            sent: list[Any] = []
            scope = {
                "type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1", "method": "POST",
                "path": "/v1/score", "raw_path": b"/v1/score", "query_string": b"", "root_path": "",
                "scheme": "http", "headers": [(b"content-type", b"application/json")],
                "server": ("nbest", 80), "client": ("127.0.0.1", 1),
            }  # fmt: skip

            async def send(message: Any) -> None:
                sent.append(message)

            gone = asyncio.create_task(app(scope, inbox.get, send))
            await until(lambda: app_waiting() > both)
            inbox.put_nowait({"type": "http.disconnect"})
            await gone
            assert app_waiting() == both
            await asyncio.sleep(0.5)  # the scoring thread is told
            scorer.gate.set()
            assert (await first).status_code == 200
        assert not any("zebra" in texts for texts in scorer.calls)
        assert [message.get("status") for message in sent[:1]] == [499]

    def app_waiting() -> int:
        task = app.state.service.registry._loading["small"]
        return int(task.result().queue.words)

    asyncio.run(main())


def test_ready_once_preloaded_and_503_before(world: Any) -> None:
    loading, release = threading.Event(), threading.Event()

    def slow(source: str) -> Any:
        loading.set()
        assert release.wait(10)
        return world.open_scorer(source)

    app = create_app(world.settings(preload="small,local"), opener=slow, shipped=["small"])
    with TestClient(app) as client:
        assert loading.wait(10)
        waiting = client.get("/readyz")
        assert (waiting.status_code, waiting.json()["type"]) == (503, "not-ready")
        assert "loading" in waiting.json()["detail"]
        assert client.get("/livez").json() == {"status": "alive"}
        release.set()
        for _ in range(1000):
            if client.get("/readyz").status_code == 200:
                break
            time.sleep(0.005)
        assert client.get("/readyz").json() == {"status": "ready"}
        assert {m["name"]: m["loaded"] for m in client.get("/models").json()["models"]} == {
            "broken": False, "local": True, "small": True,
        }  # fmt: skip
        app.state.service.readiness.drain()
        draining = client.get("/readyz")
        assert (draining.status_code, "draining" in draining.json()["detail"]) == (503, True)
        assert client.post("/rescore", json=ask("man")).status_code == 200  # what still comes is served


def test_a_model_that_cannot_be_preloaded_is_said_by_readyz(make_client: MakeClient) -> None:
    client = make_client(preload="broken")
    for _ in range(1000):
        answer = client.get("/readyz")
        if "failed" in answer.json().get("detail", ""):
            break
        time.sleep(0.005)
    assert answer.status_code == 503
    assert "'broken'" in answer.json()["detail"]


def test_a_model_to_preload_that_is_not_there_is_refused_at_once(world: Any) -> None:
    with pytest.raises(
        NotFoundError, match="no such model; expected one of broken, local, small; got 'nosuch'"
    ):
        create_app(world.settings(preload="small,nosuch"), opener=world.open_scorer, shipped=["small"])


def test_models_and_weight_sets_by_name(client: TestClient, world: Any) -> None:
    for name in (".hidden", "not a name"):
        (world.models / name).mkdir()
        (world.models / name / "config.json").touch()
    (world.models / "file.txt").write_text("x")
    (world.models / "empty").mkdir()
    (world.weights / "notes.txt").write_text("x")
    before = client.get("/v1/models").json()
    assert before["weights"] == ["asr"]
    assert [(m["name"], m["shipped"], m["loaded"]) for m in before["models"]] == [
        ("broken", False, False),
        ("local", False, False),
        ("small", True, False),
    ]
    client.post("/score", json={"model": "local", "texts": ["a"]})
    after = {m["name"]: m for m in client.get("/models").json()["models"]}
    assert after["local"]["loaded"]
    assert after["local"]["digest"] == "sha256:" + "0" * 64
    assert list(world.opened) == [str(world.models / "local")]  # loaded once, nothing else


def test_what_holds_a_model_is_what_the_models_room_says() -> None:
    from models import checkpoint

    assert checkpoint.CONFIG == MODEL_FILE


@pytest.mark.parametrize(
    "error", [NotFoundError("a directory without a model: '/srv/x'"), PermissionError("/srv")]
)
def test_a_model_that_goes_while_it_is_loaded_is_named_without_its_path(world: Any, error: Exception) -> None:
    def gone(_: str) -> Any:
        raise error

    with TestClient(create_app(world.settings(), opener=gone, shipped=["small"])) as client:
        answer = client.post("/score", json={"model": "local", "texts": ["a"]})
    assert (answer.status_code, answer.json()["type"]) == (503, "invalid-model-file")
    assert answer.json()["detail"] == "the model 'local' cannot be loaded"


def test_a_models_directory_that_is_gone_tells_no_path(world: Any, tmp_path: Any) -> None:
    app = create_app(world.settings(), opener=world.open_scorer, shipped=["small"])
    with TestClient(app) as client:
        world.models.rename(tmp_path / "elsewhere")
        answer = client.get("/v1/models")
    assert answer.status_code == 500
    assert str(tmp_path) not in answer.text


def test_a_model_is_loaded_once_by_concurrent_first_requests(world: Any) -> None:
    opened: list[str] = []

    def slow(source: str) -> Any:
        opened.append(source)
        time.sleep(0.1)
        return world.open_scorer(source)

    app = create_app(world.settings(), opener=slow, shipped=["small"])

    async def main() -> None:
        transport = httpx2.ASGITransport(app=app)
        async with httpx2.AsyncClient(transport=transport, base_url="http://nbest") as client:
            posts = [client.post("/rescore", json=ask(text)) for text in ("man", "is", "a")]
            assert [answer.status_code for answer in await asyncio.gather(*posts)] == [200] * 3

    asyncio.run(main())
    assert opened == ["small"]


def test_a_model_that_failed_to_load_is_tried_again(world: Any) -> None:
    from nbest.errors import ModelFileError

    outcomes = [ModelFileError("corrupt"), None]

    def flaky(source: str) -> Any:
        error = outcomes.pop(0)
        if error:
            raise error
        return world.open_scorer(source)

    with TestClient(create_app(world.settings(), opener=flaky, shipped=["small"])) as client:
        body = {"model": "small", "texts": ["a"]}
        assert [client.post("/score", json=body).status_code for _ in range(2)] == [503, 200]


def test_a_corrupt_weight_set_is_the_services_fault(client: TestClient, world: Any, tmp_path: Any) -> None:
    (world.weights / "bad.json").write_text("{")
    answer = client.post("/rescore", json={**ask("a"), "weights": "bad"})
    assert (answer.status_code, answer.json()["type"]) == (503, "invalid-weight-set")
    assert "'bad'" in answer.json()["detail"]
    assert str(tmp_path) not in answer.text


def test_a_changed_weight_set_is_read_again(client: TestClient, world: Any) -> None:
    import json
    import os

    def scored(weight: float, stamp: int) -> float:
        path = world.weights / "w.json"
        path.write_text(json.dumps({"format": "nbest-weights/1", "features": {"small": weight}}))
        os.utime(path, ns=(stamp, stamp))
        answer = client.post("/rescore", json={**ask("a"), "weights": "w"})
        return float(answer.json()["results"][0]["ranking"][0]["score"])

    assert [scored(1.0, 10**18), scored(2.0, 2 * 10**18)] == [-1.5, -3.0]


@pytest.mark.parametrize(
    ("method", "path", "status", "kind"),
    [("GET", "/nothing", 404, "no-such-route"), ("GET", "/v1/rescore", 405, "method-not-allowed")],
)
def test_unknown_routes_and_methods_are_problems(
    client: TestClient, method: str, path: str, status: int, kind: str
) -> None:
    answer = client.request(method, path)
    assert answer.headers["content-type"] == "application/problem+json"
    assert (answer.status_code, answer.json()["type"]) == (status, kind)


def test_request_ids_are_kept_or_made(client: TestClient) -> None:
    body = ask("man")
    kept = client.post("/rescore", json=body, headers={"X-Request-ID": "call-17"})
    assert kept.headers["x-request-id"] == kept.json()["request_id"] == "call-17"
    made = client.post("/rescore", json=body, headers={"X-Request-ID": "a b\x7f"})
    assert made.headers["x-request-id"] == made.json()["request_id"] != "a b\x7f"
    assert len(made.json()["request_id"]) == 32


def test_a_fault_is_500_without_its_inside_and_with_the_headers_of_all_answers(world: Any) -> None:
    app = create_app(world.settings(), opener=world.open_scorer, shipped=["small"])

    @app.get("/boom")
    async def boom() -> None:
        raise ZeroDivisionError("secret")

    with TestClient(app) as client:
        answer = client.get("/boom", headers={"X-Request-ID": "call-18"})
    assert (answer.status_code, answer.json()["type"]) == (500, "internal-error")
    assert answer.headers["x-request-id"] == "call-18"
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert "secret" not in answer.text


def test_a_fault_after_the_answer_began_is_the_servers(world: Any) -> None:
    app = create_app(world.settings(), opener=world.open_scorer, shipped=["small"])

    async def pieces() -> AsyncIterator[bytes]:
        yield b"x"
        raise ZeroDivisionError("secret")

    @app.get("/boom")
    async def boom() -> StreamingResponse:
        return StreamingResponse(pieces())

    with TestClient(app) as client, pytest.raises(ZeroDivisionError):
        client.get("/boom")


@pytest.mark.parametrize("path", ["/v1/rescore", "/v1/score", "/v1/evaluate"])
def test_a_caller_who_leaves_in_mid_body_is_one_quiet_line(
    world: Any, path: str, caplog: pytest.LogCaptureFixture
) -> None:
    app = create_app(world.settings(), opener=world.open_scorer, shipped=["small"])
    inbox = [{"type": "http.disconnect"}, {"type": "http.request", "body": b"{", "more_body": True}]
    sent: list[Any] = []

    async def receive() -> Any:
        return inbox.pop()

    async def send(message: Any) -> None:
        sent.append(message)

    scope = {
        "type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1", "method": "POST",
        "path": path, "raw_path": path.encode(), "query_string": b"", "root_path": "",
        "scheme": "http", "headers": [(b"content-type", b"application/json")],
        "server": ("nbest", 80), "client": ("127.0.0.1", 1),
    }  # fmt: skip
    with caplog.at_level("INFO"):
        asyncio.run(app(scope, receive, send))
    (record,) = [one for one in caplog.records if one.name == "nbest.service"]
    assert (record.levelname, record.exc_info) == ("INFO", None)
    assert record.getMessage() == f"the caller left before the answer: POST {path}"
    assert sent[0]["status"] == 499


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("HEAD", "/v1/rescore"), ("OPTIONS", "/v1/rescore"), ("PUT", "/v1/rescore"), ("DELETE", "/v1/score"),
        ("POST", "/v1/models"), ("OPTIONS", "/livez"), ("PATCH", "/readyz"),
    ],
)  # fmt: skip
def test_another_method_is_405_and_says_which_one_is_allowed(
    client: TestClient, method: str, path: str
) -> None:
    answer = client.request(method, path)
    assert answer.status_code == 405
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.headers["allow"] in {"GET", "POST"}
    assert "x-request-id" in answer.headers


@pytest.mark.parametrize("path", ["/v1/rescore", "/v1/score", "/v1/evaluate"])
def test_options_in_the_query_of_a_json_request_are_refused(client: TestClient, path: str) -> None:
    answer = client.post(f"{path}?models=small", json={"lists": [1], "model": "small", "texts": ["a"]})
    assert (answer.status_code, answer.json()["got"]) == (422, "models=small")
    assert "body" in answer.json()["detail"]


def accesses(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [one.getMessage() for one in caplog.records if one.name == "nbest.access"]


def test_every_request_has_its_line_in_the_log(
    make_client: MakeClient, caplog: pytest.LogCaptureFixture
) -> None:
    client = make_client()
    with caplog.at_level("INFO"):
        client.post("/v1/score", json={"model": "small", "texts": ["a"]}, headers={"X-Request-ID": "one"})
        client.get("/no%0Asuch", headers={"X-Request-ID": "two"})
        client.get("/livez")
    first, second = accesses(caplog)
    assert re.fullmatch(r"POST /v1/score 200 [0-9]\.[0-9]{3}s one", first)
    assert re.fullmatch(r"GET /no%0Asuch 404 [0-9]\.[0-9]{3}s two", second)
    caplog.clear()
    with caplog.at_level("INFO"):
        make_client(access_log=False).get("/v1/models")
    assert accesses(caplog) == []


def test_what_the_files_of_models_say_is_told_before_they_are_loaded() -> None:
    from models.checkpoint import CARD, CONFIG, VOCABULARY, WEIGHTS
    from service.settings import Settings

    assert (*model_files.FILES, model_files.CARD) == (CONFIG, WEIGHTS, VOCABULARY, CARD)
    with TestClient(create_app(Settings())) as client:

        def small() -> Any:
            return next(one for one in client.get("/v1/models").json()["models"] if one["name"] == "small")

        before = small()
        client.post("/v1/score", json={"model": "small", "texts": ["a"]})
        after = small()
    assert (before.pop("loaded"), after.pop("loaded")) == (False, True)
    assert before == after  # the digest too, which the loaded model says itself
    assert before["digest"].startswith("sha256:")
    assert (before["system"], before["card"]["licence"]) == ("bllm", "CC BY-SA 4.0")
    assert 50 < before["figures"]["perplexity"]["validation, sentence state"] < 150
    assert 2_500_000 < before["bytes"] < 3_000_000


@pytest.mark.parametrize("content", [b"", b"[1]", b"\xff", b"[" * 100_000])
def test_a_broken_model_has_fewer_facts(tmp_path: Any, content: bytes) -> None:
    assert model_files.facts(tmp_path) == model_files.ModelFacts()
    for name in (*model_files.FILES, model_files.CARD):
        (tmp_path / name).write_bytes(content)
    found = model_files.facts(tmp_path)
    assert (found.system, found.card, found.bytes) == (None, (), 3 * len(content))
    (tmp_path / "card.json").write_text('{"limits": "none", "licence": 5}')
    os.utime(tmp_path / "card.json", (1, 1))
    assert model_files.facts(tmp_path).card == (("limits", "none"),)
    (tmp_path / "card.json").write_text(
        '{"perplexity": {"x": 5, "y": "5", "z": 1e999, "b": true}, "measured": 3}'
    )
    os.utime(tmp_path / "card.json", (2, 2))
    assert model_files.facts(tmp_path).figures == (("perplexity", (("x", 5.0),)),)
