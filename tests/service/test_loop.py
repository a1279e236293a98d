"""The event loop reads no file and lists no directory: whatever a disk takes, other requests go on."""

import asyncio
import json
import sys
import threading
from pathlib import Path
from typing import Any

import httpx2
import pytest

from service.app import create_app

_WATCHED = ("open", "os.scandir", "os.listdir", "os.rename", "os.remove", "fcntl.flock")
_watching: list[tuple[int, list[str]]] = []  # the loop's thread, and what it did


def _hook(event: str, arguments: Any) -> None:
    if _watching and event in _WATCHED and threading.get_ident() == _watching[-1][0]:
        _watching[-1][1].append(f"{event} {arguments[0]}")


@pytest.fixture(scope="module", autouse=True)
def _hooked() -> None:
    sys.addaudithook(_hook)  # stays for the process, and does nothing unless a test watches


WEIGHTS = {"format": "nbest-weights/1", "features": {"ac": 1.0, "small": 1.0}}
LISTS = [{"id": "u", "hypotheses": [{"text": "a man", "features": {"ac": -1.0}}]}]
ANY = {"If-Match": "*"}
CALLS: list[tuple[str, str, dict[str, Any]]] = [
    ("PUT", "/v1/weights/mt", {"json": WEIGHTS}),
    ("GET", "/v1/weights/mt", {}),
    ("GET", "/v1/weights/nosuch", {}),
    ("POST", "/v1/rescore", {"json": {"models": ["small"], "weights": "mt", "lists": LISTS}}),
    ("POST", "/v1/rescore", {"json": {"models": ["nosuch"], "lists": LISTS}}),
    ("POST", "/v1/score", {"json": {"model": "local", "texts": ["a"]}}),
    ("POST", "/v1/evaluate", {"json": {"metric": "wer", "hypotheses": ["a"], "references": ["b"]}}),
    ("GET", "/v1/models", {}),
    ("GET", "/v1/models/local", {}),
    ("POST", "/v1/models/local", {}),
    ("DELETE", "/v1/models/local", {}),
    ("DELETE", "/v1/models/nosuch", {}),
    ("DELETE", "/v1/weights/mt", {"headers": ANY}),
]


def test_requests_leave_the_disk_to_threads(world: Any) -> None:
    app = create_app(world.settings(), opener=world.open_scorer, shipped=["small"])

    async def main() -> None:
        transport = httpx2.ASGITransport(app=app)
        async with httpx2.AsyncClient(transport=transport, base_url="http://nbest") as client:
            for method, path, more in CALLS:
                done: list[str] = []
                _watching.append((threading.get_ident(), done))
                try:
                    answer = await client.request(method, path, **more)
                finally:
                    _watching.pop()
                assert answer.status_code < 500, (path, answer.text)
                mine = [one for one in done if str(world.weights.parent) in one]
                assert mine == [], (method, path)

    asyncio.run(main())


def test_the_watch_sees_what_it_should(tmp_path: Path) -> None:
    done: list[str] = []
    _watching.append((threading.get_ident(), done))
    try:
        (tmp_path / "x").write_text(json.dumps({}))
        list(tmp_path.iterdir())
    finally:
        _watching.pop()
    assert {one.split(" ")[0] for one in done} >= {"open"}
    assert all(str(tmp_path) in one for one in done)
    assert len(done) >= 2
