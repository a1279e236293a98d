"""nbest serve: a real process on a real port."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from nbest.errors import ConfigError
from service.server import listen
from service.settings import Settings

SERVE = [sys.executable, "-m", "service.cli.main", "serve"]
Start = Callable[..., tuple[subprocess.Popen[str], str]]


@pytest.fixture
def start() -> Iterator[Start]:
    """Starts a server with these flags; gives the process and its address."""
    processes: list[subprocess.Popen[str]] = []

    def call(*flags: str, **env: str) -> tuple[subprocess.Popen[str], str]:
        process = subprocess.Popen(
            [*SERVE, *flags],
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "OMP_NUM_THREADS": "1", **env},
        )
        processes.append(process)
        assert process.stderr is not None
        for line in process.stderr:
            found = re.fullmatch(r"nbest: listening on (http://\S+)\n", line)
            if found:
                return process, found[1]
        raise AssertionError("it ended before it listened")

    yield call
    for process in processes:
        if process.poll() is None:
            process.kill()
        process.communicate()


def get(url: str) -> tuple[int, Any]:
    try:
        with urllib.request.urlopen(url, timeout=60) as answer:
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as error:
        with error:
            return error.code, json.load(error)


def post(url: str, body: Any) -> Any:
    request = urllib.request.Request(url, json.dumps(body).encode(), {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=60) as answer:
        return json.load(answer)


def test_it_serves_a_real_model_to_many_and_stops_cleanly(start: Start, tiny: Path) -> None:
    process, url = start("--port", "0", "--models", str(tiny.parent), "--preload", "tiny")
    for _ in range(2400):
        if get(f"{url}/readyz")[0] == 200:
            break
        time.sleep(0.05)
    assert get(f"{url}/readyz") == (200, {"status": "ready"})
    texts = ["a man", "a horse is riding", "writing", "zebra", ""]
    alone = [post(f"{url}/score", {"model": "tiny", "texts": [text]})["scores"][0] for text in texts]

    def ask(k: int) -> dict[str, Any]:
        hypotheses = [{"text": text, "features": {"ac": -1.0}} for text in texts[k % 3 :]]
        body = {"models": ["tiny"], "weights": {"features": {"ac": 1, "tiny": 1}}}
        lists = [{"id": str(k), "hypotheses": hypotheses}]
        return dict(post(f"{url}/rescore", {**body, "lists": lists})["results"][0])

    with ThreadPoolExecutor(8) as pool:
        for k, result in enumerate(pool.map(ask, range(40))):
            assert result["id"] == str(k)
            for entry in result["ranking"]:
                expected = alone[texts.index(entry["text"])]["nat_log_prob"] - 1.0
                assert entry["score"] == pytest.approx(expected, abs=1e-4)  # batch mates move last bits
    process.send_signal(signal.SIGTERM)
    assert process.wait(120) == -signal.SIGTERM or process.returncode == 0


def test_draining_says_so_and_goes_on_serving(start: Start) -> None:
    process, url = start("--port", "0", "--drain-seconds", "600")
    process.send_signal(signal.SIGTERM)
    for _ in range(100):
        status, body = get(f"{url}/readyz")
        if status == 503:
            break
        time.sleep(0.01)
    assert (status, body["detail"]) == (503, "draining: the service is stopping")
    assert get(f"{url}/livez")[0] == 200
    process.send_signal(signal.SIGTERM)  # the second one does not wait
    assert process.wait(120) in (0, -signal.SIGTERM)


def test_a_caller_who_leaves_in_mid_body_leaves_no_traceback(start: Start) -> None:
    process, url = start("--port", "0")
    host, port = url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port))) as caller:
        caller.sendall(b"POST /rescore HTTP/1.1\r\nHost: a\r\nContent-Length: 1000\r\n\r\n{")
    time.sleep(0.5)
    process.send_signal(signal.SIGTERM)
    _, said = process.communicate(timeout=120)
    assert said.count("the caller left before the answer: POST /rescore") == 1
    assert "Traceback" not in said


def test_a_taken_port_is_an_error_in_one_line() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        done = subprocess.run(
            [*SERVE, "--port", port], capture_output=True, text=True, timeout=240, check=False
        )
    assert done.returncode == 2
    assert done.stderr == (
        f"nbest: error: cannot listen on '127.0.0.1', port {port}: Address already in use; "
        "expected another port: --port 0 takes a free one\n"
    )


def test_help_says_the_defaults_that_are() -> None:
    from service.cli.serve import serve

    helps = {option.name: getattr(option, "help", "") or "" for option in serve.params}
    for name, field in Settings.model_fields.items():
        found = re.search(r"\[default: (.+)\]", helps[name])
        assert found, name
        if field.default is True:
            assert found[1] == name.replace("_", "-")
        elif field.default is False:
            assert found[1] == "off"
        elif field.default in (None, ()):
            assert found[1].startswith("none")
        elif isinstance(field.default, str):
            assert found[1] == field.default
        else:
            assert float(found[1]) == field.default


@pytest.mark.parametrize(
    ("host", "words"),
    [
        ("a\0b", "cannot listen on 'a\\x00b', port 0: "),
        ("a" * 300, "not the name of a host"),
        ("\ud800", "not the name of a host"),
        ("no.such.host.invalid", "cannot listen on 'no.such.host.invalid', port 0: "),
        ("192.0.2.1", "cannot listen on '192.0.2.1', port 0: Cannot assign requested address"),
        ("", "cannot listen on '', port 0: "),
    ],
)
def test_a_host_that_cannot_be_is_a_configuration_error(host: str, words: str) -> None:
    with pytest.raises(ConfigError) as caught:
        listen(host, 0)
    assert str(caught.value).startswith(words)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_answers_do_not_wait_for_acknowledgements(host: str) -> None:
    with listen(host, 0) as listener:
        assert listener.proto == socket.IPPROTO_TCP  # by which asyncio knows where to set TCP_NODELAY


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--preload", "small,nosuch"], "no such model; expected one of bad, "),
        (["--preload", "bad"], "the model 'bad' cannot be loaded: vocabulary.json: model file is missing"),
        (["--device", "tpu"], "expected cpu, cuda or cuda:N; got 'tpu'"),
        (["--device", "cuda:999"], "NBEST_DEVICE: no such device here; expected cpu"),
        (["--host", "0.0.0.0"], "others reach 0.0.0.0, and the service has no keys; expected --keys FILE"),
    ],
)
def test_it_does_not_start_without_what_it_was_told(tmp_path: Path, flags: list[str], words: str) -> None:
    (tmp_path / "bad").mkdir()
    (tmp_path / "bad" / "config.json").write_text("{}")
    command = [*SERVE, "--port", "0", "--models", str(tmp_path), *flags]
    done = subprocess.run(command, capture_output=True, text=True, timeout=240, check=False)
    assert done.returncode == 2, done.stderr
    assert "Traceback" not in done.stderr
    assert done.stderr.splitlines()[-1].startswith("nbest: error: ")
    assert words in done.stderr.splitlines()[-1]


def test_settings_come_from_the_environment_and_flags_win(start: Start, tiny: Path) -> None:
    _, url = start(
        NBEST_PORT="0", NBEST_MODELS="/nowhere", NBEST_SERVE_MODELS=str(tiny.parent), NBEST_MAX_LISTS="1"
    )
    assert "tiny" in [model["name"] for model in get(f"{url}/v1/models")[1]["models"]]
    body = {"lists": [{"id": n, "hypotheses": [{"text": "a", "features": {"total": 1}}]} for n in "ab"]}
    with pytest.raises(urllib.error.HTTPError) as caught:
        post(f"{url}/rescore", body)
    with caught.value as error:
        assert error.code == 413


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("NBEST_PORT", "many", "NBEST_PORT: the setting port cannot be used"),
        ("NBEST_MAX_LISTS", "0", "greater than or equal to 1"),
        ("NBEST_MODELS", "/no/such/dir", "/no/such/dir"),
    ],
)
def test_bad_settings_are_an_error_in_one_line(name: str, value: str, words: str) -> None:
    environment = {**os.environ, "NBEST_PORT": "0", name: value}
    done = subprocess.run(SERVE, capture_output=True, text=True, timeout=240, check=False, env=environment)
    assert done.returncode == 2
    assert done.stderr.startswith("nbest: error: ")
    assert words in done.stderr
