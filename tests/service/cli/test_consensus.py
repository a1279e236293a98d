"""nbest consensus, and mixtures as language models."""

import json
from pathlib import Path
from typing import Any

import pytest

MODEL = '{"format": "nbest-weights/1", "features": {"LM0": 1, "TM0": [1, 1], "mix": 1}}'


@pytest.fixture
def plain(tmp_path: Path) -> Path:
    path = tmp_path / "plain.json"
    path.write_text(MODEL.replace(', "mix": 1', ""))
    return path


def test_scale_is_tuned_then_given(
    run: Any, lists: Path, references: Path, plain: Path, tmp_path: Path
) -> None:
    sure = tmp_path / "sure.jsonl"
    tuned = run("consensus", lists, "--weights", plain, "--loss", "wer", "--ref", references)
    assert tuned.exit_code == 0, tuned.output
    assert "by consensus\n" in tuned.stderr
    scale = tuned.stderr.rpartition("scale ")[2].strip()
    arguments = ["consensus", lists, "--weights", plain, "--loss", "wer", "--scale", scale]
    again = run(*arguments, "--confidences", sure)
    assert again.stdout == tuned.stdout
    lines = [json.loads(line) for line in sure.read_text().split("\n")[:-1]]
    assert [line["text"] for line in lines] == again.stdout.split("\n")[:-1]
    for line in lines:
        assert [one["word"] for one in line["words"]] == line["text"].split()
        assert all(line["confidence"] <= one["confidence"] <= 1 for one in line["words"])


@pytest.mark.parametrize("given", [[], ["--scale", 1, "--ref", "refs"]])
def test_a_scale_is_given_or_tuned(run: Any, lists: Path, plain: Path, given: list[Any]) -> None:
    result = run("consensus", lists, "--weights", plain, "--loss", "bleu", *given)
    assert result.exit_code == 2
    assert "either --scale or --ref" in result.stderr


def test_a_mixture_is_a_model(run: Any, lists: Path, tiny: Path, tmp_path: Path) -> None:
    weights = tmp_path / "w.json"
    weights.write_text(MODEL)
    mixed = run("rescore", lists, "--lm", f"mix:0.5*{tiny}+0.5*{tiny}", "--weights", weights)
    assert mixed.exit_code == 0, mixed.output
    weights.write_text(MODEL.replace("mix", "tiny"))
    alone = run("rescore", lists, "--lm", tiny, "--weights", weights)

    def totals(output: str) -> list[float]:
        return [float(line.split(" ||| ")[3]) for line in output.split("\n")[:-1]]

    assert totals(mixed.stdout) == pytest.approx(totals(alone.stdout), abs=1e-3)
    refused = run("rescore", lists, "--lm", f"mix:0.5*{tiny}+0.6*{tiny}", "--weights", weights)
    assert "the weights of a mixture are a distribution" in refused.stderr
