# ruff: noqa: E501 - a table reads better with each case on one line

import os
import signal
import subprocess
import sys
import time
from importlib import import_module
from pathlib import Path
from typing import Any

import click
import pytest

from nbest.errors import BusyError, FormatError, NbestError
from service.cli.main import COMMANDS, nbest

NBEST = [sys.executable, "-m", "service.cli.main"]


@pytest.fixture
def failing(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Makes `nbest models` end with an exception."""

    def fail(error: BaseException) -> None:
        @click.command()
        def models() -> None:
            raise error

        monkeypatch.setattr(import_module("service.cli.models"), "models", models)

    return fail


@pytest.mark.parametrize(
    ("error", "code", "words"),
    [
        (FormatError("bad line", where="x:3", expected="a", got="b"), 2, "nbest: error: x:3: bad line; expected a; got b"),
        (BusyError("full", retry_after_seconds=1), 75, "nbest: error: full"),
        (NbestError("ours"), 1, "nbest: error: ours"),
        (KeyboardInterrupt(), 130, "nbest: interrupted"),
        (PermissionError(13, "Permission denied", "/x/y"), 2, "nbest: error: /x/y: Permission denied"),
    ],
)  # fmt: skip
def test_each_ending_has_its_exit_code_and_one_line(
    run: Any, failing: Any, error: BaseException, code: int, words: str
) -> None:
    failing(error)
    result = run("models")
    assert (result.exit_code, result.stderr, result.stdout) == (code, f"{words}\n", "")


def test_a_fault_is_not_hidden(run: Any, failing: Any) -> None:
    failing(ZeroDivisionError("bug"))
    assert isinstance(run("models").exception, ZeroDivisionError)


def test_help_lists_every_command_without_importing_any() -> None:
    code = (
        "import sys\nfrom service.cli.main import main\nsys.argv = ['nbest', '--help']\n"
        "try:\n main()\nexcept SystemExit:\n pass\n"
        "print([m for m in ('torch', 'numpy', 'fastapi', 'pydantic', 'uvicorn') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.rstrip().endswith("[]")
    for name, line in COMMANDS.items():
        assert f"  {name} " in done.stdout
        assert line in " ".join(done.stdout.split())


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_of_the_table_exists_and_has_help(run: Any, name: str) -> None:
    result = run(name, "--help")
    assert result.exit_code == 0
    assert result.stdout.startswith(f"Usage: nbest {name}")


def test_unknown_command_names_the_known_ones(run: Any) -> None:
    result = run("rescor")
    assert result.exit_code == 2
    assert "no such command 'rescor'; expected one of train" in result.stderr


def test_version(run: Any) -> None:
    result = run("--version")
    assert result.exit_code == 0
    assert result.stdout.startswith("nbest, version 0.")


def test_options_can_come_from_the_environment(run: Any) -> None:
    result = run("score", given="a man\n", NBEST_SCORE_LM="small", NBEST_SCORE_PRINT_TEXT="1")
    assert (result.exit_code, result.stdout) == (0, "-3.500000\t3\t0\ta man\n")


def test_every_option_can_come_from_the_environment_under_its_own_name(run: Any) -> None:
    names = set()
    for name in COMMANDS:
        command = nbest.get_command(click.Context(nbest), name)
        assert command is not None
        for option in command.params:
            if isinstance(option, click.Option):
                assert isinstance(option.envvar, str)
                names.add(option.envvar)
    assert {"NBEST_RESCORE_LM", "NBEST_RESCORE_ADD_FEATURE", "NBEST_TUNE_METRIC", "NBEST_SERVE_PORT"} <= names


def test_every_option_has_a_help_text() -> None:
    context = click.Context(nbest)
    for name in COMMANDS:
        command = nbest.get_command(context, name)
        assert command is not None
        for parameter in command.params:
            if isinstance(parameter, click.Option):
                assert parameter.help, f"{name} {parameter.opts}"


def test_a_reader_who_leaves_ends_it_quietly(tmp_path: Path, tiny: Path) -> None:
    text = tmp_path / "many.txt"
    text.write_text("a man is riding a horse\n" * 50_000)
    command = f"{sys.executable} -m service.cli.main score --lm {tiny} --print-text {text} | head -1"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, timeout=300, check=True)
    assert done.stdout.endswith("a man is riding a horse\n")
    assert done.stderr == ""


def test_interrupted_leaves_nothing_behind(tmp_path: Path, tiny: Path) -> None:
    out = tmp_path / "out" / "scores"
    out.parent.mkdir()
    command = [*NBEST, "score", "--lm", str(tiny), "--out", str(out)]
    process = subprocess.Popen(
        command,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=os.environ,
        # a job that a shell put in the background ignores SIGINT, and so would its children
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    for _ in range(4800):  # until it has opened its output and waits for sentences
        if list(out.parent.iterdir()):
            break
        time.sleep(0.05)
    assert list(out.parent.iterdir())
    process.send_signal(signal.SIGINT)
    _, stderr = process.communicate(timeout=240)
    assert (process.returncode, stderr) == (130, b"nbest: interrupted\n")
    assert list(out.parent.iterdir()) == []
