"""The set-up script's decisions, against a Python and a pip that only write down what they were asked for."""

import os
import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import pytest

TOOLS = ["sh", "sed", "grep", "rm", "mkdir", "mv", "cp", "cat", "ls", "dirname", "touch", "tail"]

# Answers the script's questions as Python does, makes environments of itself, and logs what pip is told.
FAKE_PYTHON = """#!/bin/sh
home=$(dirname "$0")/..
pretend='import sys; sys.version_info = ($VERSION, 0)'
case "$1 $2" in
    "-c "*ensurepip*) exit "${FAKE_NO_VENV:-0}" ;;
    "-c "*metadata*) cat "$home/torch-version" ;;
    "-c "*) exec REAL -ISc "$pretend; $2" ;;
    "- "*) { echo "$pretend"; cat; } | REAL -IS "$@" ;;
    "-m venv")
        mkdir -p "$3/bin"
        cp "$0" "$3/bin/python"
        touch "$3/pyvenv.cfg"
        echo "venv $3" >>"$FAKE_LOG"
        ;;
    "-m pip")
        shift 2
        echo "pip $*" >>"$FAKE_LOG"
        case "$*" in
            *"${FAKE_PIP_FAILS:-nothing}"*) echo "ERROR: No space left on device"; exit 1 ;;
            *--index-url*torch==*) ;;
            *torch==*) [ -n "${FAKE_OFFER:-}" ] || { echo "No matching distribution"; exit 1; } ;;
        esac
        for last; do :; done
        case "$last" in
            torch==*) echo "${last#torch==}" >"$home/torch-version" ;;
            *requirements.txt) [ -z "${FAKE_SWAP:-}" ] || echo "$FAKE_SWAP" >"$home/torch-version" ;;
        esac
        ;;
esac
"""

PYPROJECT = """
[build-system]
requires = ["hatchling"]
[project]
dependencies = ["alpha>=1", "torch>=2.6"]
[project.optional-dependencies]
dev = ["checker>=3"]
[tool.ruff]
line-length = 110
"""


def install(path: Path, text: str) -> None:
    path.write_text(text)
    path.chmod(0o755)


