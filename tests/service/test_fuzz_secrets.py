"""Wherever a caller puts a key, no line of a real server's log has it, in text or in JSON."""

import contextlib
import http.client
import json
import os
import re
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest

from service.keys import SCOPES, hide, new_key, write_keys

PROGRAM = """
import json, sys
from service import server
from service.app import create_app
from service.settings import load_settings

def opener(_):
    raise RuntimeError("a fault with its traceback")

server.create_app = lambda settings: create_app(settings, opener=opener, shipped=["small"])
server.run(load_settings(port=0, **json.loads(sys.argv[1])))
"""
LISTS = {"lists": [{"id": "u", "hypotheses": [{"text": "a", "features": {"total": -3.0}}]}]}


@pytest.mark.parametrize("log_format", ["text", "json"])
def test_no_key_is_ever_in_a_log(tmp_path: Path, log_format: str) -> None:
    text, key = new_key("everything", SCOPES, datetime.now(UTC))
    other, _ = new_key("unknown", SCOPES, datetime.now(UTC))
    write_keys([key], tmp_path / "keys.json")
    given = {"keys": str(tmp_path / "keys.json"), "log_format": log_format}
    process = subprocess.Popen(
        [sys.executable, "-c", PROGRAM, json.dumps(given)],
        stderr=subprocess.PIPE, text=True, env={**os.environ, "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    try:
        assert process.stderr is not None
        port = 0
        for line in process.stderr:
            if found := re.fullmatch(r"nbest: listening on http://127.0.0.1:(\d+)\n", line):
                port = int(found[1])
                break
        answers = []
        for one in (text, other):
            for method, path, body, headers in (
                ("POST", "/v1/rescore", json.dumps(LISTS), {"Authorization": f"Bearer {one}"}),
                ("POST", "/v1/rescore", json.dumps({"models": ["small"], **LISTS}), {}),
                ("POST", "/v1/rescore", "{" + one, {}),
                ("POST", "/v1/rescore", json.dumps({"models": [one], **LISTS}), {}),
                ("GET", f"/v1/models/{one}", None, {}),
                ("GET", f"/{one}?key={one}", None, {"Authorization": one}),
                ("GET", "/v1/models", None, {"Authorization": f"Basic {one}"}),
                ("GET", "/v1/models", None, {"Authorization": f"Bearer {one} {one}"}),
                ("GET", "/livez", None, {"X-Request-ID": one}),
                ("PUT", f"/v1/weights/{one}", "{}", {"If-Match": one}),
                (one, "/livez", None, {}),
            ):
                connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
                full = {"Content-Type": "application/json", "Authorization": f"Bearer {text}", **headers}
                connection.request(method, path, body, full)
                answers.append(connection.getresponse().status)
                connection.close()
            with contextlib.closing(http.client.HTTPConnection("127.0.0.1", port, timeout=20)) as connection:
                connection.connect()
                assert connection.sock is not None
                connection.sock.sendall(f"{one} : {one}\r\n\r\n".encode())  # no HTTP
                connection.sock.recv(1000)
        assert {200, 401, 404, 500} <= set(answers)
    finally:
        process.terminate()
        _, log = process.communicate(timeout=20)
    assert "Traceback" in log
    for one in (text, other):
        assert one[6:] not in log
        assert one[6:20] not in log
    lines = [line for line in log.split("\n") if line]
    assert len(lines) > 20
    if log_format == "json":
        assert "everything" in [json.loads(line).get("key") for line in lines]  # its name is no secret


def test_what_may_be_a_key_is_hidden() -> None:
    text, _ = new_key("x", SCOPES, datetime.now(UTC))
    assert hide(f"/v1/{text}/x {text}") == "/v1/nbest-.../x nbest-..."
    assert hide("nbest-model and nbest:0.1") == "nbest-model and nbest:0.1"
