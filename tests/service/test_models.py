# ruff: noqa: E501 - a table reads better with each case on one line

"""Models loaded, replaced and unloaded while requests are in flight: none fails, none is answered by two."""

import asyncio
import gc
import json
import threading
import time
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx2
import numpy as np
import pytest
from fastapi.testclient import TestClient

from nbest.errors import ModelFileError
from nbest.signature import sha256_hex
from rescoring.scorer import ScoreArrays
from service.app import create_app
from service.model_files import FILES

MakeClient = Callable[..., TestClient]


class Versioned:
    """A slow model whose files hold one number: each text scores it, so an answer tells which model gave it."""

    def __init__(self, source: str) -> None:
        data = [(Path(source) / name).read_bytes() for name in FILES]
        if data[1] == b"broken":
            raise ModelFileError("corrupt or truncated", where=f"{source}/{FILES[1]}")
        self.name = Path(source).name
        self.digest = f"sha256:{sha256_hex(*data)}"
        self.value = float(data[1])
        self.gate = threading.Event()
        self.gate.set()
        self.calls = 0

    def score(self, texts: Any) -> ScoreArrays:
        self.calls += 1
        assert self.gate.wait(20)
        time.sleep(0.002)
        ones = np.ones(len(texts), dtype=np.int64)
        return ScoreArrays(np.full(len(texts), self.value), ones, 0 * ones)

    def score_tokens(self, texts: Any) -> list[Any]:
        return [[] for _ in texts]


def write_model(directory: Path, value: str) -> str:
    """The model's files; its digest."""
    directory.mkdir(exist_ok=True)
    data = [b"{}", value.encode(), b"[]"]
    for name, content in zip(FILES, data, strict=True):
        (directory / f"{name}.new").write_bytes(content)
        (directory / f"{name}.new").replace(directory / name)
    return f"sha256:{sha256_hex(*data)}"


class Service:
    """The application with the opened models, and a client inside its loop."""

    def __init__(self, world: Any, **settings: Any) -> None:
        self.opened: list[Versioned] = []
        self.slow = threading.Event()
        self.slow.set()
        self.app = create_app(world.settings(**settings), opener=self.open, shipped=[])

    def open(self, source: str) -> Versioned:
        assert self.slow.wait(20)
        self.opened.append(Versioned(source))
        return self.opened[-1]

    def run(self, work: Callable[[httpx2.AsyncClient], Any]) -> Any:
        async def main() -> Any:
            transport = httpx2.ASGITransport(app=self.app)
            async with httpx2.AsyncClient(transport=transport, base_url="http://nbest") as client:
                return await work(client)

        return asyncio.run(main())


def ask(text: str) -> dict[str, Any]:
    return {
        "models": ["m"],
        "weights": {"features": {"m": 1.0}},
        "lists": [{"id": "u", "hypotheses": [{"text": f"{text} {k}"} for k in range(5)]}],
    }


def told(answer: Any) -> tuple[str, float]:
    """The digest that signed an answer, and the one value that all its hypotheses have."""
    assert answer.status_code == 200, answer.text
    values = {entry["score"] for entry in answer.json()["results"][0]["ranking"]}
    assert len(values) == 1, "answered by two models"
    return answer.json()["signature"].split("|m:")[1].split("|")[0], values.pop()


async def until(condition: Callable[[], bool]) -> None:
    for _ in range(2000):
        if condition():
            return
        await asyncio.sleep(0.005)
    raise AssertionError("never came true")


def test_loaded_reloaded_and_unloaded(world: Any) -> None:
    first = write_model(world.models / "m", "-1")
    service = Service(world)

    async def work(client: httpx2.AsyncClient) -> None:
        async def model() -> Any:
            return (await client.get("/v1/models/m")).json()

        assert ((await model())["loaded"], (await model())["digest"]) == (False, first)
        loaded = (await client.post("/v1/models/m")).json()
        loaded.pop("request_id")
        assert loaded == {"name": "m", "digest": first, "changed": True, "replaced": None}
        again = (await client.post("/v1/models/m")).json()
        assert (again["changed"], again["replaced"]) == (False, None)
        assert len(service.opened) == 1

        second = write_model(world.models / "m", "-2")
        assert (await model())["stale"] is True
        assert (await model())["digest"] == first  # the one that answers
        assert told(await client.post("/v1/rescore", json=ask("a"))) == (first, -1.0)
        swapped = (await client.post("/v1/models/m")).json()
        assert (swapped["digest"], swapped["changed"], swapped["replaced"]) == (second, True, first)
        assert (await model())["stale"] is False
        assert told(await client.post("/v1/rescore", json=ask("a"))) == (second, -2.0)

        assert (await client.delete("/v1/models/m")).status_code == 204
        assert (await model())["loaded"] is False
        assert (await client.delete("/v1/models/m")).status_code == 204  # safe to repeat
        third = write_model(world.models / "m", "-3")
        assert told(await client.post("/v1/rescore", json=ask("a"))) == (third, -3.0)  # at its next use
        assert len(service.opened) == 3

    service.run(work)


