"""nbest compress: a model that works, a card that says where it comes from, mistakes that are named."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from models import checkpoint
from models.architectures import architecture
from models.language_model import LanguageModel
from models.vocabulary import SPECIAL, Vocabulary


@pytest.fixture
def dense(tmp_path: Path) -> Path:
    """A dense model of a few kilobytes."""
    vocabulary = Vocabulary((*SPECIAL, "a", "man", "horse", "is", "riding", "writing"), unseen_types=7)
    torch.manual_seed(1)
    model = LanguageModel(architecture("lstm", len(vocabulary), 16, 1))
    card = checkpoint.ModelCard(name="dense", licence="CC0-1.0", perplexity={"valid": 21.5})
    checkpoint.save(tmp_path / "dense", model, vocabulary, card)
    return tmp_path / "dense"


def _config(path: Path) -> dict[str, Any]:
    config: dict[str, Any] = json.loads((path / checkpoint.CONFIG).read_text())
    return config


@pytest.mark.parametrize(
    ("options", "method", "kinds"),
    [
        (["--int8"], "int8", {"quantized"}),
        (["--prune", 0.75], "prune", {"pruned"}),
        (["--prune", 0.75, "--one-threshold"], "prune", {"pruned"}),
        (["--low-rank", 4], "low-rank", {"low_rank"}),
        (["--low-rank", 4, "--by-frequency"], "low-rank", {"low_rank"}),
        (["--joint-low-rank", 4], "joint-low-rank", {"dense"}),
        (["--slim", 3], "slim", {"dense", "slim"}),
        (["--slim", 4, "--parts", 4, "--only", "output"], "slim", {"dense", "slim"}),
    ],
)
def test_a_smaller_model_that_scores(
    run: Any, dense: Path, tmp_path: Path, options: list[object], method: str, kinds: set[str]
) -> None:
    out = tmp_path / "smaller"
    result = run("compress", dense, "--out", out, *options)
    assert (result.exit_code, result.stdout) == (0, ""), result.output
    made = checkpoint.load(out)
    assert {slot.spec.kind for slot in made.model.config.slots()} == kinds
    (entry,) = made.card.training["compression"]
    source = checkpoint.load(dense)
    assert entry["method"] == method
    assert (entry["source"], entry["source_digest"]) == ("dense", source.digest)
    assert entry["source_perplexity"] == {"valid": 21.5}
    assert entry["by_frequency"] is (method == "slim" or "--by-frequency" in options)
    assert (made.card.name, made.card.licence, made.card.perplexity) == ("smaller", "CC0-1.0", {})
    before, after = entry["stored_bytes"]["before"], entry["stored_bytes"]["after"]
    assert after < before
    last = result.stderr.strip().split("\n")[-1]
    assert last == f"{out}: {before:,} bytes of numbers before, {after:,} after"
    document = json.loads(run("info", out, "--json").stdout)
    assert sum(part["paper_bytes"] + part["extra_bytes"] for part in document["parts"]) == pytest.approx(
        after, abs=4
    )
    assert run("score", "--lm", out, given="a man is riding\n").exit_code == 0


def test_the_report_names_every_matrix(run: Any, dense: Path, tmp_path: Path) -> None:
    lines = run("compress", dense, "--out", tmp_path / "q", "--int8", "--only", "gates,output").stderr.split(
        "\n"
    )
    assert lines[:5] == [
        "embedding: as it was, dense 9 x 16",
        "layer0.recurrent: dense 64 x 16, 4,096 bytes -> quantized 64 x 16, 1,032 bytes",
        "layer0.input: dense 64 x 16, 4,096 bytes -> quantized 64 x 16, 1,032 bytes",
        "output: dense 9 x 16, 576 bytes -> quantized 9 x 16, 152 bytes",
        "layer0.bias: as it was, float32 64",
    ]
    joint = run(
        "compress", dense, "--out", tmp_path / "j", "--joint-low-rank", 3, "--only", "output,gates"
    ).stderr
    assert "embedding: as it was, dense 9 x 16" in joint
    assert "layer0.projection: new, dense 3 x 16, 192 bytes" in joint
    assert "output: dense 9 x 16, 576 bytes -> dense 9 x 3, 108 bytes" in joint


def test_pruning_says_what_is_left_of_each_matrix(run: Any, dense: Path, tmp_path: Path) -> None:
    result = run("compress", dense, "--out", tmp_path / "p", "--prune", 0.97, "--only", "output")
    lines = result.stderr.strip().split("\n")
    assert lines[3] == ("output: dense 9 x 16, 576 bytes -> pruned 9 x 16, 20 bytes (2.8% of its numbers)"), (
        lines
    )
    assert lines[5].startswith("nbest: warning: output: ")
    assert lines[5].endswith(" of its 9 rows are empty, 4 of 144 numbers are left")
    assert len(lines) == 7


def test_one_after_the_other(run: Any, dense: Path, tmp_path: Path) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    assert run("compress", dense, "--out", first, "--joint-low-rank", 4).exit_code == 0
    assert run("compress", first, "--out", second, "--int8").exit_code == 0
    steps = checkpoint.load(second).card.training["compression"]
    assert [step["method"] for step in steps] == ["joint-low-rank", "int8"]
    assert steps[1]["source_digest"] == checkpoint.load(first).digest
    shown = run("info", second).stdout
    assert f"joint-low-rank 4, from dense ({checkpoint.load(dense).digest})" in shown
    assert f"int8, from first ({checkpoint.load(first).digest})" in shown


def test_what_becomes_larger_is_said(run: Any, dense: Path, tmp_path: Path) -> None:
    result = run("compress", dense, "--out", tmp_path / "full", "--low-rank", 9, "--only", "embedding")
    assert result.exit_code == 0, result.stderr
    assert "nbest: warning: embedding has become larger\n" in result.stderr
    smaller = run("compress", dense, "--out", tmp_path / "small", "--low-rank", 2, "--only", "embedding")
    assert "has become larger" not in smaller.stderr


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (
            [],
            "one of --int8, --prune, --low-rank, --joint-low-rank, --slim; got none",
        ),
        (["--int8", "--low-rank", 4], "--slim; got --int8, --low-rank"),
        (["--int8", "--one-threshold"], "--one-threshold goes with --prune; got --int8"),
        (["--int8", "--parts", 4], "--parts goes with --slim; got --int8"),
        (["--slim", 10], "out of range; expected from 1 to 9, the words there are; got 10"),
        (["--slim", 3, "--parts", 5], "does not divide the vector size; expected a divisor of 16; got 5"),
        (
            ["--slim", 3, "--parts", 2**31],
            "does not divide the vector size; expected a divisor of 16; got 2147483648",
        ),
        (["--int8", "--only", ","], "--only: an empty name; expected NAME,NAME; got ','"),
        (["--int8", "--by-frequency"], "go with --prune, --low-rank and --slim; got --int8"),
        (["--prune", 0.5, "--one-threshold", "--all-alike"], "and --slim; got --one-threshold"),
        (["--prune", 1], "share to prune out of range; expected above 0, below 1; got 1.0"),
        (["--prune", 0], "share to prune out of range; expected above 0, below 1; got 0.0"),
        (["--prune", "nan"], "share to prune out of range; expected above 0, below 1; got nan"),
        (
            ["--low-rank", 10],
            "embedding: low rank: more than the matrix can have; expected at most 9; got 10",
        ),
        (["--low-rank", 10**30], "--low-rank"),
        (["--joint-low-rank", 17], "rank out of range; expected from 1 to 16; got 17"),
        (["--joint-low-rank", 4, "--only", "gates"], "--only: a joint SVD takes all layers and the output"),
        (["--int8", "--only", "softmax"], "no such matrix; expected one of embedding, layer0.recurrent,"),
        (["--int8", "--only", "gates,gates"], "a matrix is named twice; got layer0.recurrent, by gates too"),
    ],
)
def test_mistakes_are_named_and_nothing_is_written(
    run: Any, dense: Path, tmp_path: Path, options: list[object], words: str
) -> None:
    result = run("compress", dense, "--out", tmp_path / "out", *options)
    assert result.exit_code == 2, result.output
    assert words in result.stderr
    assert not (tmp_path / "out").exists()


def test_a_model_without_dense_matrices(run: Any, tiny: Path, tmp_path: Path) -> None:
    result = run("compress", tiny, "--out", tmp_path / "out", "--int8")
    assert result.exit_code == 2
    assert (
        "no matrix of the model has numbers of 32 bits; expected dense or slim or frequency or low_rank or "
        "tensor_train or pruned; got binary" in result.stderr
    )


def test_a_model_is_not_overwritten(run: Any, dense: Path) -> None:
    result = run("compress", dense, "--out", dense, "--int8")
    assert result.exit_code == 2
    assert "is a directory in use" in result.stderr
    assert {slot.spec.kind for slot in checkpoint.load(dense).model.config.slots()} == {"dense"}
