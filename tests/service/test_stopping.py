"""SIGTERM to a real process: not ready first, the socket later, accepted work to its end, within bounds."""

import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

# A service whose model says when a call has begun and waits until it may end.
PROGRAM = """
import json, sys, time
from pathlib import Path
import numpy as np
from rescoring.scorer import ScoreArrays
from service import server
from service.app import create_app
from service.settings import load_settings

place = Path(sys.argv[1])

class Slow:
    name, digest = "slow", "sha256:" + "0" * 64

    def score(self, texts):
        (place / "begun").touch()
        while not (place / "end").exists():
            time.sleep(0.01)
        ones = np.ones(len(texts), dtype=np.int64)
        return ScoreArrays(np.full(len(texts), -1.0), ones, 0 * ones)

    def score_tokens(self, texts):
        return [[] for _ in texts]

server.create_app = lambda settings: create_app(settings, opener=lambda _: Slow(), shipped=["slow"])
server.run(load_settings(port=0, **json.loads(sys.argv[2])))
"""
BODY = {"model": "slow", "texts": ["a"]}
Start = Callable[..., tuple[subprocess.Popen[str], str]]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    processes: list[subprocess.Popen[str]] = []

    def call(**settings: Any) -> tuple[subprocess.Popen[str], str]:
        process = subprocess.Popen(
            [sys.executable, "-c", PROGRAM, str(tmp_path), json.dumps(settings)],
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
        )
        processes.append(process)
        assert process.stderr is not None
        for line in process.stderr:
            if found := re.fullmatch(r"nbest: listening on (http://\S+)\n", line):
                return process, found[1]
        raise AssertionError("it ended before it listened")

    yield call
    (tmp_path / "end").touch()
    for process in processes:
        if process.poll() is None:
            process.kill()
        process.communicate()


def status(url: str, body: Any = None) -> int | None:
    """The answer's status; None where there is no connection."""
    data = None if body is None else json.dumps(body).encode()
    try:
        with urllib.request.urlopen(urllib.request.Request(url, data), timeout=60) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        with error:
            return error.code
    except OSError:
        return None


class Caller(threading.Thread):
    """Asks for a score; `found` is the status."""

    def __init__(self, url: str) -> None:
        super().__init__()
        self._url = url
        self.found: int | None = None
        self.start()

    def run(self) -> None:
        request = urllib.request.Request(
            f"{self._url}/v1/score", json.dumps(BODY).encode(), {"Content-Type": "application/json"}
        )
        try:
            with urllib.request.urlopen(request, timeout=60) as answer:
                self.found = answer.status if json.load(answer)["total_nat_log_prob"] == -1.0 else None
        except urllib.error.HTTPError as error:
            with error:
                self.found = error.code
        except OSError:
            self.found = -1


def until(condition: Callable[[], bool]) -> None:
    for _ in range(3000):
        if condition():
            return
        time.sleep(0.01)
    raise AssertionError("never came true")


def test_accepted_work_is_finished_when_the_socket_is_closed(start: Start, tmp_path: Path) -> None:
    process, url = start(grace_seconds=60)
    caller = Caller(url)
    until((tmp_path / "begun").exists)
    process.send_signal(signal.SIGTERM)
    until(lambda: status(f"{url}/livez") is None)  # nobody new gets in
    assert caller.is_alive()
    (tmp_path / "end").touch()
    caller.join(60)
    assert caller.found == 200
    assert process.wait(60) in (0, -signal.SIGTERM)


def test_readiness_flips_before_the_socket_is_closed(start: Start, tmp_path: Path) -> None:
    process, url = start(drain_seconds=1.5, grace_seconds=60)
    (tmp_path / "end").touch()
    until(lambda: status(f"{url}/readyz") == 200)
    process.send_signal(signal.SIGTERM)
    seen = []
    while not seen or seen[-1] is not None:
        seen.append(status(f"{url}/readyz"))
        if seen[-1] == 503 and seen.count(503) == 1:
            late = Caller(url)
            late.join(60)
            assert late.found == 200  # who has not heard yet is served all the same
            assert status(f"{url}/v1/models/slow", {}) == 503  # but nothing is loaded any more
        time.sleep(0.02)
    assert 503 in seen
    assert [one for one in seen if one != 200] == [503] * seen.count(503) + [None]
    assert process.wait(60) in (0, -signal.SIGTERM)


def test_work_that_does_not_end_is_given_up_after_the_grace_period(start: Start, tmp_path: Path) -> None:
    process, url = start(grace_seconds=1)
    caller = Caller(url)
    until((tmp_path / "begun").exists)
    began = time.monotonic()
    process.send_signal(signal.SIGTERM)
    assert process.wait(30) in (0, -signal.SIGTERM)
    assert 0.9 < time.monotonic() - began < 30
    caller.join(60)
    assert caller.found != 200


def test_logs_of_a_process_are_json_when_asked_for(start: Start, tmp_path: Path) -> None:
    process, url = start(log_format="json")
    (tmp_path / "end").touch()
    caller = Caller(url)
    caller.join(60)
    assert caller.found == 200
    process.send_signal(signal.SIGTERM)
    _, said = process.communicate(timeout=60)
    lines = [json.loads(line) for line in said.split("\n") if line]
    (access,) = [line for line in lines if line["logger"] == "nbest.access"]
    assert (access["route"], access["status"], access["level"]) == ("/v1/score", 200, "info")
    assert access["message"].endswith(access["request_id"])