def test_what_began_on_the_old_model_ends_on_it(world: Any) -> None:
    first = write_model(world.models / "m", "-1")
    service = Service(world)

    async def work(client: httpx2.AsyncClient) -> None:
        await client.post("/v1/models/m")
        old = service.opened[0]
        old.gate.clear()
        in_call = asyncio.create_task(client.post("/v1/rescore", json=ask("in a call")))
        await until(lambda: old.calls == 1)
        loaded = service.app.state.service.registry.loaded()["m"]
        one = loaded.queue.words
        in_queue = asyncio.create_task(client.post("/v1/rescore", json=ask("in the queue")))
        await until(lambda: loaded.queue.words > one)
        second = write_model(world.models / "m", "-2")
        assert (await client.post("/v1/models/m")).json()["replaced"] == first
        late = asyncio.create_task(client.post("/v1/rescore", json=ask("late")))
        assert (await client.delete("/v1/models/m")).status_code == 204  # and now the new one goes too
        old.gate.set()
        assert told(await in_call) == told(await in_queue) == (first, -1.0)
        assert told(await late) == (second, -2.0)

    service.run(work)


def test_under_load_no_request_fails_while_models_come_and_go(world: Any) -> None:
    digests = {-1.0: write_model(world.models / "m", "-1")}
    service = Service(world)

    async def work(client: httpx2.AsyncClient) -> None:
        stop = asyncio.Event()
        answers: list[tuple[str, float]] = []

        async def caller(number: int) -> None:
            k = 0
            while not stop.is_set():
                answers.append(told(await client.post("/v1/rescore", json=ask(f"{number} {k}"))))
                k += 1

        callers = [asyncio.create_task(caller(number)) for number in range(8)]
        for k in range(2, 12):
            await asyncio.sleep(0.03)
            digests[-float(k)] = write_model(world.models / "m", f"-{k}")
            if k % 4 == 0:
                assert (await client.delete("/v1/models/m")).status_code == 204
            else:
                both = await asyncio.gather(*(client.post("/v1/models/m") for _ in range(3)))
                assert {answer.status_code for answer in both} == {200}
                # One of the three replaced it (or a caller's first use had loaded it already).
                assert sum(answer.json()["changed"] for answer in both) <= 1
        await asyncio.sleep(0.05)
        stop.set()
        await asyncio.gather(*callers)
        assert len(answers) > 30
        assert all(digests[value] == digest for digest, value in answers)
        assert len({value for _, value in answers}) >= 5

    service.run(work)


def test_a_new_model_that_is_broken_leaves_the_old_one_serving(world: Any, tmp_path: Path) -> None:
    first = write_model(world.models / "m", "-1")
    service = Service(world)

    async def work(client: httpx2.AsyncClient) -> None:
        await client.post("/v1/models/m")
        write_model(world.models / "m", "broken")
        answer = await client.post("/v1/models/m")
        assert (answer.status_code, answer.json()["type"]) == (503, "invalid-model-file")
        assert answer.headers["retry-after"] == "30"
        assert (
            "the model 'm' cannot be loaded: model.safetensors: corrupt or truncated"
            in answer.json()["detail"]
        )
        assert str(tmp_path) not in answer.text
        assert told(await client.post("/v1/rescore", json=ask("a"))) == (first, -1.0)
        await client.delete("/v1/models/m")
        refused = await client.post("/v1/rescore", json=ask("a"))
        assert (refused.status_code, refused.headers["retry-after"]) == (503, "30")

    service.run(work)


