"""The images, built and run for real: decoders in containers of their own ask the service in another."""

import json
import subprocess
import sys
import urllib.request

import pytest

from tests.docker.conftest import Project

pytestmark = pytest.mark.slow


def test_the_documented_commands_do_as_documented(project: Project) -> None:
    text = (project.folder / "docs/decoders.md").read_text("utf-8")
    blocks = [line.strip(" ") for line in text.split("\n") if line.startswith("    ")]
    commands = [line for line in blocks if line.startswith("docker ")]
    shown = [line for line in blocks if line not in commands]
    assert (len(commands), len(shown)) == (4, 3)
    said: list[str] = []
    for command in commands:
        done = project.shell(command)
        assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
        said += done.stdout.split("\n")
    assert set(shown) <= set(said)
    names = [path.stem for path in sorted((project.folder / "examples/speech").glob("*.wav"))]
    printed = [line.split(" ")[:2] for line in said if " before: " in line or " after: " in line]
    assert printed == [[name, when] for name in names for when in ("before:", "after:")]
    lists = project.folder / "examples/mt.test.nbest"
    rescored = (project.folder / "rescored.nbest").read_text("utf-8")
    assert len(rescored.split("\n")) == len(lists.read_text("utf-8").split("\n"))


def test_moses_lists_come_back_as_the_command_line_ranks_them(project: Project) -> None:
    lists = project.folder / "examples/mt.test.nbest"
    with lists.open("rb") as stdin:
        arguments = ("run", "--rm", "-T", "moses", "--model", "small", "--block", "10", "--top", "1")
        stream = project.start(*arguments, stdin=stdin, stdout=subprocess.PIPE)
        out, err = stream.communicate(timeout=120)
    assert stream.returncode == 0, err
    best = [line.split(" ||| ")[1].strip(" ") for line in out.decode().splitlines()]
    alone = subprocess.run(
        [sys.executable, "-m", "service.cli.main", "rescore", lists, "--lm", "small", "--one-best"],
        cwd=project.folder,
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
    )
    assert best == alone.stdout.splitlines()


def test_the_service_answers_on_the_published_port(project: Project) -> None:
    with urllib.request.urlopen(f"{project.url}/readyz", timeout=10) as answer:
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


def test_the_service_is_held_to_its_limits(project: Project) -> None:
    limits = project.service()["HostConfig"]
    assert (limits["Memory"], limits["PidsLimit"], limits["NanoCpus"]) == (4 * 2**30, 1024, 0)


def test_the_image_is_small_and_holds_torch_in_its_cpu_build_and_no_tools(project: Project) -> None:
    sizes = project.docker("image", "inspect", "--format", "{{.Size}}", "nbest:cpu").stdout
    assert int(sizes) < 1.2e9
    code = (
        "import importlib.util, torch\n"
        "tools = [name for name in ('pip', 'pytest', 'ruff', 'mypy') if importlib.util.find_spec(name)]\n"
        "print(torch.__version__.split('+')[1], tools)"
    )
    assert project.must("exec", "-T", "nbest", "python", "-c", code).strip() == "cpu []"
    assert project.docker("compose", "exec", "-T", "nbest", "sh", "-c", "command -v c++ g++ cc").stdout == ""


def test_the_doctor_finds_the_compiled_kernels_and_nothing_broken(project: Project) -> None:
    found = json.loads(project.must("exec", "-T", "nbest", "nbest", "doctor", "--json"))
    checks = {check["name"]: check for check in found["checks"]}
    assert found["broken"] == []
    assert checks["nbest-native"]["state"] == "ok"
    assert checks["nbest-native"]["facts"]["instruction_set"] in ("avx512vnni", "avx512", "avx2", "portable")
    assert {"model small", "model base"} <= checks.keys()


def test_the_override_for_a_gpu_reserves_one(project: Project) -> None:
    files = ("-f", "docker-compose.yml", "-f", "docker/compose.gpu.yml")
    whole = json.loads(project.must(*files, "config", "--format", "json"))["services"]["nbest"]
    assert whole["build"]["args"]["TORCH_BUILD"].startswith("cu")
    assert whole["environment"]["NBEST_DEVICE"] == "cuda"
    assert "NBEST_PRELOAD" in whole["environment"]
    (device,) = whole["deploy"]["resources"]["reservations"]["devices"]
    assert (device["driver"], device["count"], device["capabilities"]) == ("nvidia", 1, ["gpu"])
