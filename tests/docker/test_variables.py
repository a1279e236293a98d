"""What docker-compose.yml passes to the service: settings that exist, and keys where others reach it."""

import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from nbest.errors import ConfigError
from service.security import check_reach
from service.settings import Settings, load_settings


def service(repository: Path, *, name: str = "nbest", **variables: str) -> Any:
    """The service as compose would make it; no engine is asked."""
    if shutil.which("docker") is None:
        pytest.skip("no docker compose on this machine")
    clean = {name: value for name, value in os.environ.items() if not name.startswith("NBEST_")}
    done = subprocess.run(
        ["docker", "compose", "-f", repository / "docker-compose.yml", "config", "--format", "json"],
        env={**clean, **variables},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)["services"][name]


def settings(found: Any, monkeypatch: pytest.MonkeyPatch, **given: Any) -> Settings:
    for name, value in found["environment"].items():
        monkeypatch.setenv(name, value)
    return load_settings(**given)


def test_out_of_the_box_it_needs_no_key_and_only_this_machine_reaches_it(
    repository: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = service(repository)
    assert [port["host_ip"] for port in found["ports"]] == ["127.0.0.1"]
    made = settings(found, monkeypatch)
    assert made == Settings(published="127.0.0.1")
    check_reach(made, "0.0.0.0")
    names = {name.removeprefix("NBEST_").lower() for name in found["environment"]}
    assert names <= set(Settings.model_fields)
    assert {"access_log", "log_format", "keys", "no_keys", "drain_seconds", "grace_seconds"} <= names
    writable = {volume["target"] for volume in found["volumes"] if not volume.get("read_only")}
    assert writable == set()


def test_published_to_others_it_does_not_start_without_keys(
    repository: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    found = service(repository, ADDRESS="0.0.0.0")
    with pytest.raises(ConfigError, match=r"others reach 0\.0\.0\.0, and the service has no keys"):
        check_reach(settings(found, monkeypatch), "0.0.0.0")
    found = service(repository, ADDRESS="0.0.0.0", NBEST_NO_KEYS="true", NBEST_ACCESS_LOG="false")
    made = settings(found, monkeypatch)
    check_reach(made, "0.0.0.0")
    assert (made.no_keys, made.access_log) == (True, False)
    found = service(repository, ADDRESS="0.0.0.0", KEYS=str(tmp_path), WEIGHTS_ACCESS="rw")
    assert found["environment"]["NBEST_KEYS"] == "/keys/keys.json"
    places = {volume["target"]: volume for volume in found["volumes"]}
    assert (places["/keys"]["source"], places["/keys"]["read_only"]) == (str(tmp_path), True)
    assert not places["/weights"].get("read_only")


def test_there_is_time_to_stop(repository: Path) -> None:
    assert service(repository)["stop_grace_period"] == "45s"
    assert Settings.model_fields["grace_seconds"].default < 45


def test_what_it_may_take_is_bounded_by_variables(repository: Path) -> None:
    found = service(repository)
    assert (found["mem_limit"], found.get("cpus", 0), found["pids_limit"]) == (str(4 * 2**30), 0, 1024)
    found = service(repository, MEMORY="512m", CPUS="1.5", PIDS="200")
    assert (found["mem_limit"], found["cpus"], found["pids_limit"]) == (str(2**29), 1.5, 200)


@pytest.mark.parametrize("name", ["nbest", "decoder", "moses"])
def test_no_container_has_rights_or_a_disk_to_write_to(repository: Path, name: str) -> None:
    found = service(repository, name=name, COMPOSE_PROFILES="decoder")
    assert found["read_only"]
    assert (found["cap_drop"], found["security_opt"]) == (["ALL"], ["no-new-privileges:true"])
    assert found["mem_limit"]
    assert found["pids_limit"]
    assert found["pull_policy"] == "never"
