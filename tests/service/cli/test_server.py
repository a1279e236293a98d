"""nbest rescore and nbest score with the models of a service: as with local ones, and without torch."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from service import remote
from service.cli.main import nbest
from tests.serving import fake, service, start

__all__ = ["fake", "service", "start"]  # fixtures
Run = Callable[..., Any]


def both(run: Run, url: str, *arguments: object) -> tuple[Any, Any]:
    """What the local models give, and those of the service."""
    return run("rescore", *arguments), run("rescore", *arguments, "--server", url)


@pytest.mark.parametrize("more", [[], ["--one-best"], ["--weight", "small=0.25"], ["--text", "lower"]])
def test_rescore_writes_what_the_local_model_writes(
    run: Run, lists: Path, weights: Path, service: Any, more: list[str]
) -> None:
    local, there = both(run, service.url, lists, "--lm", "small", "--weights", weights, *more)
    assert there.exit_code == local.exit_code == 0, there.stderr
    assert there.stdout == local.stdout
    assert f"scored by {service.url}" in there.stderr

    def signature(text: str) -> str:
        return next(line for line in text.split("\n") if line.startswith("signature"))

    assert signature(there.stderr) == signature(local.stderr)
    assert "small:sha256:" in signature(there.stderr)


def test_kaldi_directories(run: Run, service: Any, repository: Path, tmp_path: Path) -> None:
    for name, more in (("local", []), ("there", ["--server", service.url])):
        given = ["--lm", "small", "--weight", "ac=0.1", "--weight", "small=1"]
        source = repository / "examples/kaldi_test_nbest"
        done = run("rescore", source, *given, "--unknown-feature", "ignore", "--out", tmp_path / name, *more)
        assert done.exit_code == 0, done.stderr
    files = sorted(
        path.relative_to(tmp_path / "local") for path in (tmp_path / "local").rglob("*") if path.is_file()
    )
    assert len(files) > 3
    assert files == sorted(
        path.relative_to(tmp_path / "there") for path in (tmp_path / "there").rglob("*") if path.is_file()
    )
    for file in files:
        assert (tmp_path / "local" / file).read_bytes() == (tmp_path / "there" / file).read_bytes()


def test_two_names_for_one_model_and_no_weights(run: Run, lists: Path, service: Any) -> None:
    local, there = both(run, service.url, lists, "--lm", "mine=small", "--lm", "small")
    assert there.exit_code == 0, there.stderr
    assert there.stdout == local.stdout
    assert "ranked by" in there.stderr
    assert "mine=" in there.stdout


@pytest.mark.parametrize("more", [[], ["--print-text"], ["--tokens"]])
def test_score_prints_what_the_local_model_prints(run: Run, service: Any, more: list[str]) -> None:
    text = "a man is riding\n\nzebra\n"
    local = run("score", "--lm", "small", *more, given=text)
    there = run("score", "--lm", "small", "--server", service.url, *more, given=text)
    assert there.exit_code == 0, there.stderr
    assert (there.stdout, there.stderr) == (local.stdout, local.stderr)


def test_a_list_that_fails_is_set_aside_as_locally(
    run: Run, service: Any, weights: Path, tmp_path: Path
) -> None:
    path = tmp_path / "bad.nbest"
    path.write_text(
        "0 ||| a man ||| LM0= -3 TM0= -1 -2 ||| -5\n1 ||| horse ||| LM0= nan TM0= -1 -1 ||| -3\n"
        "2 ||| a horse ||| LM0= -2 TM0= -1 -1 ||| -3\n"
    )
    found = []
    for name, more in (("local", []), ("there", ["--server", service.url])):
        done = run("rescore", path, "--lm", "small", "--weights", weights, "--failed", tmp_path / name, *more)
        assert done.exit_code == 3, done.stderr
        found.append((done.stdout, (tmp_path / name).read_text()))
    assert found[0] == found[1]
    assert "not finite" in found[0][1] or "nan" in found[0][1]


def test_weights_are_checked_against_the_servers_digest(
    run: Run, lists: Path, service: Any, tmp_path: Path
) -> None:
    document = {"format": "nbest-weights/1", "features": {"LM0": 1, "TM0": [1, 1], "small": 1}, "text": "raw"}
    for digest, code in (("sha256:" + "0" * 64, 0), ("sha256:" + "1" * 64, 2)):
        document["models"] = [{"name": "small", "digest": digest}]
        (tmp_path / "w.json").write_text(json.dumps(document))
        done = run(
            "rescore", lists, "--lm", "small", "--server", service.url, "--weights", tmp_path / "w.json"
        )
        assert done.exit_code == code, done.stderr
    assert "sha256:1111" in done.stderr


def test_keys(run: Run, lists: Path, start: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = CliRunner().invoke(nbest, ["keys", "create", "me", "--keys", str(tmp_path / "keys.json")])
    key = made.stdout.strip()
    url = start(keys=tmp_path / "keys.json").url
    arguments = ["rescore", lists, "--lm", "small", "--server", url]
    monkeypatch.delenv("NBEST_KEY", raising=False)
    refused = run(*arguments)
    assert (refused.exit_code, refused.stdout) == (2, "")
    assert "the service needs a key" in refused.stderr
    assert run(*arguments, "--key", key).exit_code == 0
    assert run(*arguments, NBEST_KEY=key).exit_code == 0
    assert run("score", "--lm", "small", "--server", url, given="a\n", NBEST_KEY=key).exit_code == 0
    wrong = run(*arguments, NBEST_KEY="nbest-wrong")
    assert wrong.exit_code == 2
    assert "nbest-wrong" not in wrong.stderr


@pytest.mark.parametrize(
    ("more", "words"),
    [
        (["--self-normalized"], "--self-normalized: the service decides this"),
        (["--precision", "int8"], "--precision: the service decides this"),
        (["--threads", "2"], "--threads: the service decides this"),
        (["--server", "localhost"], "not the address of a service"),
        (["--lm", "nosuch"], "no such model"),
        (["--lm", "kenlm:x.arpa"], "no such model"),
        (["--lm", "small"], "two models have the same name"),
    ],
)
def test_what_cannot_be(run: Run, lists: Path, service: Any, more: list[str], words: str) -> None:
    done = run("rescore", lists, "--lm", "small", "--server", service.url, *more)
    assert (done.exit_code, done.stdout) == (2, "")
    assert words in done.stderr


def test_a_server_needs_a_model_and_a_key_a_server(run: Run, lists: Path, service: Any) -> None:
    assert "no model of the service" in run("rescore", lists, "--server", service.url).stderr
    done = run("rescore", lists, "--lm", "small", "--key", "k")
    assert done.exit_code == 2
    assert "a key for no service" in done.stderr
    assert (
        run("rescore", lists, "--lm", "small", NBEST_KEY="k").exit_code == 0
    )  # it may stand there for others


def test_nobody_is_there(run: Run, lists: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remote, "_FIRST_CONTACT_SECONDS", 0.3)
    done = run("rescore", lists, "--lm", "small", "--server", "http://127.0.0.1:1")
    assert done.exit_code == 75
    assert "cannot be reached" in done.stderr


@pytest.fixture
def many(tmp_path: Path) -> Path:
    """Enough for three blocks."""
    path = tmp_path / "many.nbest"
    with path.open("w") as stream:
        for k in range(1200):
            for j in range(10):
                stream.write(f"{k} ||| a man {j} is {(k * j) % 7} ||| LM0= -{j} ||| -{(k + j) % 5}\n")
    return path


def test_without_torch_in_any_process(
    run: Run, many: Path, service: Any, repository: Path, tmp_path: Path
) -> None:
    """A torch that cannot be imported stands before the real one; two processes have a connection each."""
    (tmp_path / "path").mkdir()
    (tmp_path / "path/torch.py").write_text("raise ImportError('torch was imported')\n")
    environment = os.environ | {"PYTHONPATH": f"{tmp_path / 'path'}:{repository}"}
    command = [sys.executable, "-m", "service.cli.main"]

    def there(*arguments: object, given: str | None = None) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [*command, *map(str, arguments)], env=environment, cwd=tmp_path, input=given,
            capture_output=True, text=True, check=False, timeout=120,
        )  # fmt: skip

    refused = there("score", "--lm", "small", given="a\n")
    assert "torch was imported" in refused.stderr  # so it would be seen
    done = there(
        "rescore",
        many,
        "--lm",
        "small",
        "--server",
        service.url,
        "--progress",
        "--out",
        tmp_path / "there.gz",
    )
    assert done.returncode == 0, done.stderr
    assert "lists 1200  hypotheses 12000" in done.stderr
    assert "hypotheses/s" in done.stderr
    local = run("rescore", many, "--lm", "small", "--jobs", 1, "--out", tmp_path / "local.gz")
    assert local.exit_code == 0, local.stderr
    assert (tmp_path / "there.gz").read_bytes() == (tmp_path / "local.gz").read_bytes()
    scored = there("score", "--lm", "small", "--server", service.url, given="a\n")
    assert scored.stdout == "-1.500000\t2\t0\n", scored.stderr


def test_a_shipped_model_gives_the_same_up_to_rounding(
    run: Run, start: Any, world: Any, repository: Path
) -> None:
    """The real model behind HTTP: other texts share its batches, so the last bits may differ."""
    from models import catalog

    world.open_scorer = lambda source: catalog.open_scorer("base")
    url = start().url
    path = repository / "examples/mt.test.nbest"
    arguments = ["rescore", path, "--lm"]
    local = run(*arguments, "base", "--jobs", 1)
    there = run(*arguments, "base=small", "--server", url)
    assert local.exit_code == there.exit_code == 0, there.stderr
    assert local.stdout.count("\n") == there.stdout.count("\n") > 40
    for one, other in zip(local.stdout.split("\n"), there.stdout.split("\n"), strict=True):
        fields, others = one.split(" ||| "), other.split(" ||| ")
        assert fields[:2] == others[:2]
        numbers = [
            [float(x) for x in line.replace("=", "= ").split(" ") if _is_number(x)] for line in (one, other)
        ]
        assert numbers[0] == pytest.approx(numbers[1], abs=1e-3)


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def test_a_model_that_changes_meanwhile_ends_the_run(run: Run, lists: Path, fake: Any) -> None:
    from tests.service.test_remote import FIRST, scores

    server = fake(FIRST, scores(4, "sha256:new"))
    done = run("rescore", lists, "--lm", "small", "--server", server.url)
    assert (done.exit_code, done.stdout) == (2, "")
    assert "another model small now" in done.stderr
