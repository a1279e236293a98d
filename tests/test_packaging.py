"""What is built is complete, and works where there is no checkout."""

import json
import re
import subprocess
import sys
import sysconfig
import tarfile
import tomllib
import venv
import zipfile
from pathlib import Path

import pytest

import nbest
import nbest_client

ROOMS = ("nbest", "service", "models", "rescoring")
JUNK = {"__pycache__", ".DS_Store"}


def run(*command: str | Path, cwd: Path) -> str:
    done = subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
    return done.stdout


def room_files(repository: Path) -> set[str]:
    return {
        path.relative_to(repository).as_posix()
        for room in ROOMS
        for path in (repository / room).rglob("*")
        if path.is_file() and not JUNK.intersection(path.parts) and path.suffix != ".pyc"
    }


def shipped_models(repository: Path) -> list[str]:
    return sorted(path.parent.name for path in (repository / "models/pretrained").glob("*/config.json"))


@pytest.fixture(scope="module")
def built(repository: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the sdist, and the wheel that was built from that sdist."""
    folder = tmp_path_factory.mktemp("dist")
    # Without isolation, with the pinned hatchling: no network, and the same bytes everywhere.
    run(sys.executable, "-m", "build", "--no-isolation", "--outdir", folder, ".", cwd=repository)
    return folder


@pytest.fixture(scope="module")
def wheel(built: Path) -> Path:
    (path,) = built.glob("*.whl")
    return path


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An environment with the wheel in it; its libraries are those of the environment that runs the tests."""
    place = tmp_path_factory.mktemp("installed")
    venv.create(place, with_pip=False, symlinks=True)
    python = place / "bin/python"
    pip = (sys.executable, "-m", "pip", "--python", python)
    run(*pip, "install", "--quiet", "--no-deps", "--no-index", wheel, cwd=place)
    site = Path(
        run(python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))", cwd=place).strip()
    )
    (site / "libraries.pth").write_text(sysconfig.get_path("purelib") + "\n")
    return place


def test_the_wheel_holds_every_file_of_the_rooms_and_nothing_else(repository: Path, wheel: Path) -> None:
    names = {name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name}
    assert names == room_files(repository)


def test_the_wheel_holds_what_is_not_python(repository: Path, wheel: Path) -> None:
    names = set(zipfile.ZipFile(wheel).namelist())
    version = nbest.__version__
    assert {f"{room}/py.typed" for room in ROOMS} <= names
    assert "service/web/index.html" in names
    assert any(name.startswith("models/training/recipes/") and name.endswith(".toml") for name in names)
    assert f"nbest-{version}.dist-info/licenses/LICENSE" in names
    for model in shipped_models(repository):
        files = {path.name for path in (repository / "models/pretrained" / model).iterdir()}
        assert {f"models/pretrained/{model}/{file}" for file in files} <= names


def test_both_archives_carry_one_version(built: Path, wheel: Path, repository: Path) -> None:
    version = nbest.__version__
    assert sorted(path.name for path in built.iterdir()) == [
        f"nbest-{version}-py3-none-any.whl",
        f"nbest-{version}.tar.gz",
    ]
    metadata = zipfile.ZipFile(wheel).read(f"nbest-{version}.dist-info/METADATA").decode()
    assert f"\nVersion: {version}\n" in metadata
    # The program's licence, and that of the models that ship with it.
    assert "\nLicense-Expression: Apache-2.0 AND CC-BY-SA-4.0\n" in metadata
    with tarfile.open(built / f"nbest-{version}.tar.gz") as archive:
        information = archive.extractfile(f"nbest-{version}/PKG-INFO")
        assert information is not None
        assert f"\nVersion: {version}\n" in information.read().decode()


def test_the_wheel_of_the_archive_is_the_wheel_of_the_tree(
    wheel: Path, repository: Path, tmp_path: Path
) -> None:
    run(sys.executable, "-m", "build", "--no-isolation", "--wheel", "--outdir", tmp_path, ".", cwd=repository)
    (other,) = tmp_path.glob("*.whl")
    assert other.name == wheel.name
    first, second = zipfile.ZipFile(wheel), zipfile.ZipFile(other)
    assert sorted(first.namelist()) == sorted(second.namelist())
    assert [name for name in first.namelist() if first.read(name) != second.read(name)] == []


def test_the_archive_holds_what_a_packager_needs_and_nothing_of_ours_alone(built: Path) -> None:
    with tarfile.open(built / f"nbest-{nbest.__version__}.tar.gz") as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    needed = {"README.md", "LICENSE", "CHANGELOG.md", "constraints.txt", "pyproject.toml", "PKG-INFO"}
    assert needed | {"models/pretrained/NOTICE"} <= names
    own = {name.partition("/")[0] for name in names} - set(ROOMS) - needed - {".gitignore"}
    assert own == set()