@dataclass
class Machine:
    """A checkout and a PATH with nothing on it but what the script may count on."""

    project: Path
    bin: Path
    log: Path
    variables: dict[str, str] = field(default_factory=dict)

    def python(self, name: str, version: str) -> None:
        text = FAKE_PYTHON.replace("REAL", sys.executable).replace("$VERSION", version.replace(".", ", "))
        install(self.bin / name, text)

    def without(self, *names: str) -> None:
        for name in names:
            (self.bin / name).unlink()

    def setup(self, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
        environment = {"PATH": str(self.bin), "FAKE_LOG": str(self.log), **self.variables, **variables}
        return subprocess.run(
            ["/bin/sh", self.project / "scripts/setup", *arguments],
            env=environment,
            cwd="/",
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )

    def succeed(self, *arguments: str, **variables: str) -> list[str]:
        """Runs the script; what pip and venv were told."""
        self.log.write_text("")
        done = self.setup(*arguments, **variables)
        assert done.returncode == 0, done.stdout + done.stderr
        return self.log.read_text().splitlines()

    def fail(self, *arguments: str, **variables: str) -> str:
        """Runs the script, which must fail; its error messages."""
        done = self.setup(*arguments, **variables)
        assert done.returncode == 1, done.stdout + done.stderr
        return done.stderr


@pytest.fixture
def machine(tmp_path: Path, repository: Path) -> Machine:
    project = tmp_path / "a checkout"  # with a space, as on many desks
    (project / "scripts").mkdir(parents=True)
    shutil.copy(repository / "scripts/setup", project / "scripts")
    (project / "pyproject.toml").write_text(PYPROJECT)
    (project / "constraints.txt").write_text("alpha==1.5\nchecker==3.1\ntorch==2.13.0\n")
    binaries = tmp_path / "bin"
    binaries.mkdir()
    for tool in TOOLS:
        found = shutil.which(tool)
        assert found is not None
        (binaries / tool).symlink_to(found)
    for tool in ("make", "apt-get"):
        install(binaries / tool, "#!/bin/sh\n")
    install(binaries / "uname", "#!/bin/sh\necho Linux\n")
    install(binaries / "id", "#!/bin/sh\necho 1000\n")
    made = Machine(project, binaries, tmp_path / "log")
    made.python("python3", "3.12")
    return made


# Where torch comes from


def test_a_build_that_the_machine_offers_is_taken_from_it(machine: Machine) -> None:
    assert machine.succeed("run", FAKE_OFFER="1") == [
        "venv .venv",
        "pip --version",
        "pip install --quiet --no-deps torch==2.13.0+cpu",
        "pip install --quiet -r .venv/requirements.txt",
        "pip install --quiet --no-deps --editable .",
    ]


def index_calls(log: list[str]) -> list[str]:
    return [line for line in log if "--index-url" in line]


def test_else_it_comes_from_the_index_of_cpu_builds(machine: Machine) -> None:
    (call,) = index_calls(machine.succeed("run"))
    assert call.startswith("pip install --quiet --no-deps --index-url https://")
    assert call.endswith("/whl/cpu torch==2.13.0+cpu")


def test_the_index_and_the_build_can_be_chosen(machine: Machine) -> None:
    (call,) = index_calls(machine.succeed("run", TORCH_INDEX_URL="https://mirror.example/cpu"))
    assert call == "pip install --quiet --no-deps --index-url https://mirror.example/cpu torch==2.13.0+cpu"
    (call,) = index_calls(machine.succeed("run", TORCH_BUILD="cu130"))
    assert call.endswith("/whl/cu130 torch==2.13.0+cu130")


def test_an_empty_variable_is_an_unset_one(machine: Machine) -> None:
    (call,) = index_calls(machine.succeed("run", TORCH_INDEX_URL="", TORCH_BUILD="", VENV="", PYTHON=""))
    assert call.endswith("/whl/cpu torch==2.13.0+cpu")


@pytest.mark.parametrize("offer", ["", "1"])
def test_pip_is_never_asked_for_the_plain_version_that_means_cuda_on_linux(
    machine: Machine, offer: str
) -> None:
    for line in machine.succeed("dev", FAKE_OFFER=offer):
        assert "torch" not in line or "torch==2.13.0+cpu" in line


def test_the_plain_version_is_the_only_one_elsewhere(machine: Machine) -> None:
    install(machine.bin / "uname", "#!/bin/sh\necho Darwin\n")
    assert "pip install --quiet --no-deps torch==2.13.0" in machine.succeed("run", FAKE_OFFER="1")


def test_a_failure_of_another_kind_is_shown_and_does_not_lead_to_the_index(machine: Machine) -> None:
    message = machine.fail("run", FAKE_OFFER="1", FAKE_PIP_FAILS="torch==")
    assert "No space left on device" in message
    assert "torch 2.13.0+cpu could not be installed" in message
    assert index_calls(machine.log.read_text().splitlines()) == []


def test_a_library_that_brings_another_torch_is_caught(machine: Machine) -> None:
    message = machine.fail("run", FAKE_OFFER="1", FAKE_SWAP="2.13.0")
    assert "torch became 2.13.0 instead of 2.13.0+cpu" in message
    assert not (machine.project / ".venv/nbest-setup").exists()


def test_wheels_laid_into_the_checkout_are_offered_to_pip(machine: Machine) -> None:
    (machine.project / "wheels").mkdir()
    log = machine.succeed("libraries", FAKE_OFFER="1")
    assert "pip install --quiet --find-links wheels --no-deps torch==2.13.0+cpu" in log
    assert "pip install --quiet --find-links wheels -r .venv/requirements.txt" in log


# What each level installs


@pytest.mark.parametrize(
    ("level", "requirements", "itself"),
    [
        ("libraries", ["alpha>=1", "torch>=2.6"], False),
        ("run", ["alpha>=1", "torch>=2.6"], True),
        ("dev", ["alpha>=1", "torch>=2.6", "checker>=3"], True),
    ],
)
def test_a_level_brings_what_it_needs_and_no_more(
    machine: Machine, level: str, requirements: list[str], itself: bool
) -> None:
    log = machine.succeed(level)
    assert (machine.project / ".venv/requirements.txt").read_text().splitlines() == requirements
    assert ("pip install --quiet --no-deps --editable ." in log) == itself


NATIVE = "pip install --quiet ./native"


def with_native(machine: Machine, *, compiler: bool = True) -> None:
    (machine.project / "native").mkdir()
    (machine.project / "native" / "kernels.cpp").write_text("int x;")
    if compiler:
        install(machine.bin / "c++", "#!/bin/sh\n")


def test_kernels_are_built_where_there_is_a_compiler(machine: Machine) -> None:
    with_native(machine)
    assert machine.succeed("run")[-1] == NATIVE
    assert machine.succeed("run") == []
    (machine.project / "native" / "kernels.cpp").write_text("int y;")
    assert machine.succeed("run")[-1] == NATIVE
    assert NATIVE not in machine.succeed("libraries", VENV="other")


def test_no_compiler_and_it_goes_on_without_them(machine: Machine) -> None:
    with_native(machine, compiler=False)
    assert NATIVE not in machine.succeed("run")
    done = machine.setup("run", VENV="other")
    assert "setup: no C++ compiler, so no compiled kernels (with g++ installed, `make native`" in done.stdout


def test_kernels_that_cannot_be_built_are_no_obstacle(machine: Machine) -> None:
    with_native(machine)
    done = machine.setup("run", FAKE_PIP_FAILS="./native", FAKE_OFFER="1")
    assert done.returncode == 0
    said = "setup: the compiled kernels could not be built (.venv/native.log says why): scoring goes on"
    assert said in done.stdout
    assert "No space left on device" in (machine.project / ".venv/native.log").read_text()


def test_a_second_call_does_nothing(machine: Machine) -> None:
    machine.succeed("dev")
    for level in ("dev", "run", "libraries"):
        assert machine.succeed(level) == []


def test_testing_adds_to_an_environment_for_running(machine: Machine) -> None:
    machine.succeed("run")
    assert machine.succeed("dev") == [
        "pip install --quiet -r .venv/requirements.txt",
        "pip install --quiet --no-deps --editable .",
    ]


def test_an_unknown_level_is_an_error(machine: Machine) -> None:
    assert "usage: scripts/setup [run | dev | libraries], not 'all'" in machine.fail("all")


# When an environment is made anew


def append(name: str, text: str) -> Callable[[Machine], None]:
    def change(machine: Machine) -> None:
        with (machine.project / name).open("a") as stream:
            stream.write(text)

    return change


def other_python(machine: Machine) -> None:
    machine.python("python3", "3.13")


def broken_python(machine: Machine) -> None:
    install(machine.project / ".venv/bin/python", "#!/bin/sh\nexit 127\n")


def no_stamp(machine: Machine) -> None:
    (machine.project / ".venv/nbest-setup").unlink()


def cut_stamp(machine: Machine) -> None:
    (machine.project / ".venv/nbest-setup").write_text("")


@pytest.mark.parametrize(
    "change",
    [
        append("constraints.txt", "beta==1\n"),
        append("pyproject.toml", '[project.scripts]\nnbest = "x:y"\n'),
        append("scripts/setup", "# another way\n"),
        other_python,
        broken_python,
        no_stamp,
        cut_stamp,
    ],
)
def test_a_change_makes_it_anew(machine: Machine, change: Callable[[Machine], None]) -> None:
    machine.succeed("run")
    (machine.project / ".venv/left-over").touch()
    change(machine)
    assert machine.succeed("run")[0] == "venv .venv"
    assert not (machine.project / ".venv/left-over").exists()
    assert machine.succeed("run") == []


def test_settings_of_the_linter_do_not(machine: Machine) -> None:
    machine.succeed("run")
    append("pyproject.toml", 'target-version = "py311"\n')(machine)
    assert machine.succeed("run") == []


def test_a_checkout_that_was_moved_gets_a_new_one(machine: Machine, tmp_path: Path) -> None:
    machine.succeed("run")
    machine.project = machine.project.rename(tmp_path / "elsewhere")
    assert machine.succeed("run")[0] == "venv .venv"


@pytest.mark.parametrize("step", ["torch==", "requirements.txt", "--editable"])
def test_one_that_broke_half_way_is_made_anew(machine: Machine, step: str) -> None:
    machine.fail("run", FAKE_OFFER="1", FAKE_PIP_FAILS=step)
    assert machine.succeed("run", FAKE_OFFER="1")[0] == "venv .venv"


def test_one_that_broke_while_testing_was_added_is_made_anew(machine: Machine) -> None:
    machine.succeed("run")
    machine.fail("dev", FAKE_PIP_FAILS="requirements.txt")
    assert machine.succeed("run")[0] == "venv .venv"


def test_a_folder_that_is_no_environment_is_left_alone(machine: Machine, tmp_path: Path) -> None:
    precious = tmp_path / "home"
    precious.mkdir()
    (precious / "thesis.tex").touch()
    assert f"VENV={precious} is there and is no Python environment" in machine.fail("run", VENV=str(precious))
    assert os.listdir(precious) == ["thesis.tex"]


def test_it_can_go_elsewhere(machine: Machine, tmp_path: Path) -> None:
    assert machine.succeed("libraries", VENV=str(tmp_path / "env"))[0] == f"venv {tmp_path}/env"
    assert not (machine.project / ".venv").exists()


def test_two_at_once_wait_for_each_other(machine: Machine) -> None:
    flock = shutil.which("flock")
    if flock is None:
        pytest.skip("no flock on this machine")
    (machine.bin / "flock").symlink_to(flock)
    with ThreadPoolExecutor(3) as pool:
        runs = list(pool.map(machine.setup, ["run", "dev", "run"]))
    assert [run.returncode for run in runs] == [0, 0, 0]
    assert machine.log.read_text().count("venv .venv") == 1


# Which Python, and what to do where something is missing

UPDATE = "sudo apt-get update && sudo apt-get install -y"


def test_no_python(machine: Machine) -> None:
    machine.without("python3")
    assert f"setup: {UPDATE} python3 python3-venv python3-pip\n" in machine.fail("run")
    machine.without("make")
    assert f"setup: {UPDATE} python3 python3-venv python3-pip make\n" in machine.fail("run")


def test_a_python_that_is_too_old(machine: Machine) -> None:
    machine.python("python3", "3.10")
    assert f"setup: {UPDATE} python3.11 python3.11-venv\n" in machine.fail("run")
    machine.python("python3", "3.15")
    assert "3.11 to 3.14 is needed" in machine.fail("run")
    machine.python("python3.11", "3.11")
    machine.succeed("run")


def test_a_python_that_does_not_start_is_passed_over(machine: Machine) -> None:
    install(machine.bin / "python3", "#!/bin/sh\necho 'no such version' >&2\nexit 127\n")
    machine.python("python3.13", "3.13")
    machine.succeed("run")


def test_a_python_without_venv(machine: Machine) -> None:
    assert f"setup: {UPDATE} python3.12-venv python3-pip\n" in machine.fail("run", FAKE_NO_VENV="1")
    assert not (machine.project / ".venv").exists()


def test_pip_missing_in_the_environment(machine: Machine) -> None:
    assert f"setup: {UPDATE} python3.12-venv python3-pip\n" in machine.fail("run", FAKE_PIP_FAILS="--version")


def test_make_is_asked_for_except_for_the_image(machine: Machine) -> None:
    machine.without("make")
    assert f"setup: {UPDATE} make\n" in machine.fail("run")
    machine.succeed("libraries")


def test_root_needs_no_sudo(machine: Machine) -> None:
    machine.without("python3")
    install(machine.bin / "id", "#!/bin/sh\necho 0\n")
    assert "setup: apt-get update && apt-get install -y python3 python3-venv python3-pip\n" in machine.fail(
        "run"
    )


def test_without_apt_the_names_are_given(machine: Machine) -> None:
    machine.without("apt-get", "python3")
    assert "needed: python3 python3-venv python3-pip (as Debian names them)" in machine.fail("run")


def test_python_can_be_chosen(machine: Machine, tmp_path: Path) -> None:
    machine.python("mine", "3.14")
    machine.succeed("run", PYTHON=str(machine.bin / "mine"))
    machine.python("mine", "3.10")
    assert f"PYTHON={machine.bin}/mine is not a Python of 3.11 to 3.14" in machine.fail(
        "run", PYTHON=str(machine.bin / "mine")
    )


def test_constraints_without_torch_are_refused(machine: Machine) -> None:
    (machine.project / "constraints.txt").write_text("alpha==1\n")
    assert "constraints.txt pins no torch" in machine.fail("run")


# With a real pip, which reaches nothing but folders


def wheel(folder: Path, name: str, version: str) -> None:
    """An empty package as pip installs it."""
    folder.mkdir(parents=True, exist_ok=True)
    information = f"{name}-{version}.dist-info"
    with zipfile.ZipFile(folder / f"{name}-{version}-py3-none-any.whl", "w") as archive:
        archive.writestr(
            f"{information}/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n"
        )
        archive.writestr(
            f"{information}/WHEEL",
            "Wheel-Version: 1.0\nGenerator: t\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        )
        archive.writestr(f"{information}/RECORD", "")


def index(folder: Path) -> str:
    """The address of a package index made of the wheels in `folder`/NAME/."""
    for package in folder.iterdir():
        links = "".join(
            f'<a href="{file.name.replace("+", "%2B")}">{file.name}</a>' for file in package.iterdir()
        )
        (package / "index.html").write_text(f"<!DOCTYPE html><html><body>{links}</body></html>")
    return folder.as_uri()


@pytest.mark.slow
@pytest.mark.parametrize(("offered", "capped"), [(True, False), (False, True)])
def test_real_pip_takes_the_cpu_build(
    machine: Machine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, offered: bool, capped: bool
) -> None:
    registry, torches, offers = tmp_path / "registry", tmp_path / "torches", tmp_path / "offers"
    for version in ("1.4", "1.5", "1.6"):
        wheel(registry / "alpha", "alpha", version)
    for version in ("2.12.0", "2.13.0", "2.14.0"):  # the builds for CUDA that the usual registry has
        wheel(registry / "torch", "torch", version)
    wheel(offers if offered else torches / "torch", "torch", "2.13.0+cpu")
    torches.mkdir(exist_ok=True)
    settings = {
        "PATH": os.environ["PATH"],
        "PYTHON": sys.executable,
        "PIP_CONFIG_FILE": os.devnull,
        "PIP_NO_CACHE_DIR": "1",
        "PIP_INDEX_URL": index(registry),
        "TORCH_INDEX_URL": index(torches),
    }
    if offered:
        settings["PIP_FIND_LINKS"] = str(offers)
    if capped:  # as a machine's own settings may
        (tmp_path / "cap.txt").write_text("torch<=2.14.1\n")
        settings["PIP_CONSTRAINT"] = str(tmp_path / "cap.txt")
    done = machine.setup("libraries", **settings)
    assert done.returncode == 0, done.stdout + done.stderr
    assert ("from file://" in done.stdout) == (not offered)
    packages = (
        machine.project / ".venv/lib" / f"python{sys.version_info[0]}.{sys.version_info[1]}/site-packages"
    )
    found = sorted(path.name for path in packages.glob("[at]*.dist-info"))
    assert found == ["alpha-1.5.dist-info", "torch-2.13.0+cpu.dist-info"]
    again = machine.setup("libraries", **settings)
    assert (again.returncode, again.stdout) == (0, "")


# The wheel for the image


@pytest.mark.parametrize(
    ("offered", "said"),
    [
        (True, "wheels: torch 2.13.0+cpu is in wheels/"),
        (False, "wheels: pip's sources have no torch 2.13.0+cpu; the image's build will fetch it"),
    ],
)
def test_the_wheel_for_the_image_is_laid_out_where_there_is_one(
    machine: Machine, repository: Path, offered: bool, said: str
) -> None:
    shutil.copy(repository / "scripts/wheels", machine.project / "scripts")
    install(machine.bin / "python", f'#!/bin/sh\necho "$*" >>"$FAKE_LOG"\nexit {0 if offered else 1}\n')
    (machine.bin / "env").mkdir()
    (machine.bin / "env/bin").symlink_to(machine.bin)
    environment = {"PATH": str(machine.bin), "FAKE_LOG": str(machine.log), "VENV": str(machine.bin / "env")}
    done = subprocess.run(
        ["/bin/sh", machine.project / "scripts/wheels"],
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.strip() == said
    (call,) = machine.log.read_text().splitlines()
    assert call.startswith("-m pip download --quiet --no-deps --python-version 3.11 --only-binary :all:")
    assert call.endswith("--dest wheels torch==2.13.0+cpu")


# The repository's own files


def tracked(repository: Path) -> list[Path]:
    names = subprocess.run(
        ["git", "ls-files", "-z"], cwd=repository, capture_output=True, text=True, check=False
    ).stdout
    if not names:
        pytest.skip("not a git checkout")
    return [repository / name for name in names.split("\0") if name and (repository / name).is_file()]


def test_the_index_of_torch_stands_in_one_place_and_no_other_host_of_packages_at_all(
    repository: Path,
) -> None:
    ours = b"download.pytorch" + b".org"
    others = [name + end for name in (b"pypi", b"pythonhosted", b"npmjs") for end in (b".org", b".com")]
    texts = {path.relative_to(repository).as_posix(): path.read_bytes() for path in tracked(repository)}
    assert {name: text.count(ours) for name, text in texts.items() if ours in text} == {"scripts/setup": 1}
    assert [name for name, text in texts.items() for host in others if host in text] == []


def test_every_direct_dependency_is_pinned(repository: Path) -> None:
    project = tomllib.loads((repository / "pyproject.toml").read_text("utf-8"))["project"]
    wanted = project["dependencies"] + project["optional-dependencies"]["dev"]
    lines = (repository / "constraints.txt").read_text("utf-8").splitlines()
    pins = [re.fullmatch(r"([A-Za-z0-9_.-]+)==[0-9][0-9a-z.]*", line) for line in lines if line[:1] != "#"]
    assert all(pins), "every line is NAME==VERSION"
    pinned = {re.sub(r"[-_.]+", "-", pin[1]).lower() for pin in pins if pin}
    names = {re.split(r"[^A-Za-z0-9_.-]", name)[0] for name in wanted}
    assert {re.sub(r"[-_.]+", "-", name).lower() for name in names} - pinned == set()


@pytest.mark.parametrize(
    ("code", "closing"),
    [
        (0, "12 passed in 3.21s"),
        (2, "1 failed, 11 passed, 2 skipped in 65.10s (0:01:05)"),
        (2, "no tests ran in 0.01s"),
    ],
)
def test_the_gate_ends_with_the_closing_line_and_the_exit_code(
    repository: Path, tmp_path: Path, code: int, closing: str
) -> None:
    install(
        tmp_path / "make", f"#!/bin/sh\necho first\necho '{closing}'\necho 'make: trouble' >&2\nexit {code}\n"
    )
    done = subprocess.run(
        ["bash", repository / ".ci/run"],
        env={"PATH": f"{tmp_path}:{os.environ['PATH']}"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == code
    assert done.stdout.splitlines()[-1] == closing


def test_scripts_follow_the_shell_checker(repository: Path) -> None:
    checker = shutil.which("shellcheck")
    if checker is None:
        pytest.skip("no shellcheck on this machine")
    shells = [one for one in (repository / "scripts").iterdir() if one.is_file() and one.suffix != ".py"]
    scripts = [*shells, repository / ".ci/run"]
    done = subprocess.run([checker, *scripts], capture_output=True, text=True, check=False)
    assert done.stdout == ""