def test_requests_wait_for_a_first_load_and_those_in_a_hurry_are_told(world: Any) -> None:
    write_model(world.models / "m", "-1")
    service = Service(world)

    async def work(client: httpx2.AsyncClient) -> None:
        service.slow.clear()
        loading = asyncio.create_task(client.post("/v1/models/m"))
        await until(lambda: service.app.state.service.registry.loading("m"))
        assert (await client.get("/v1/models/m")).json()["loading"] is True
        patient = asyncio.create_task(client.post("/v1/rescore", json=ask("a")))
        hurried = await client.post("/v1/rescore", json={**ask("b"), "options": {"deadline_seconds": 0.05}})
        assert (hurried.status_code, hurried.json()["type"]) == (503, "deadline-exceeded")
        assert "retry-after" in hurried.headers
        assert (await client.get("/livez")).status_code == 200  # the loop is free meanwhile
        service.slow.set()
        assert (await loading).status_code == 200
        assert told(await patient)[1] == -1.0
        assert len(service.opened) == 1

    service.run(work)


def test_a_caller_who_leaves_does_not_stop_a_swap(world: Any) -> None:
    write_model(world.models / "m", "-1")
    service = Service(world)

    async def work(client: httpx2.AsyncClient) -> None:
        registry = service.app.state.service.registry
        await registry.load("m")
        second = write_model(world.models / "m", "-2")
        service.slow.clear()
        swap = asyncio.create_task(registry.load("m"))
        await asyncio.sleep(0.05)
        swap.cancel()
        service.slow.set()
        await until(lambda: registry.loaded()["m"].digest == second)
        assert service.opened[-1].value == -2.0

    service.run(work)


def test_memory_of_an_unloaded_model_is_given_back_at_once(world: Any) -> None:
    """Without the collector of cycles, which a server keeps calm."""
    write_model(world.models / "m", "-1")
    service = Service(world)
    gc.collect()
    gc.disable()
    try:

        async def work(client: httpx2.AsyncClient) -> None:
            await client.post("/v1/rescore", json=ask("a"))
            kept = weakref.ref(service.opened.pop())
            assert kept() is not None
            await client.delete("/v1/models/m")
            await until(lambda: kept() is None)

        service.run(work)
    finally:
        gc.enable()


def test_a_model_that_went_from_the_disk_can_be_unloaded(world: Any) -> None:
    write_model(world.models / "m", "-1")
    service = Service(world)

    async def work(client: httpx2.AsyncClient) -> None:
        await client.post("/v1/models/m")
        (world.models / "m").rename(world.models / ".gone")
        assert (await client.post("/v1/rescore", json=ask("a"))).status_code == 200
        assert (await client.post("/v1/models/m")).status_code == 404
        assert (await client.delete("/v1/models/m")).status_code == 204
        assert (await client.post("/v1/rescore", json=ask("a"))).status_code == 404

    service.run(work)


@pytest.mark.parametrize(
    "name", ["nosuch", "%2e%2e", "..%2fweights", "a%00b", "a" * 5000, "%ff", ".hidden", "x%0d%0a"]
)
@pytest.mark.parametrize("method", ["GET", "POST", "DELETE"])
def test_models_that_are_none(client: TestClient, world: Any, name: str, method: str) -> None:
    answer = client.request(method, f"/v1/models/{name}")
    assert (answer.status_code, answer.headers["content-type"]) == (404, "application/problem+json")
    assert len(answer.content) < 500
    assert world.opened == {}


def test_a_stopping_service_loads_nothing(make_client: MakeClient) -> None:
    client = make_client()
    client.app.state.service.readiness.drain()  # type: ignore[attr-defined]
    answer = client.post("/v1/models/small")
    assert (answer.status_code, answer.json()["type"], answer.headers["retry-after"]) == (
        503,
        "not-ready",
        "5",
    )
    assert "draining" in answer.json()["detail"]


def test_loading_takes_no_options(client: TestClient) -> None:
    assert client.post("/v1/models/small?precision=int8").status_code == 422
    assert json.loads(client.get("/v1/models/small").text)["loaded"] is False


def test_a_folder_whose_name_is_none_is_told_of(
    make_client: MakeClient, world: Any, caplog: pytest.LogCaptureFixture
) -> None:
    write_model(world.models / "fine", "-1")
    write_model(world.models / "my model", "-1")
    (world.models / "no model").mkdir()
    with caplog.at_level("WARNING", logger="nbest.service"):
        client = make_client()
    told_of = [record.getMessage() for record in caplog.records if "no model's name" in record.getMessage()]
    assert told_of == [f"'my model' in {world.models} is no model's name: it is not served"]
    names = {model["name"] for model in client.get("/v1/models").json()["models"]}
    assert names == {"broken", "fine", "local", "small"}