def test_one_version_and_the_changelog_begins_with_it(repository: Path) -> None:
    native = tomllib.loads((repository / "native/pyproject.toml").read_text("utf-8"))["project"]["version"]
    assert {nbest.__version__, nbest_client.__version__} == {native}
    text = (repository / "CHANGELOG.md").read_text("utf-8")
    heads = re.findall(r"^## \[(.+?)\](.*)$", text, re.MULTILINE)
    assert heads[0] == ("Unreleased", "")
    versions = [head for head, _ in heads[1:]]
    assert versions[0] == nbest.__version__
    numbers = [tuple(map(int, version.split("."))) for version in versions]
    assert numbers == sorted(set(numbers), reverse=True)
    for _, date in heads[1:]:
        assert re.fullmatch(r" - (unreleased|20\d\d-[01]\d-[0-3]\d)", date)
    assert set(re.findall(r"^### (.+)$", text, re.MULTILINE)) <= {
        "Added",
        "Changed",
        "Deprecated",
        "Removed",
        "Fixed",
        "Security",
    }


def test_weights_that_ship_are_under_the_licence_of_the_notice_and_its_sources_are_named(
    repository: Path,
) -> None:
    notice = (repository / "models/pretrained/NOTICE").read_text("utf-8")
    assert "creativecommons.org/licenses/by-sa/4.0/" in notice
    for model in shipped_models(repository):
        card = json.loads((repository / "models/pretrained" / model / "card.json").read_text("utf-8"))
        assert card["licence"] == "CC BY-SA 4.0"
        for source in card["attribution"]:
            name = source.partition(" (")[0].removesuffix(" sentences").removesuffix(" addresses")
            assert name.removesuffix(" English novels") in notice, source
            for licence in re.findall(r"CC[ 0-9A-Z.-]*\d(?: FR)?", source):
                assert licence in notice, source


def test_the_wheel_asks_for_what_the_project_says(wheel: Path, repository: Path) -> None:
    project = tomllib.loads((repository / "pyproject.toml").read_text("utf-8"))["project"]
    metadata = zipfile.ZipFile(wheel).read(f"nbest-{nbest.__version__}.dist-info/METADATA").decode()
    wanted = {
        line.removeprefix("Requires-Dist: ") for line in metadata.splitlines() if "Requires-Dist" in line
    }
    plain = {line for line in wanted if "extra ==" not in line}
    assert {line.split("<")[0].split(">")[0] for line in plain} == {
        line.split("<")[0].split(">")[0] for line in project["dependencies"]
    }


def test_the_installed_package_is_the_one_from_the_wheel(installed: Path) -> None:
    code = f"import {', '.join(ROOMS)}; print(*(room.__file__ for room in ({', '.join(ROOMS)})))"
    for file in run(installed / "bin/python", "-c", code, cwd=installed).split():
        assert Path(file).is_relative_to(installed)


def test_the_command_answers(installed: Path) -> None:
    assert run(installed / "bin/nbest", "--version", cwd=installed).split()[-1] == nbest.__version__
    listed = run(installed / "bin/nbest", "--help", cwd=installed)
    for command in ("rescore", "tune", "score", "serve", "train"):
        assert f"\n  {command} " in listed


def test_a_shipped_model_is_found_without_a_checkout(installed: Path, repository: Path) -> None:
    models = shipped_models(repository)
    assert "small" in models
    listed = run(installed / "bin/nbest", "models", cwd=installed)
    for model in models:
        assert model in listed
        assert model in run(installed / "bin/nbest", "info", model, cwd=installed)


# The client, which is a distribution of its own


@pytest.fixture(scope="module")
def client_wheel(repository: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("client")
    source = repository / "clients/python"
    run(sys.executable, "-m", "build", "--no-isolation", "--outdir", folder, ".", cwd=source)
    (path,) = folder.glob("nbest_client-*.whl")
    assert len(list(folder.iterdir())) == 2
    return path


def test_the_clients_wheel_is_whole_and_needs_httpx2_alone(repository: Path, client_wheel: Path) -> None:
    archive = zipfile.ZipFile(client_wheel)
    names = {name for name in archive.namelist() if ".dist-info/" not in name}
    folder = repository / "clients/python"
    files = (folder / "nbest_client").rglob("*")
    assert names == {
        path.relative_to(folder).as_posix() for path in files if path.is_file() and path.suffix != ".pyc"
    }
    assert "nbest_client/py.typed" in names
    (metadata,) = (name for name in archive.namelist() if name.endswith("/METADATA"))
    lines = archive.read(metadata).decode().split("\n")
    assert [line for line in lines if line.startswith("Requires-Dist")] == ["Requires-Dist: httpx2<3,>=2"]
    assert any(name.endswith("licenses/LICENSE") for name in archive.namelist())


def test_the_client_works_where_nothing_else_of_ours_is(client_wheel: Path, tmp_path: Path) -> None:
    venv.create(tmp_path / "env", with_pip=False, symlinks=True)
    python = tmp_path / "env/bin/python"
    pip = (sys.executable, "-m", "pip", "--python", python)
    run(*pip, "install", "--quiet", "--no-deps", "--no-index", client_wheel, cwd=tmp_path)
    site = Path(
        run(python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))", cwd=tmp_path).strip()
    )
    (site / "libraries.pth").write_text(sysconfig.get_path("purelib") + "\n")
    code = """
import sys, nbest_client
assert {"torch", "numpy", "pydantic", "nbest", "service"}.isdisjoint(sys.modules)
with nbest_client.Client("http://127.0.0.1:1", retry=nbest_client.Retry(total_seconds=0)) as client:
    print(client.is_alive(), nbest_client.__file__)
"""
    alive, file = run(python, "-c", code, cwd=tmp_path).split()
    assert alive == "False"
    assert Path(file).is_relative_to(tmp_path)
