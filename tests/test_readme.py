"""Every `nbest` command of the documents works as it stands, in its order, and leaves what it says."""

import gzip
import json
import os
import random
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest


def _commands(text: str) -> list[str]:
    """Lines of indented blocks that call nbest; not those on a cluster, or on data that may not ship."""
    lines = text.replace("\\\n", " ").split("\n")
    elsewhere = ("../shared/", "--engine ray")
    calls = [line.strip() for line in lines if re.match(r" {4}nbest ", line)]
    return [line for line in calls if not any(mark in line for mark in elsewhere)]


@pytest.fixture(scope="module")
def tour(tmp_path_factory: pytest.TempPathFactory, repository: Path) -> Path:
    """A folder as a reader has it: the examples, and a training text of their own."""
    folder = tmp_path_factory.mktemp("tour")
    (folder / "examples").symlink_to(repository / "examples")
    chance = random.Random(1)
    words = "the a man dog house street sees walks big red on in".split()
    for name, lines in (("train", 400), ("valid", 40)):
        with gzip.open(folder / f"{name}.txt.gz", "wt") as stream:
            stream.writelines(f"{' '.join(chance.choices(words, k=6))}\n" for _ in range(lines))
    for mine, example in (("mine.nbest", "mt.test.nbest"), ("mine.ref", "mt.test.ref")):
        (folder / mine).symlink_to(repository / "examples" / example)
    (folder / "dev/newlm").mkdir(parents=True)  # SRILM's lists, with a folder of scores beside them
    (folder / "dev.refs").symlink_to(repository / "examples/kaldi_text")
    (folder / "dev/nbest").symlink_to(repository / "examples/srilm_nbest")
    for path in (repository / "examples/srilm_nbest").iterdir():
        scores = [f"{-len(line)}\n" for line in path.read_text("utf-8").split("\n")[:-1]]
        (folder / "dev/newlm" / path.name).write_text("".join(scores))
    return folder


@pytest.mark.parametrize(
    ("document", "least"),
    [
        ("README.md", 18),
        ("docs/formats.md", 8),
        ("docs/models.md", 8),
        ("docs/adaptation.md", 3),
        ("docs/tuning.md", 6),
        ("docs/evaluation.md", 12),
        ("docs/batch.md", 4),
        ("docs/coming-from.md", 25),
        ("docs/concepts.md", 8),
        ("docs/operations.md", 1),
    ],
)
def test_commands_of_the_documents(tour: Path, repository: Path, document: str, least: int) -> None:
    commands = _commands((repository / document).read_text(encoding="utf-8"))
    assert len(commands) >= least
    # the command stands beside the interpreter that runs the tests
    environment = os.environ | {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    for command in commands:
        done = subprocess.run(
            ["bash", "-c", command], cwd=tour, env=environment, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
        out = re.search(r"--out (\S+)", command)
        if out:
            assert (tour / out.group(1)).exists(), command


def test_options_of_the_readme_exist(repository: Path) -> None:
    """An option that the README names in its prose is one that some command knows."""
    text = (repository / "README.md").read_text(encoding="utf-8")
    named = set(re.findall(r"`(--[a-z-]+)", text))
    helps = ""
    for command in ("tune", "rescore", "evaluate", "train", "score", "serve", "convert"):
        helps += subprocess.run(
            [sys.executable, "-m", "service.cli.main", command, "--help"],
            capture_output=True,
            text=True,
            check=True,
        ).stdout
    assert {option for option in named if option not in helps} == set()


def test_curl_of_the_readme_is_a_request_that_works(repository: Path) -> None:
    from fastapi.testclient import TestClient

    from service.app import create_app
    from service.settings import Settings

    text = (repository / "README.md").read_text(encoding="utf-8").replace("\n      ", " ")
    words = next(shlex.split(part) for part in re.findall(r"    (curl .*?)\n\n", text, re.DOTALL))
    body = json.loads(words[words.index("-d") + 1])
    path = "/" + next(word for word in words if word.startswith("http://")).split("/", 3)[3]
    with TestClient(create_app(Settings())) as client:
        answer = client.post(path, json=body)
    assert answer.status_code == 200
    (result,) = answer.json()["results"]
    assert result["ranking"][0]["text"] == "the weather is nice today"


def test_every_document_with_commands_is_run_by_some_test(repository: Path) -> None:
    """docs/service.md is run by tests/service/test_docs.py."""
    run = {name for name, _ in test_commands_of_the_documents.pytestmark[0].args[1]}
    documents = {path.relative_to(repository).as_posix() for path in (repository / "docs").glob("*.md")}
    with_commands = {name for name in documents if _commands((repository / name).read_text("utf-8"))}
    assert with_commands - run == {"docs/service.md"}


def test_the_index_names_every_document(repository: Path) -> None:
    index = (repository / "docs/README.md").read_text("utf-8")
    documents = {path.name for path in (repository / "docs").glob("*.md")} - {"README.md"}
    assert {name for name in documents if f"]({name})" not in index} == set()
