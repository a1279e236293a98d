"""nbest tune's optimizers, constraints, runs, merged lists and grid; evaluate on tuning data."""

import json
import re
from pathlib import Path
from typing import Any

import pytest

TUNE = ["--metric", "wer", "--restarts", 1]


@pytest.mark.parametrize("optimizer", ["mert", "risk", "mira", "choose"])
def test_every_optimizer(run: Any, lists: Path, references: Path, optimizer: str) -> None:
    given = ["--folds", 2] if optimizer == "choose" else []
    result = run("tune", lists, "--ref", references, *TUNE, "--optimizer", optimizer, *given)
    assert result.exit_code == 0, result.output
    tuned = json.loads(result.stdout)
    assert set(tuned["features"]) == {"LM0", "TM0", "word_count"}
    assert tuned["tuning"]["restarts"] == 1
    if optimizer == "choose":
        assert len(re.findall("held out on 2 folds: ", result.stderr)) == 6
        assert tuned["tuning"]["optimizer"].split(",")[0] in ("mert", "risk", "mira")
    else:
        assert tuned["tuning"]["optimizer"] == optimizer
        assert tuned["tuning"]["score"] == 0.0


@pytest.mark.parametrize("metric", ["chrf", "ter", "cer", "bleu-0.5*ter"])
def test_every_metric(run: Any, lists: Path, references: Path, metric: str) -> None:
    arguments = [lists, "--ref", references, "--metric", metric]
    result = run("tune", *arguments, "--restarts", 1)
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout)["tuning"]["metric"] == metric
    for command in ("evaluate", "oracle"):
        assert run(command, *arguments).stdout.startswith(f"{metric} ")


def test_rules(run: Any, lists: Path, references: Path, tmp_path: Path) -> None:
    start = tmp_path / "start.json"
    start.write_text(
        '{"format": "nbest-weights/1", "features": {"LM0": 1, "TM0": [0.5, 0.25], "word_count": 3}}'
    )
    result = run(
        "tune", lists, "--ref", references, *TUNE, "--initial", start, "--range", "word_count=-1:2",
        "--range", "LM0=0:", "--group", "TM0",
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    tuned = json.loads(result.stdout)["features"]
    assert tuned["TM0"][0] == pytest.approx(2 * tuned["TM0"][1])
    assert -1 <= tuned["word_count"] <= 2
    assert tuned["LM0"] >= 0


def test_several_runs(run: Any, lists: Path, references: Path, tmp_path: Path) -> None:
    out = tmp_path / "w.json"
    result = run("tune", lists, "--ref", references, *TUNE, "--runs", 3, "--seed", 5, "--out", out)
    assert "wer of 3 runs: mean 0.00, standard deviation 0.00, 0.00 to 0.00\n" in result.stderr
    tuning = json.loads(out.read_text())["tuning"]
    assert tuning["runs"] == [0.0, 0.0, 0.0]
    assert tuning["seed"] == 5
    again = run("evaluate", lists, "--ref", references, "--metric", "wer", "--weights", out)
    assert again.exit_code == 2
    assert "or --tuning-data" in again.stderr
    asked = run("evaluate", lists, "--ref", references, "--metric", "wer", "--weights", out, "--tuning-data")
    assert asked.stdout.rstrip("\n").endswith("|data:tuned-on")


def test_runs_of_the_decoder_are_merged(run: Any, lists: Path, references: Path, tmp_path: Path) -> None:
    second = tmp_path / "second.nbest"
    second.write_text(lists.read_text().replace("a man is writing", "no man is writing"))
    result = run("tune", lists, "--merge", second, "--ref", references, *TUNE)
    assert result.exit_code == 0, result.output
    assert "2 lists, 5 hypotheses, 4 weights to tune" in result.stderr


def test_the_grid_speaks_kaldi(run: Any, tmp_path: Path) -> None:
    lines = []
    for number, (good, bad) in enumerate([("a b", "a b c"), ("d", "e d")]):
        hypotheses = [
            {"text": text, "features": {"ac": ac, "old": old, "new": new}}
            for text, ac, old, new in ((bad, -10.0, -2.0, -3.0), (good, -30.0, -1.0, -0.5))
        ]
        lines.append(json.dumps({"id": str(number), "references": [good], "hypotheses": hypotheses}))
    path = tmp_path / "lists.jsonl"
    path.write_text("\n".join(lines) + "\n")
    arguments = ["tune", path, "--metric", "wer", "--optimizer", "grid", "--mix", "old,new"]
    result = run(*arguments, "--lmwt", "5:10", "--wip", "0,1")
    assert result.exit_code == 0, result.output
    tuned = json.loads(result.stdout)
    assert tuned["features"]["ac"] == 1.0
    assert tuned["tuning"]["optimizer"] == "grid"
    assert tuned["tuning"]["score"] == 0.0
    assert re.search(r"^LMWT +wip 0 +wip 1$", result.stderr, flags=re.MULTILINE)
    said = re.search("^LMWT ([0-9]+)  word insertion penalty ([01])  ([0-9.]+) old  ([0-9.]+) new$", result.stderr, flags=re.MULTILINE)  # fmt: skip # noqa: E501
    assert said is not None
    weight, penalty, old, new = map(float, said.groups())
    assert tuned["features"]["old"] == pytest.approx(weight * old)
    assert tuned["features"]["new"] == pytest.approx(weight * new)
    assert tuned["features"]["word_count"] == pytest.approx(-weight * penalty)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--range", "LM0=1"], "--range: not a range; expected NAME=LOW:HIGH, once; got 'LM0=1'"),
        (["--range", "LM0=2:1"], "no range for the weight of 'LM0'; expected low:high, low <= high; got 2:1"),
        (["--fix", "LM0=1", "--group", "LM0,TM0"], "two rules for the weight of LM0"),
        (["--optimizer", "grid", "--fix", "LM0=1"], "the grid has its own rules"),
        (["--optimizer", "risk", "--runs", 2], "--runs: risk has no seed: every run is the same"),
        (["--optimizer", "mira", "--l2", 1], "--l2: batch MIRA knows no penalty"),
        (["--mix", "a,b"], "--mix: not a mixture; expected OLD,NEW with --optimizer grid; got 'a,b'"),
        (["--lmwt", "9:7"], "--lmwt: not a range of whole numbers; expected such as 7:17; got '9:7'"),
        (["--optimizer", "grid"], "unknown feature 'ac'"),
    ],
)
def test_what_does_not_go_together(
    run: Any, lists: Path, references: Path, options: list[Any], message: str
) -> None:
    result = run("tune", lists, "--ref", references, *TUNE, *options)
    assert result.exit_code == 2
    assert message in result.stderr


