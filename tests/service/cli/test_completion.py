"""nbest completion, and what TAB offers: asked as the shells ask."""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
import pytest
from click.shell_completion import ShellComplete

from models import catalog
from models.architectures import SYSTEMS
from rescoring.metrics import METRICS, TOKENIZERS
from service.cli import completion
from service.cli.main import COMMANDS, nbest

Run = Callable[..., Any]


def offered(*words: str) -> list[tuple[str, str]]:
    """(kind, value) of each completion of the last of `words`."""
    asked = ShellComplete(nbest, {}, "nbest", "_NBEST_COMPLETE")
    return [(item.type, item.value) for item in asked.get_completions(list(words[:-1]), words[-1])]


def values(*words: str) -> list[str]:
    return [value for _, value in offered(*words)]


def plain(*words: str) -> list[str]:
    return [value for kind, value in offered(*words) if kind == "plain"]


def test_commands() -> None:
    assert values("") == list(COMMANDS)
    assert values("co") == ["compress", "consensus", "compare", "convert", "completion"]
    assert "--version" in values("--v")
    assert values("no-such-command", "ru") == []
    assert values("keys", "re") == ["revoke"]


def test_options_and_their_choices() -> None:
    assert values("rescore", "--unk") == ["--unknown-feature"]
    assert values("rescore", "--format", "m") == ["moses", "mlm"]
    assert values("score", "--precision", "") == ["fp32", "int8"]
    assert values("convert", "lists", "--to", "ka") == ["kaldi"]
    assert values("completion", "") == ["bash", "zsh", "fish"]


def test_models() -> None:
    shipped = catalog.names()
    assert len(shipped) > 1
    for words in (("rescore", "--lm"), ("score", "--lm"), ("info",), ("doctor",), ("doctor", "small")):
        assert offered(*words, "") == [("dir", ""), *(("plain", name) for name in shipped)]
    assert offered("rescore", "--lm", "small", "--lm", "ba") == [("dir", "ba"), ("plain", "base")]
    assert values("serve", "--preload", "sm") == ["small"]
    assert values("serve", "--preload", "small,") == ["small,base", "small,tiny"]


def test_names_of_metrics_pipelines_and_systems() -> None:
    assert sorted(values("evaluate", "--metric", "")) == sorted(METRICS)
    assert values("tune", "--metric", "w") == ["wer"]
    assert values("evaluate", "--tokenize", "") == list(TOKENIZERS)
    assert values("rescore", "--text", "") == [
        "raw", "lower", "tags", "hesitations", "bpe", "sentencepiece", "factors", "factors-plus", "unescape",
        "detokenize",
    ]  # fmt: skip
    assert values("evaluate", "--filter", "hesitations,l") == ["hesitations,lower"]
    assert "lower,raw" not in values("evaluate", "--ref-filter", "lower,")
    assert values("train", "--system", "b") == ["belm", "bllm"]


def test_names_that_are_said_twice_are_the_same() -> None:
    assert tuple(SYSTEMS) == completion.SYSTEMS
    assert METRICS == completion.METRICS
    assert TOKENIZERS == completion.TOKENIZERS


def test_files_are_left_to_the_shell() -> None:
    for words in (("rescore",), ("score",), ("evaluate",), ("rescore", "lists", "--out"), ("tune", "--ref")):
        assert offered(*words, "exa") == [("file", "exa")]
    assert offered("serve", "--models", "m") == [("dir", "m")]
    assert offered("train", "--out", "m") == [("dir", "m")]


FREE = """\
--attribution --description --licence --published --key --lmwt --beam-size --jobs --acoustic --features
--group --only --add-feature --range --option --set --weight --fix --mix --wip --by --server --host --device
NAME
"""


def test_every_value_is_completed_or_known_to_be_free() -> None:
    free = set()
    for name in COMMANDS:
        command = nbest.get_command(click.Context(nbest), name)
        assert command is not None
        inner = list(command.commands.values()) if isinstance(command, click.Group) else [command]
        for one in inner:
            for parameter in one.params:
                told = isinstance(parameter.type, completion.Completed | click.Choice | click.Path)
                counts = isinstance(parameter.type, click.types.IntParamType | click.types.FloatParamType)
                is_flag = isinstance(parameter, click.Option) and parameter.is_flag
                if not (told or counts or is_flag):
                    is_option = isinstance(parameter, click.Option)
                    free.add(max(parameter.opts, key=len) if is_option else str(parameter.name).upper())
    assert free == set(FREE.split())


@pytest.mark.parametrize(
    "words",
    [
        "nbest ",
        "nbest rescore --l",
        "nbest rescore --lm ",
        "nbest tune --metric ",
        "nbest score --text lower,",
    ],
)
def test_tab_takes_no_torch(words: str) -> None:
    code = (
        "import sys\nfrom service.cli.main import main\n"
        "try:\n main()\nexcept SystemExit:\n pass\n"
        "print(*(m for m in ('torch', 'sacrebleu', 'pydantic') if m in sys.modules), file=sys.stderr)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=os.environ
        | {
            "_NBEST_COMPLETE": "bash_complete",
            "COMP_WORDS": words,
            "COMP_CWORD": str(words.count(" ")),
        },
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stderr == "\n"
    assert "plain," in done.stdout


@pytest.mark.parametrize(
    ("shell", "word"),
    [("bash", "complete -o nosort"), ("zsh", "#compdef nbest"), ("fish", "complete --no-files")],
)
def test_the_script(run: Run, shell: str, word: str) -> None:
    result = run("completion", shell)
    assert (result.exit_code, result.stderr) == (0, "")
    assert word in result.stdout
    assert f"_NBEST_COMPLETE={shell}_complete" in result.stdout


def test_an_unknown_shell(run: Run) -> None:
    result = run("completion", "tcsh")
    assert result.exit_code == 2
    assert "'bash', 'zsh', 'fish'" in result.stderr


def test_bash_completes_with_it(tmp_path: Path) -> None:
    if shutil.which("bash") is None:
        pytest.skip("no bash on this machine")
    command = tmp_path / "nbest"
    command.write_text(f'#!/bin/sh\nexec {sys.executable} -m service.cli.main "$@"\n')
    command.chmod(0o755)
    script = """
    eval "$(nbest completion bash)"
    COMP_WORDS=(nbest rescore --lm sm) COMP_CWORD=3 COMPREPLY=()
    _nbest_completion nbest 2>/dev/null   # compopt works only when a key is pressed
    echo "${COMPREPLY[@]}"
    """
    done = subprocess.run(
        ["bash", "-c", script],
        env=os.environ | {"PATH": f"{tmp_path}:{os.environ['PATH']}"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert (done.stdout, done.stderr) == ("small\n", "")
