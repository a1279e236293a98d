"""The image, built and run for real: a decoder in one container asks the service in another."""

import fcntl
import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

ENGINE_SECONDS, BUILD_SECONDS, START_SECONDS = 600, 1200, 180


@dataclass(frozen=True)
class Project:
    """A clean copy of the checkout, brought up by docker compose."""

    folder: Path
    port: int
    environment: dict[str, str]

    def compose(self, *arguments: str, seconds: float = 120) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ["docker", "compose", *arguments],
            cwd=self.folder,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
            timeout=seconds,
        )

    def must(self, *arguments: str, seconds: float = 120) -> str:
        done = self.compose(*arguments, seconds=seconds)
        if done.returncode != 0:
            logs = self.compose("logs", "--no-color").stdout
            pytest.fail(f"docker compose {' '.join(arguments)}\n{done.stdout[-8000:]}\n{logs[-8000:]}")
        return done.stdout


def copy_sources(repository: Path, folder: Path) -> None:
    """What a clean clone would hold, as it stands in the work tree now."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=repository,
        capture_output=True,
        text=True,
        check=False,
    ).stdout
    if not listed:
        pytest.skip("not a git checkout")
    for name in filter(None, listed.split("\0")):
        if (repository / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(repository / name, folder / name)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture(scope="module")
def engine(shared: Path) -> Iterator[dict[str, str]]:
    """The variables under which `docker` reaches an engine started for these tests."""
    lab = shared / "tools/docker-lab.sh"
    if not lab.exists():
        pytest.skip("no ../shared/tools/docker-lab.sh to start an engine with")
    if os.geteuid() != 0 or shutil.which("apt-get") is None:
        pytest.skip("an engine can be installed only as root on Debian")
    with (Path(tempfile.gettempdir()) / "nbest-docker-tests.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # the engine is one for the machine: a second run of the tests waits
        started = subprocess.run(
            ["bash", lab, "up"],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
            timeout=ENGINE_SECONDS,
        )
        if started.returncode != 0:
            pytest.skip(f"no engine can be started here: {started.stdout[-500:]}")
        run = os.environ.get("DOCKER_LAB_RUN", "/run/docker-lab")
        yield {**os.environ, "DOCKER_HOST": f"unix://{run}/sock", "DOCKER_BUILDKIT": "1"}
        subprocess.run(["bash", lab, "down"], check=False, timeout=60)


@pytest.fixture(scope="module")
def project(
    repository: Path, engine: dict[str, str], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Project]:
    folder = tmp_path_factory.mktemp("clone")
    copy_sources(repository, folder)
    subprocess.run(
        [folder / "scripts/wheels"], env={**os.environ, "VENV": sys.prefix}, check=True, timeout=BUILD_SECONDS
    )
    port = free_port()
    up = Project(folder, port, {**engine, "COMPOSE_PROJECT_NAME": "nbest-test", "PORT": str(port)})
    try:
        up.must("build", seconds=BUILD_SECONDS)
        up.must("up", "--detach", "--wait", "--wait-timeout", str(START_SECONDS), seconds=START_SECONDS + 60)
        yield up
    finally:
        up.compose("--profile", "decoder", "down", "--volumes", "--timeout", "10")


def test_a_decoder_gets_its_lists_rescored(project: Project) -> None:
    said = project.must("run", "--rm", "-T", "decoder", seconds=300).splitlines()
    lists = [
        json.loads(line)
        for line in (project.folder / "examples/speech.jsonl").read_text("utf-8").splitlines()
    ]
    for one in lists:
        assert f"{one['id']} before: {one['hypotheses'][0]['text']}" in said
        (after,) = [line for line in said if line.startswith(f"{one['id']} after: ")]
        assert after.removeprefix(f"{one['id']} after:").strip() in [h["text"] for h in one["hypotheses"]]
    assert f"snow after:  {lists[1]['references'][0]}" in said
    assert said[-1].startswith(f"{len(lists)} lists rescored by nbest:")


def test_the_service_answers_on_the_published_port(project: Project) -> None:
    with urllib.request.urlopen(f"http://127.0.0.1:{project.port}/readyz", timeout=10) as answer:
        assert json.load(answer) == {"status": "ready"}


def test_the_service_runs_without_rights(project: Project) -> None:
    code = (
        "import os, pathlib\n"
        "print(os.getuid(), [line.split()[1] for line in open('/proc/self/status') if 'CapEff' in line])\n"
        "for place in ('/opt/venv', '/etc', '/models'):\n"
        "    try: (pathlib.Path(place) / 'x').touch()\n"
        "    except OSError as error: print(place, error.strerror)\n"
        "pathlib.Path('/tmp/x').touch()"
    )
    said = project.must("exec", "-T", "nbest", "python", "-c", code).splitlines()
    assert said == [
        "10001 ['0000000000000000']",
        *(f"{p} Read-only file system" for p in ("/opt/venv", "/etc", "/models")),
    ]


def test_the_image_holds_torch_in_its_cpu_build_and_no_tools(project: Project) -> None:
    code = (
        "import importlib.util, torch\n"
        "tools = [name for name in ('pip', 'pytest', 'ruff', 'mypy') if importlib.util.find_spec(name)]\n"
        "print(torch.__version__.split('+')[1], tools)"
    )
    assert project.must("exec", "-T", "nbest", "python", "-c", code).strip() == "cpu []"


def test_the_override_for_a_gpu_reserves_one(project: Project) -> None:
    files = ("-f", "docker-compose.yml", "-f", "docker/compose.gpu.yml")
    whole = json.loads(project.must(*files, "config", "--format", "json"))["services"]["nbest"]
    assert whole["build"]["args"]["TORCH_BUILD"].startswith("cu")
    assert whole["environment"]["NBEST_DEVICE"] == "cuda"
    assert "NBEST_PRELOAD" in whole["environment"]
    (device,) = whole["deploy"]["resources"]["reservations"]["devices"]
    assert (device["driver"], device["count"], device["capabilities"]) == ("nvidia", 1, ["gpu"])


def test_it_stops_when_told_to(project: Project) -> None:
    begin = time.monotonic()
    project.must("stop", "--timeout", "30", "nbest")
    assert time.monotonic() - begin < 15
    (row,) = project.must("ps", "--all", "--format", "{{.ExitCode}}", "nbest").split()
    assert row == "0"
