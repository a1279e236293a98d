"""The service behind Ray Serve: two replicas, what each starts, and what is refused when both are busy."""

import json
import os
import socket
import time
import urllib.error
import urllib.request
import warnings
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient

from nbest.errors import ConfigError
from service import ray_cluster
from service.app import create_app
from service.settings import Settings

if find_spec("ray") is None:
    pytest.skip("the extra ray is not installed", allow_module_level=True)
ray_cluster.prepare("a test")

with warnings.catch_warnings():
    warnings.filterwarnings("ignore", "Using extra keyword arguments on `Field`", DeprecationWarning)
    from service import ray_serve  # Ray reads its settings when it is imported

pytestmark = pytest.mark.slow
SETTINGS = Settings(no_keys=True, preload=("small",), access_log=False)


@pytest.fixture(scope="module")
def address(repository: Path) -> Iterator[str]:
    """Where two replicas answer that take one request at a time, while one more may wait."""
    from ray import serve

    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    options = ray_serve.Options(
        replicas=2, max_ongoing_requests=1, max_queued_requests=1, retry_after_seconds=2.5
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(repository))
        with ray_cluster.connected(3):
            serve.start(proxy_location="HeadOnly", http_options={"host": "127.0.0.1", "port": port})
            try:
                serve.run(ray_serve.application(SETTINGS, options))
                yield f"http://127.0.0.1:{port}"
            finally:
                serve.shutdown()
    assert not [pid for pid, name in replicas().items() if name]


def replicas() -> dict[int, str]:
    """The replicas of this machine: pid -> name."""
    found = {}
    for place in Path("/proc").glob("[0-9]*"):
        try:
            name = (place / "cmdline").read_bytes().rstrip(b"\0").decode()
        except OSError:
            continue
        if name.startswith("ray::ServeReplica:default:nbest"):
            found[int(place.name)] = name
    return found


def ask(address: str, path: str, body: Any = None) -> tuple[int, Any, str | None]:
    """Status, answer and Retry-After."""
    request = urllib.request.Request(
        address + path,
        None if body is None else json.dumps(body).encode(),
        {"Content-Type": "application/json"},
    )
    try:
        with urllib.request.urlopen(request, timeout=100) as answer:
            return answer.status, json.load(answer), None
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read(), error.headers.get("Retry-After")


def texts(count: int, which: int = 0) -> dict[str, Any]:
    long = " ".join(["a man is riding a horse on the street"] * 8)
    return {"model": "small", "texts": [f"{k} of {which} {long}" for k in range(count)]}


def test_a_replica_answers_as_the_service_does(address: str) -> None:
    with TestClient(create_app(SETTINGS)) as client:
        expected = client.post("/v1/score", json=texts(3)).json()
    status, answer, _ = ask(address, "/v1/score", texts(3))
    assert status == 200
    assert answer["signature"] == expected["signature"]
    found = [one["nat_log_prob"] for one in answer["scores"]]
    assert found == pytest.approx([one["nat_log_prob"] for one in expected["scores"]], abs=1e-3)
    assert ask(address, "/readyz")[0] == 200


@pytest.mark.usefixtures("address")
def test_each_replica_has_a_scoring_process_of_its_own() -> None:
    found = []
    for pid in replicas():
        tasks = Path(f"/proc/{pid}/task").glob("*/children")
        children = " ".join(task.read_text() for task in tasks).split()
        commands = [Path(f"/proc/{child}/cmdline").read_bytes() for child in children]
        found.append(sum(b"spawn_main" in command for command in commands))
    assert found == [1, 1]


def test_what_nobody_has_time_for_is_refused_at_once(address: str) -> None:
    """Two are in work and one waits; who comes then is told when to come back."""
    with ThreadPoolExecutor(12) as pool:
        found = list(pool.map(lambda k: ask(address, "/v1/score", texts(300, k)), range(12)))
    done = [answer for status, answer, _ in found if status == 200]
    assert len(done) >= 2
    assert all(len(answer["scores"]) == 300 for answer in done)
    refused = [(status, wait) for status, _, wait in found if status != 200]
    assert set(refused) == {(503, "3")}  # whole seconds


def test_a_replica_that_is_killed_is_replaced(address: str) -> None:
    before = set(replicas())
    os.kill(min(before), 9)
    deadline = time.monotonic() + 120
    while len(set(replicas()) - before) < 1 or ask(address, "/v1/score", texts(2))[0] != 200:
        assert time.monotonic() < deadline
        time.sleep(0.5)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            {},
            "keys: whoever reaches the cluster could use the service; expected a file of keys, or no_keys",
        ),
        (
            {"no_keys": "true", "device": "cuda:1"},
            "device: Ray gives out the GPUs; expected cuda; got cuda:1",
        ),
        ({"replicas": "0"}, "replicas: cannot be used; expected greater than or equal to 1; got '0'"),
        (
            {"max_lists": "x"},
            "NBEST_MAX_LISTS: the setting max_lists cannot be used; expected a valid integer",
        ),
    ],
)
def test_what_cannot_be_deployed(arguments: dict[str, str], message: str) -> None:
    with pytest.raises(ConfigError) as raised:
        ray_serve.app(arguments)
    assert str(raised.value).startswith(message)


def test_what_a_deployment_asks_of_ray() -> None:
    made = ray_serve.app({"no_keys": "true", "replicas": "3", "threads": "4", "device": "cuda"})
    deployment = made._bound_deployment
    assert deployment.num_replicas == 3
    assert (deployment.max_ongoing_requests, deployment.max_queued_requests) == (64, 128)
    assert {name: deployment.ray_actor_options[name] for name in ("num_cpus", "num_gpus")} == {
        "num_cpus": 4,
        "num_gpus": 1,
    }
