"""nbest doctor: what it says of a whole installation, and of each thing that can be missing or broken."""

import builtins
import importlib
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from models import catalog
from models.scoring import native_engine
from nbest import __version__
from service.cli import doctor
from tests.serving import fake, service, start

__all__ = ["fake", "service", "start"]  # fixtures
Run = Callable[..., Any]


@pytest.fixture(autouse=True)
def quick(tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One tiny model ships, and its speed is soon known."""
    monkeypatch.setattr(doctor, "SPEED_SECONDS", 0.02)
    monkeypatch.setattr(catalog, "shipped", lambda: {"tiny": tiny})


def checks(run: Run, *arguments: object, code: int = 0, **env: str) -> dict[str, dict[str, Any]]:
    """What --json says, by the checks' names."""
    result = run("doctor", "--json", *arguments, **env)
    assert result.exit_code == code, result.output
    document = json.loads(result.stdout)
    found = {one["name"]: one for one in document["checks"]}
    assert document["ok"] == (code == 0)
    assert document["broken"] == [name for name, one in found.items() if one["state"] == "broken"]
    return found


def test_all_is_well(run: Run, tiny: Path) -> None:
    from models import checkpoint

    found = checks(run)
    assert found["nbest"]["facts"] == {"version": __version__}
    facts = found["model tiny"]["facts"]
    assert facts["digest"] == checkpoint.load(tiny).digest
    assert 0 <= facts["nats_a_word_off"] <= facts["tolerance"] == 1e-4
    assert facts["tokens_a_second"] > 0
    assert 1 <= found["processors"]["facts"]["usable"] <= found["processors"]["facts"]["there"]
    assert "cpu" in found["devices"]["facts"]["devices"]
    assert found["precisions"]["facts"]["fp32"] is True


def test_text_is_a_line_a_check_and_a_last_one(run: Run) -> None:
    result = run("doctor")
    assert result.exit_code == 0
    lines = result.stdout.split("\n")
    assert lines[0].split()[:3] == ["ok", "nbest", __version__]
    assert lines[-2] == "all is well"
    (line,) = [line for line in lines if "model tiny" in line]
    assert "nats a word off the reference" in line
    assert "tokens a second" in line


def test_int8_is_tried_where_there_is_any(run: Run) -> None:
    kernels = native_engine.kernels()
    if kernels is None:
        found = checks(run, "--precision", "int8", code=1)
        assert "needs the compiled kernels" in found["model tiny"]["says"]
    else:
        facts = checks(run, "--precision", "int8")["model tiny"]["facts"]
        assert (facts["precision"], facts["tolerance"]) == ("int8", 0.02)


@pytest.mark.parametrize("name", ["model.safetensors", "config.json", "vocabulary.json"])
def test_a_broken_model_is_named_and_the_others_are_tried(
    run: Run, tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    broken = tmp_path / "cut"
    broken.mkdir()
    for file in tiny.iterdir():
        content = file.read_bytes()
        (broken / file.name).write_bytes(content[: len(content) // 2] if file.name == name else content)
    monkeypatch.setattr(catalog, "shipped", lambda: {"cut": broken, "tiny": tiny})
    found = checks(run, code=1)
    assert found["model cut"]["state"] == "broken"
    assert found["model cut"]["says"].startswith(str(broken / name))
    assert found["model tiny"]["state"] == "ok"
    text = run("doctor")
    assert text.exit_code == 1
    assert text.stdout.endswith("broken: model cut\n")


def test_models_beside_the_shipped(run: Run, tiny: Path, tmp_path: Path) -> None:
    found = checks(run, tiny, tmp_path, code=1)
    assert found[f"model {tiny}"]["state"] == "ok"
    assert "a directory without a model" in found[f"model {tmp_path}"]["says"]
    assert found[f"model {tmp_path}"]["todo"] == "expected a model directory, or one of tiny"


def test_no_model_ships(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(catalog, "shipped", dict)
    found = checks(run, code=1)["models"]
    assert (found["state"], found["todo"]) == ("broken", "install nbest again")


def test_wrong_scores_are_seen(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    from models.scoring.reference import ReferenceScorer

    right = ReferenceScorer.score
    monkeypatch.setattr(ReferenceScorer, "score", lambda self, text: right(self, text) - 0.01)
    found = checks(run, code=1)["model tiny"]
    assert found["says"].startswith("scores are wrong: 1.0e-02 nats a word off the reference")
    assert "build nbest-native again" in found["todo"]


def test_without_kernels_all_is_well(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    without(monkeypatch, "nbest_native")
    found = checks(run)
    assert found["nbest-native"]["state"] == "absent"
    assert "make native" in found["nbest-native"]["todo"]
    assert found["precisions"]["facts"] == {"fp32": True, "int8": False}
    assert found["model tiny"]["state"] == "ok"


def test_kernels_of_another_version(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    class Old:
        INTERFACE = 1
        __file__ = "/somewhere/nbest_native.so"

    monkeypatch.setitem(sys.modules, "nbest_native", Old)
    found = checks(run, code=1)["nbest-native"]
    assert found["says"] == (
        "/somewhere/nbest_native.so: the compiled kernels belong to another version of nbest; got interface 1"
    )
    assert "make native" in found["todo"]


def test_kernels_that_cannot_be_loaded(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "nbest_native.py").write_text("raise ImportError('libstdc++.so.6: no such file')\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "nbest_native", raising=False)
    found = checks(run, code=1)
    assert found["nbest-native"]["says"] == ("installed, and cannot be loaded: libstdc++.so.6: no such file")
    assert found["model tiny"]["state"] == "ok"


@pytest.mark.parametrize("extra", ["kenlm", "sentencepiece"])
def test_extras_that_are_absent_or_broken(run: Run, extra: str, monkeypatch: pytest.MonkeyPatch) -> None:
    without(monkeypatch, extra)
    found = checks(run)[extra]
    assert (found["state"], found["todo"]) == ("absent", f"pip install 'nbest[{extra}]'")
    monkeypatch.setattr(doctor, "_is_there", lambda module: True)
    found = checks(run, code=1)[extra]
    assert (found["state"], found["says"]) == ("broken", f"ModuleNotFoundError: no {extra} here")


def without(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """As if a module were not installed."""
    real_import, real_load = builtins.__import__, importlib.import_module

    def load(module: str, *rest: Any) -> Any:
        if module == name:
            raise ModuleNotFoundError(f"no {name} here", name=name)
        return real_load(module, *rest)

    def of_statement(module: str, *rest: Any, **more: Any) -> Any:
        return load(name) if module == name else real_import(module, *rest, **more)

    there = doctor._is_there
    monkeypatch.delitem(sys.modules, name, raising=False)
    monkeypatch.setattr(builtins, "__import__", of_statement)
    monkeypatch.setattr(importlib, "import_module", load)
    monkeypatch.setattr(doctor, "_is_there", lambda module: module != name and there(module))


def test_without_torch(tmp_path: Path, repository: Path, service: Any) -> None:
    (tmp_path / "torch.py").write_text("raise ModuleNotFoundError('No module', name='torch')\n")

    def run_without(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "service.cli.main", "doctor", *arguments],
            env=os.environ | {"PYTHONPATH": f"{tmp_path}:{repository}"},
            capture_output=True,
            text=True,
            check=False,
        )

    alone = run_without()
    assert (alone.returncode, alone.stderr) == (1, "")
    assert "broken  torch           not installed\n" in alone.stdout
    assert "-> pip install torch, or score with --server URL\n" in alone.stdout
    assert alone.stdout.endswith("broken: torch\n")
    remote = run_without("--server", service.url)
    assert (remote.returncode, remote.stderr) == (0, "")
    assert "absent  torch           not installed: models are scored with --server only\n" in remote.stdout
    assert remote.stdout.endswith("all is well\n")


def test_a_service(run: Run, service: Any) -> None:
    found = checks(run, "--server", service.url)
    assert found["server"]["says"] == f"{service.url} is ready"
    assert found["server's version"]["facts"] == {"version": __version__}
    assert {"small", "local"} <= set(found["server's models"]["facts"]["models"])


def test_a_service_with_keys(run: Run, start: Any, tmp_path: Path) -> None:
    keys = tmp_path / "keys.json"
    key = run("keys", "create", "me", "--keys", keys).stdout.strip()
    url = start(keys=keys).url
    found = checks(run, "--server", url, code=1)
    assert found["server"]["state"] == "ok"
    assert found["server's models"]["todo"] == "give the key: NBEST_KEY, or --key KEY"
    result = run("doctor", "--json", "--server", url, NBEST_KEY=key)
    assert result.exit_code == 0, result.stdout
    assert key not in result.output


def test_a_service_that_is_not_ready(run: Run, start: Any) -> None:
    running = start()
    running.app.state.service.readiness.drain()
    found = checks(run, "--server", running.url, code=1)
    assert "is not ready: " in found["server"]["says"]


def test_nobody_answers_and_somebody_else_does(run: Run, fake: Any) -> None:
    found = checks(run, "--server", "http://127.0.0.1:9", code=1)
    assert "cannot be reached" in found["server"]["says"]
    other = fake(b"HTTP/1.1 404 Not Found\r\nContent-Length: 2\r\n\r\nno")
    found = checks(run, "--server", other.url, code=1)
    assert found["server"]["says"] == f"{other.url} answers 404"
    result = run("doctor", "--server", "localhost:8000")
    assert (result.exit_code, "not the address of a service" in result.stderr) == (2, True)
