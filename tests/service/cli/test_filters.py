"""--text, --filter, --ref-filter, --detokenize: the same names everywhere, and in every signature."""

import json
from pathlib import Path
from typing import Any

import pytest


@pytest.fixture
def shouted(tmp_path: Path) -> Path:
    path = tmp_path / "shouted.nbest"
    path.write_text("0 ||| A MAN uh ||| d= 1 ||| -2\n0 ||| A HORSE ||| d= 1 ||| -2\n")
    return path


def test_models_are_given_the_text_that_is_asked_for(run: Any, shouted: Path, weights: Path) -> None:
    result = run("rescore", shouted, "--lm", "small", "--text", "hesitations,lower")
    assert result.exit_code == 0, result.output
    assert " small= -3.5 small.oov= 0 " in result.stdout  # of "a man"
    assert "0 ||| A MAN uh |||" in result.stdout
    assert "|text:hesitations.1,lower.1\n" in result.stderr
    refused = run("rescore", shouted, "--lm", "small", "--text", "upper")
    assert (refused.exit_code, "unknown text pipeline" in refused.stderr) == (2, True)


def test_weights_know_the_text_they_were_made_for(run: Any, shouted: Path, tmp_path: Path) -> None:
    weights = tmp_path / "w.json"
    weights.write_text(
        json.dumps({"format": "nbest-weights/1", "features": {"small": 1, "d": 1}, "text": "lower.1"})
    )
    same = run("rescore", shouted, "--lm", "small", "--weights", weights, "--text", "lower")
    assert same.exit_code == 0
    other = run("rescore", shouted, "--lm", "small", "--weights", weights, "--text", "raw")
    assert (other.exit_code, other.stderr) == (
        2,
        "nbest: error: another text pipeline; expected 'lower.1'; got 'raw'\n",
    )


def test_a_best_text_as_it_is_printed(run: Any, tmp_path: Path) -> None:
    path = tmp_path / "x"
    path.write_text("0 ||| it &apos;s a well @-@ known man . ||| d= 1 ||| -2\n")
    result = run("rescore", path, "--one-best", "--detokenize")
    assert result.stdout == "it's a well-known man.\n"
    assert run("rescore", path, "--detokenize").exit_code == 2


def test_both_sides_are_filtered_and_the_signature_says_so(run: Any, tmp_path: Path) -> None:
    (tmp_path / "hyp").write_text("uh The cat SAT\n")
    (tmp_path / "ref").write_text("<x> the cat sat um\n")
    plain = ["evaluate", tmp_path / "hyp", "--ref", tmp_path / "ref", "--metric", "wer", "--json"]
    assert json.loads(run(*plain).stdout)["score"] > 50
    found = json.loads(run(*plain, "--filter", "hesitations,lower", "--ref-filter", "tags").stdout)
    assert found["score"] == 0
    assert found["signature"].endswith("|filter:hesitations.1,lower.1|ref-filter:tags.1")
    assert "filter" not in json.loads(run(*plain).stdout)["signature"]


def test_bleu_of_tokens_is_said_to_be_that(run: Any, tmp_path: Path) -> None:
    (tmp_path / "hyp").write_text("the cat &apos;s here , now .\n")
    (tmp_path / "ref").write_text("the cat &apos;s here , now .\n")
    command = ["evaluate", tmp_path / "hyp", "--ref", tmp_path / "ref", "--metric", "bleu"]
    said = "BLEU of the tokens as they are (tokenize none): not comparable with BLEU of plain text"
    assert said in run(*command).stderr
    printed = run(*command, "--detokenize", "--tokenize", "13a")
    assert said not in printed.stderr
    assert "|filter:detokenize.1" in printed.stdout


def test_oracle_and_tune_filter_too(run: Any, shouted: Path, tmp_path: Path) -> None:
    (tmp_path / "ref").write_text("a man\n")
    command = [shouted, "--ref", tmp_path / "ref", "--metric", "wer", "--filter", "hesitations,lower"]
    result = run("oracle", *command)
    assert "oracle 0.00" in result.stdout
    assert "|filter:hesitations.1,lower.1" in result.stdout
    tuned = run("tune", *command, "--lm", "small", "--restarts", 1)
    assert tuned.exit_code == 0, tuned.output
    assert json.loads(tuned.stdout)["tuning"]["signature"].endswith("|filter:hesitations.1,lower.1")


def test_several_references_by_their_number(run: Any, tmp_path: Path) -> None:
    (tmp_path / "hyp").write_text("a b c d e\n")
    for number, text in enumerate(("a c", "a b c d e")):
        (tmp_path / f"ref{number}").write_text(f"{text}\n")
    result = run("evaluate", tmp_path / "hyp", "--ref", tmp_path / "ref", "--metric", "bleu", "--json")
    found = json.loads(result.stdout)
    assert found["score"] == 100
    assert "nrefs:2" in found["signature"]
