"""The bundled decoder's side of the conversation, against a service that answers what it is told to."""

import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest

LISTS = [
    {
        "id": "u1",
        "hypotheses": [{"text": "a b", "features": {"ac": -1.0}}, {"text": "ä ß", "features": {"ac": -2.0}}],
        "references": ["ä ß"],
    },
    {"id": "u2", "hypotheses": [{"text": "c", "features": {"ac": -1.0}}]},
]


@dataclass
class Service:
    """Answers in order of `answers`; keeps what was asked."""

    url: str
    answers: list[tuple[int, Any]] = field(default_factory=list)
    asked: list[tuple[str, Any]] = field(default_factory=list)
    keys: list[str | None] = field(default_factory=list)


@pytest.fixture
def service() -> Iterator[Service]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            length = int(self.headers.get("Content-Length") or 0)
            fake.keys.append(self.headers["Authorization"])
            fake.asked.append((self.path, json.loads(self.rfile.read(length)) if length else None))
            status, body = fake.answers.pop(0)
            self.send_response(status)
            self.end_headers()
            self.wfile.write(json.dumps(body).encode())

        do_POST = do_GET  # noqa: N815

        def log_message(self, *_: object) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    fake = Service(f"http://127.0.0.1:{server.server_port}")
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield fake
    server.shutdown()
    thread.join()
    server.server_close()


def decode(repository: Path, lists: Path, url: str, **variables: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-I", repository / "docker/decoder/decode.py", lists],
        env={"PATH": os.environ["PATH"], "NBEST_URL": url, "LC_ALL": "C.UTF-8", **variables},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


@pytest.fixture
def lists(tmp_path: Path) -> Path:
    path = tmp_path / "lists.jsonl"
    path.write_text("".join(json.dumps(one, ensure_ascii=False) + "\n" for one in LISTS), "utf-8")
    return path


def ranked(*texts: str) -> dict[str, Any]:
    return {"ranking": [{"text": text} for text in texts], "error": None}


def test_the_best_before_and_after_are_printed(repository: Path, lists: Path, service: Service) -> None:
    service.answers = [
        (200, {"models": [{"name": "small"}, {"name": "other"}]}),
        (200, {"results": [ranked("ä ß", "a b"), ranked("c")], "signature": "nbest:1"}),
    ]
    done = decode(repository, lists, service.url)
    assert done.stderr == ""
    assert done.stdout.splitlines() == [
        "u1 before: a b",
        "u1 after:  ä ß",
        "u2 before: c",
        "u2 after:  c",
        "2 lists rescored by nbest:1",
    ]
    assert done.returncode == 0
    (models, _), (path, body) = service.asked
    assert (models, path) == ("/v1/models", "/rescore")
    assert body["models"] == ["small"]
    assert body["weights"] == {"features": {"ac": 1.0, "lm": 4.75, "small": 4.75}}
    assert body["lists"][0] == {key: LISTS[0][key] for key in ("id", "hypotheses")}


@pytest.mark.parametrize(("variable", "sent"), [("nbest-abc", "Bearer nbest-abc"), ("", None)])
def test_its_key_goes_with_every_request(
    repository: Path, lists: Path, service: Service, variable: str, sent: str | None
) -> None:
    service.answers = [
        (200, {"models": []}),
        (200, {"results": [ranked("a b"), ranked("c")], "signature": "s"}),
    ]
    assert decode(repository, lists, service.url, NBEST_KEY=variable).returncode == 0
    assert service.keys == [sent, sent]


@pytest.mark.parametrize(
    ("names", "variable", "asked"), [(["a", "b"], "b", ["b"]), ([], "", []), (["a"], "", ["a"])]
)
def test_which_model_is_asked_for(
    repository: Path, lists: Path, service: Service, names: list[str], variable: str, asked: list[str]
) -> None:
    service.answers = [
        (200, {"models": [{"name": name} for name in names]}),
        (200, {"results": [ranked("a b"), ranked("c")], "signature": "s"}),
    ]
    assert decode(repository, lists, service.url, NBEST_MODEL=variable).returncode == 0
    body = service.asked[1][1]
    assert body["models"] == asked
    assert set(body["weights"]["features"]) == {"ac", "lm", *asked}


def test_one_bad_list_is_named_and_the_others_printed(
    repository: Path, lists: Path, service: Service
) -> None:
    service.answers = [
        (200, {"models": []}),
        (200, {"results": [{"error": {"detail": "no sound"}}, ranked("c")], "signature": "s"}),
    ]
    done = decode(repository, lists, service.url)
    assert done.returncode == 1
    assert done.stderr == "u1: no sound\n"
    assert done.stdout.splitlines() == ["u2 before: c", "u2 after:  c", "1 lists rescored by s"]


def test_a_refusal_is_shown_with_its_reason(repository: Path, lists: Path, service: Service) -> None:
    service.answers = [(200, {"models": []}), (422, {"detail": "the weights do not fit"})]
    done = decode(repository, lists, service.url)
    assert done.returncode == 1
    assert "answered 422" in done.stderr
    assert "the weights do not fit" in done.stderr


def test_a_service_that_is_not_there_is_said_in_one_line(repository: Path, lists: Path) -> None:
    done = decode(repository, lists, "http://127.0.0.1:9")
    assert done.returncode == 1
    assert done.stderr.startswith("http://127.0.0.1:9 cannot be reached: ")
    assert len(done.stderr.splitlines()) == 1


def test_the_bundled_lists_are_whole(repository: Path) -> None:
    lines = (repository / "examples/speech.jsonl").read_text("utf-8").split("\n")
    assert lines.pop() == ""
    for one in map(json.loads, lines):
        assert set(one) == {"id", "hypotheses", "references"}
        assert one["references"][0] in [hypothesis["text"] for hypothesis in one["hypotheses"]]
        assert all(set(hypothesis["features"]) == {"ac", "lm"} for hypothesis in one["hypotheses"])