def test_sparse_features_of_tuning_and_test_lists_need_not_be_the_same(run: Any, tmp_path: Path) -> None:
    """As in Moses: absent is 0; what the tuning lists did not show has no weight. Dense ones are required."""
    dev, test, weights = tmp_path / "dev", tmp_path / "test", tmp_path / "w.json"
    dev.write_text(
        "0 ||| a man ||| LM0= -3 WT_a= 1 WT_b= 2 ||| 1\n0 ||| a horse ||| LM0= -2 ||| 1\n"
        "1 ||| a dog ||| LM0= -2 WT_b= 1 ||| 1\n1 ||| a cat ||| LM0= -3 ||| 1\n"
    )
    (tmp_path / "ref").write_text("a man\na dog\n")
    test.write_text("0 ||| a horse ||| LM0= -2 WT_c= 1 ||| 1\n0 ||| a man ||| LM0= -3 WT_b= 2 ||| 1\n")
    tuned = run("tune", dev, "--ref", tmp_path / "ref", "--metric", "wer", "--restarts", 2, "--out", weights)
    assert tuned.exit_code == 0, tuned.output
    assert json.loads(weights.read_text())["sparse"] == ["WT_a", "WT_b"]
    result = run("rescore", test, "--weights", weights, "--one-best")
    assert (result.exit_code, result.stdout) == (0, "a man\n")
    assert "warning: features without a weight are ignored: WT_c" in result.stderr
    test.write_text("0 ||| a horse ||| WT_b= 1 ||| 1\n")
    missing = run("rescore", test, "--weights", weights, "--one-best")
    assert (missing.exit_code, "the lists lack 'LM0'" in missing.stderr) == (2, True)
    test.write_text("0 ||| a horse ||| LM0= -2 LM1= 1 ||| 1\n")
    unknown = run("rescore", test, "--weights", weights, "--one-best")
    assert (unknown.exit_code, "features without a weight: 'LM1'" in unknown.stderr) == (2, True)
