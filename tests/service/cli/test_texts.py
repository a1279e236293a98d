"""nbest train and prepare: arguments that cannot be meant."""

import re
from itertools import chain
from pathlib import Path
from typing import Any

import pytest


@pytest.fixture
def text(tmp_path: Path) -> Path:
    path = tmp_path / "text"
    path.write_text("A man is riding.\nA horse.\n")
    return path


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("²", "{text}:²: no such file"),
        ("٣", "{text}:٣: no such file"),
        ("-1", "{text}:-1: no such file"),
        ("9" * 5000, "{text}: too many words to take; expected a number of at most 18 digits; got '9999"),
    ],
)
def test_a_number_of_words_that_is_none(run: Any, text: Path, words: str, message: str) -> None:
    out, held_out = text.with_name("out"), text.with_name("held-out")
    result = run("prepare", f"{text}:{words}", "--out", out, "--held-out", held_out)
    assert result.exit_code == 2
    assert result.stderr.startswith(f"nbest: error: {message.format(text=text)}")
    assert len(result.stderr) < 300
    assert not out.exists()


def test_a_number_of_words_is_taken(run: Any, text: Path) -> None:
    out, held_out = text.with_name("out"), text.with_name("held-out")
    assert run("prepare", f"{text}:1", "--out", out, "--held-out", held_out).exit_code == 0
    assert out.read_text().count("\n") == 1


@pytest.mark.parametrize("other", ["{out}", "{folder}/./out", "{folder}/link"])
def test_two_texts_do_not_go_to_one_file(run: Any, text: Path, other: str) -> None:
    out = text.with_name("out")
    text.with_name("link").symlink_to(out)
    result = run("prepare", text, "--out", out, "--held-out", other.format(out=out, folder=out.parent))
    assert result.exit_code == 2
    assert "training and held-out text cannot go to one file" in result.stderr
    assert not out.exists()


def test_both_texts_are_written_or_none(run: Any, text: Path) -> None:
    fine = text.with_name("fine")
    result = run("prepare", text, "--out", "/dev/full", "--held-out", fine)
    assert result.stderr == "nbest: error: /dev/full: cannot be written: No space left on device\n"
    assert result.exit_code == 2
    assert not fine.exists()


@pytest.mark.parametrize("option", ["--description", "--licence", "--attribution", "--out"])
def test_the_card_is_utf8(run: Any, text: Path, option: str) -> None:
    arguments = ["train", "--train", text, "--valid", text, "--out", text.with_name("m")]
    result = run(*arguments, option, f"{text.with_name('x')}\udcff")
    assert result.exit_code == 2
    assert re.search(rf"Invalid value for '{option}': not UTF-8: '.*x\\udcff'", result.stderr)
    assert not list(text.parent.glob("m*.training"))
    assert not text.with_name("m").exists()


@pytest.mark.parametrize("option", ["--train", "--valid"])
def test_training_reads_its_texts_more_than_once(run: Any, text: Path, option: str) -> None:
    texts = {"--train": text, "--valid": text} | {option: "-"}
    result = run("train", *chain(*texts.items()), "--out", text.with_name("m"))
    assert result.stderr == "nbest: error: -: cannot be read more than once; expected a file\n"
    assert result.exit_code == 2


def test_score_takes_one_model_and_says_so(run: Any, tmp_path: Path) -> None:
    (tmp_path / "text").write_text("a man\n")
    result = run("score", tmp_path / "text", "--lm", "small", "--lm", "base")
    assert result.exit_code == 2
    assert "--lm: one model at a time; expected one --lm; got 'small, base'" in result.stderr
