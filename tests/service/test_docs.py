"""docs/service.md: its cookbook is run as it stands, and what it names is there."""

import os
import re
import shutil
import socket
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest
from click.testing import CliRunner
from fastapi.testclient import TestClient

from service import routes
from service.app import create_app
from service.cli.main import nbest
from service.keys import SCOPES
from service.settings import Settings
from service.telemetry import Telemetry

WORDS = ("nbest", "curl", "mkdir", "export", "until", "gzip", "etag=", "tail", "python")


@pytest.fixture(scope="module")
def text(repository: Path) -> str:
    return (repository / "docs/service.md").read_text("utf-8")


def commands(text: str) -> list[str]:
    """Indented lines that begin a command, with those that follow it."""
    found: list[str] = []
    for line in text.split("\n"):
        if line.startswith("    ") and line[4:].startswith(WORDS):
            found.append(line[4:])
        elif line.startswith("      ") and found:
            found[-1] += "\n" + line[4:]
    return found


def test_the_cookbook_works(text: str, repository: Path, tmp_path: Path) -> None:
    if shutil.which("curl") is None:
        pytest.skip("no curl on this machine")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    (tmp_path / "examples").symlink_to(repository / "examples")
    script = "\n".join(commands(text)).replace("127.0.0.1:8000", f"127.0.0.1:{port}")
    script = script.replace("--port 8000", f"--port {port}")
    # An error of the service ends it; a command that succeeded says so.
    frame = f"""
    set -eu
    trap 'kill $(jobs -p) 2>/dev/null; wait' EXIT
    curl() {{ command curl --fail-with-body "$@"; }}
    {script}
    echo; echo done
    """
    environment = os.environ | {
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "OMP_NUM_THREADS": "1",
        "PYTHONPATH": f"{repository}:{repository / 'clients/python'}",  # in place of pip install
    }
    done = subprocess.run(
        ["bash", "-c", frame], cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=300,
        check=False,
    )  # fmt: skip
    assert done.returncode == 0, f"{done.stdout[-3000:]}\n{done.stderr[-3000:]}"
    assert done.stdout.endswith("done\n")
    for said in (
        '"text":"the weather is nice today"',
        '"version":2',
        "nbest_unique_tokens_total",
        '"score":50.0',
        "TextScore(nat_log_prob=-",
    ):
        assert said in done.stdout, said
    lines = (tmp_path / "results.ndjson").read_text("utf-8").split("\n")
    assert (lines[-2][:12], lines[-1]) == ('{"done":true', "")
    assert len(lines) - 2 == (tmp_path / "best.txt").read_text("utf-8").count("\n") > 4
    kept = sorted(path.name for path in (tmp_path / "my-weights").iterdir())
    assert kept == ["asr@1.json", "asr@2.json"]
    assert (tmp_path / "rescored.nbest").read_text("utf-8").count(" ||| ") > 100
    key = (tmp_path / "decoder.key").read_text("utf-8").strip()
    assert key[6:] not in done.stderr + done.stdout + (tmp_path / "my-keys.json").read_text("utf-8")


def test_figures_and_options_that_are_named_exist(text: str) -> None:
    gauges = (
        "ready",
        "model_bytes",
        "model_resident_bytes",
        "queue_words",
        "scoring_threads",
    )  # of a service
    written = Telemetry().text() + " ".join(
        f"nbest_{name}" for name in (*gauges, "scoring_process_resident_bytes")
    )
    named = set(re.findall(r"nbest_[a-z_]+", text)) - {"nbest_client"}
    assert len(named) > 12
    assert {name for name in named if name not in written} == set()
    options = set(re.findall(r"--[a-z][a-z-]+", text))
    pages = (["serve"], ["keys", "create"], ["keys", "list"], ["rescore"], ["score"])
    helps = "".join(CliRunner().invoke(nbest, [*page, "--help"]).stdout for page in pages)
    assert {name for name in options if name not in helps} == {"--compressed", "--data-binary", "--json"}


def routes_of_the_table(text: str) -> set[tuple[str, str]]:
    """(method, path) of every row, short names too."""
    rows = re.findall(r"^\| (`(?:GET|POST|PUT|DELETE).*?) \| \w+ \|", text, re.MULTILINE)
    found = set()
    for row in rows:
        methods = re.findall(r"GET|POST|PUT|DELETE", row)
        paths = re.findall(r"/[a-z0-9/{}_.]*", row)
        found |= {(method, path) for method in methods for path in paths}
    return found


def test_the_table_of_routes_is_that_of_the_service(text: str) -> None:
    names = [path.stem for path in Path(routes.__file__).parent.glob("*.py") if path.stem != "__init__"]
    routers = [import_module(f"service.routes.{name}").router for name in names]
    own = {(method, one.path) for router in routers for one in router.routes for method in one.methods}
    assert routes_of_the_table(text) == own | {("GET", "/web/"), ("GET", "/openapi.json")}


def test_the_table_of_routes_names_their_scopes(text: str, tmp_path: Path) -> None:
    keys = tmp_path / "keys.json"
    made = {}
    for scope in SCOPES:
        created = CliRunner().invoke(nbest, ["keys", "create", scope, "--scope", scope, "--keys", str(keys)])
        made[scope] = created.stdout.split("\n")[0]
    with TestClient(create_app(Settings(keys=keys, access_log=False))) as client:
        for row, scope in re.findall(r"^\| (`(?:GET|POST|PUT|DELETE).*?) \| (\w+) \|", text, re.MULTILINE):
            for method, path in routes_of_the_table(f"| {row} | {scope} |"):
                refused = {None: client.request(method, path).status_code == 401} | {
                    name: client.request(method, path, headers={"Authorization": f"Bearer {key}"}).status_code
                    == 403
                    for name, key in made.items()
                }
                allowed = {name for name, no in refused.items() if not no}
                expected = {"none": {None, *SCOPES}, "any": set(SCOPES)}.get(scope, {scope})
                assert allowed == expected, (method, path)
