"""A Docker engine, and this checkout brought up on it: once for all tests of the folder."""

import fcntl
import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import pytest

ENGINE_SECONDS, BUILD_SECONDS, START_SECONDS = 600, 1200, 180
Output = int | IO[Any]


@dataclass(frozen=True)
class Project:
    """A clean copy of the checkout, brought up by docker compose."""

    folder: Path
    port: int
    environment: dict[str, str]

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def models(self) -> Path:
        """The folder of models that the service sees."""
        return self.folder / "my-models"

    def start(self, *arguments: str, stdin: Output, stdout: Output) -> subprocess.Popen[bytes]:
        """A docker compose that is not waited for."""
        return subprocess.Popen(
            ["docker", "compose", *arguments],
            cwd=self.folder,
            env=self.environment,
            stdin=stdin,
            stdout=stdout,
            stderr=subprocess.PIPE,
        )

    def docker(self, *arguments: str, seconds: float = 120) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ["docker", *arguments],
            cwd=self.folder,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
            timeout=seconds,
        )

    def shell(self, command: str, seconds: float = 300) -> subprocess.CompletedProcess[str]:
        """A command as a reader pastes it."""
        return subprocess.run(
            ["bash", "-c", command],
            cwd=self.folder,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
            timeout=seconds,
        )

    def must(self, *arguments: str, seconds: float = 120) -> str:
        """What a docker compose says that has to go well."""
        done = self.docker("compose", *arguments, seconds=seconds)
        if done.returncode != 0:
            logs = self.docker("compose", "logs", "--no-color").stdout
            pytest.fail(f"docker compose {' '.join(arguments)}\n{done.stdout[-8000:]}\n{logs[-8000:]}")
        return done.stdout

    def up(self) -> None:
        """The service is there and healthy when this returns."""
        self.must(
            "up", "--detach", "--wait", "--wait-timeout", str(START_SECONDS), seconds=START_SECONDS + 60
        )

    def service(self) -> Any:
        """What the engine knows of the service's container."""
        (name,) = self.must("ps", "--all", "--quiet", "nbest").split()
        return json.loads(self.docker("inspect", name).stdout)[0]


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


def wait_for(what: Any, seconds: float, every: float = 0.05) -> None:
    """Returns when `what()` is true; fails after so long."""
    end = time.monotonic() + seconds
    while not what():
        if time.monotonic() > end:
            pytest.fail(f"not within {seconds} seconds")
        time.sleep(every)


@pytest.fixture(scope="session")
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


@pytest.fixture(scope="session")
def project(
    repository: Path, engine: dict[str, str], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Project]:
    folder = tmp_path_factory.mktemp("clone")
    copy_sources(repository, folder)
    subprocess.run(
        [folder / "scripts/wheels"], env={**os.environ, "VENV": sys.prefix}, check=True, timeout=BUILD_SECONDS
    )
    port = free_port()
    variables = {
        "COMPOSE_PROJECT_NAME": "nbest-test",
        "PORT": str(port),
        "MODELS": "./my-models",
        "NBEST_GRACE_SECONDS": "120",  # work in hand may take long on a busy machine
    }
    made = Project(folder, port, {**engine, **variables})
    made.models.mkdir()
    try:
        made.must("--profile", "decoder", "build", seconds=BUILD_SECONDS)
        made.docker("image", "prune", "--force")  # what earlier runs of the tests have left
        made.up()
        yield made
    finally:
        made.docker("compose", "--profile", "decoder", "down", "--volumes", "--timeout", "10")
