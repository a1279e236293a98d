"""nbest compare, and the breakdowns, clusters and confusions of nbest evaluate."""

import json
from pathlib import Path
from typing import Any

import pytest

from rescoring.metrics import get_metric


@pytest.fixture
def outputs(tmp_path: Path) -> Path:
    """Kaldi text of 40 utterances of 4 speakers: references, three outputs of A, two of B."""
    words = "a man is riding a horse on the beach today".split(" ")

    def write(name: str, wrong: int, shift: int) -> None:
        lines = []
        for utterance in range(40):
            text = list(words[: 4 + utterance % 7])
            for k in range(wrong):
                if (utterance + shift + k) % (3 + shift) == 0:
                    text[k] = "x"
            lines.append(f"{'abcd'[utterance % 4]}nn_{utterance} {' '.join(text)}\n")
        (tmp_path / name).write_text("".join(lines))

    write("ref", 0, 0)
    for run, shift in enumerate((0, 1, 2)):
        write(f"base.{run}.hyp", 3, shift)
    for run, shift in enumerate((0, 1)):
        write(f"new.{run}.hyp", 1, shift)
    return tmp_path


def test_two_outputs(run: Any, outputs: Path) -> None:
    arguments = ["compare", outputs / "base.0.hyp", outputs / "new.0.hyp", "--ref", outputs / "ref"]
    arguments += ["--metric", "wer", "--samples", 200, "--trials", 500]
    found = json.loads(run(*arguments, "--json").stdout)
    scores = [
        json.loads(run("evaluate", outputs / name, *arguments[3:7], "--json").stdout)["score"]
        for name in ("base.0.hyp", "new.0.hyp")
    ]
    assert [found["a"]["scores"], found["b"]["scores"]] == [[scores[0]], [scores[1]]]
    assert found["difference"] == scores[1] - scores[0] < 0
    assert found["interval"][0] < found["difference"] < found["interval"][1]
    assert found["interval_with_runs"] is None
    errors = found["a"]["counts"][0]
    assert errors["reference_words"] * scores[0] / 100 == pytest.approx(
        sum(errors[kind] for kind in ("substitutions", "deletions", "insertions"))
    )
    assert found["a"]["deviation"] is None
    assert not found["larger_is_better"]
    tests = {one["test"]: one for one in found["tests"]}
    assert set(tests) == {"randomization", "bootstrap", "mapsswe"}
    assert tests["randomization"]["p_value"] == 1 / 501
    assert tests["mapsswe"]["statistic"] < -2
    assert found["signature"].endswith("|bootstrap:200|trials:500|seed:12345")
    result = run(*arguments)
    said = result.stdout
    assert f"B - A  {found['difference']:+.2f}  95% [" in said
    assert "smaller is better" in said
    assert said.split("\n")[0].split()[-4:] == list(errors)
    assert said.split("\n")[1].split()[-4:] == [str(count) for count in errors.values()]
    assert "deviation" not in said
    assert "matched pairs (MAPSSWE)" in said
    assert "over 40 segments" in said
    assert result.stderr == ""


def test_the_baseline_of_evaluate_is_the_same(run: Any, outputs: Path) -> None:
    common = ["--ref", outputs / "ref", "--metric", "bleu", "--json"]
    pair = [outputs / "base.0.hyp", outputs / "new.1.hyp"]
    compared = json.loads(run("compare", *pair, *common).stdout)
    evaluated = json.loads(run("evaluate", pair[1], "--baseline", pair[0], *common).stdout)["baseline"]
    assert evaluated["difference"] == compared["difference"]
    assert evaluated["interval"] == compared["interval"]
    assert evaluated["p_value"] == compared["tests"][0]["p_value"]


def test_several_runs_by_a_pattern(run: Any, outputs: Path) -> None:
    arguments = ["compare", outputs / "base.*.hyp", outputs / "new.*.hyp", "--ref", outputs / "ref"]
    arguments += ["--metric", "wer", "--trials", 500]
    found = json.loads(run(*arguments, "--json").stdout)
    assert [Path(name).name for name in found["a"]["outputs"]] == ["base.0.hyp", "base.1.hyp", "base.2.hyp"]
    assert len(found["b"]["scores"]) == 2
    assert found["a"]["mean"] == pytest.approx(sum(found["a"]["scores"]) / 3)
    assert found["difference"] == pytest.approx(found["b"]["mean"] - found["a"]["mean"])
    assert found["a"]["deviation"] > 0
    low, high = found["interval_with_runs"]
    assert low <= found["difference"] <= high
    tests = {one["test"]: one for one in found["tests"]}
    assert (tests["runs"]["p_value"], tests["runs"]["note"]) == (
        1 / 10,
        "10 ways to divide the runs: p is 0.1 or more",
    )
    assert tests["mapsswe"]["p_value"] is None
    said = run(*arguments).stdout
    assert "over segments and runs" in said
    assert "deviation" in said
    assert "compares one output with one other" in said


def test_other_orders_and_formats(run: Any, outputs: Path) -> None:
    """The same utterances in another order, as JSON Lines: as good as the first file."""
    lines = (outputs / "base.0.hyp").read_text().rstrip("\n").split("\n")
    turned = [line.split(" ", 1) for line in reversed(lines)]
    documents = [json.dumps({"id": name, "text": text}) + "\n" for name, text in turned]
    (outputs / "turned").write_text("".join(documents))
    arguments = [outputs / "base.0.hyp", outputs / "turned", "--ref", outputs / "ref", "--metric", "wer"]
    found = json.loads(run("compare", *arguments, "--json").stdout)
    assert found["difference"] == 0.0
    assert [one["p_value"] for one in found["tests"]] == [1.0, 1.0, 1.0]


def test_breakdowns_of_two(run: Any, outputs: Path) -> None:
    (outputs / "utt2spk").write_text("".join(f"{'abcd'[k % 4]}nn_{k} s{k % 2}\n" for k in range(40)))
    (outputs / "known").write_text("a\nman\nis\nriding\nhorse\n")
    arguments = ["compare", outputs / "base.0.hyp", outputs / "new.0.hyp", "--ref", outputs / "ref"]
    arguments += ["--metric", "wer", "--samples", 50, "--trials", 50, "--by", "length"]
    arguments += ["--by", f"speaker={outputs / 'utt2spk'}", "--by", "corpus=prefix:_"]
    arguments += ["--by", f"oov={outputs / 'known'}"]
    found = {one["by"]: one["groups"] for one in json.loads(run(*arguments, "--json").stdout)["breakdowns"]}
    assert [group["label"] for group in found["length"]] == ["1-5", "6-10"]
    assert [group["label"] for group in found["speaker"]] == ["s0", "s1"]
    assert [group["label"] for group in found["corpus"]] == ["ann", "bnn", "cnn", "dnn"]
    assert [group["label"] for group in found["oov"]] == ["0", "1", "2", "3+"]
    for groups in found.values():
        assert sum(group["segments"] for group in groups) == 40
        for group in groups:
            assert group["difference"] == group["scores"][1] - group["scores"][0]
    lines = run(*arguments).stdout.split("\n")
    assert any(line.split() == "corpus segments A B difference 95% interval".split() for line in lines)


def test_unknown_words_of_a_model(run: Any, outputs: Path) -> None:
    arguments = ["evaluate", outputs / "new.0.hyp", "--ref", outputs / "ref", "--metric", "wer"]
    (one,) = json.loads(run(*arguments, "--by", "oov=small", "--json").stdout)["breakdowns"]
    assert sum(group["segments"] for group in one["groups"]) == 40


def test_clusters_are_wider(run: Any, outputs: Path) -> None:
    (outputs / "half").write_text("".join(f"{'abcd'[k % 4]}nn_{k} s{k // 20}\n" for k in range(40)))
    arguments = ["evaluate", outputs / "base.0.hyp", "--ref", outputs / "ref", "--metric", "wer"]
    result = run(*arguments, "--cluster", "prefix:_")
    assert "40 segments in 4 clusters\n" in result.stdout
    assert "|bootstrap:1000|seed:12345|clusters:4" in result.stdout
    assert "only 4 clusters to resample: intervals and p-values are rough" in result.stderr
    found = json.loads(run(*arguments, "--cluster", outputs / "half", "--json").stdout)
    assert found["clusters"] == 2
    compared = run("compare", outputs / "base.0.hyp", *arguments[1:], "--cluster", "prefix:_")
    assert "over 4 clusters" in compared.stdout


def test_confusions(run: Any, tmp_path: Path) -> None:
    (tmp_path / "hyp").write_text("a x c\na x d q\n\n")
    (tmp_path / "ref").write_text("a b c\na b d\nlost\n")
    arguments = ["evaluate", tmp_path / "hyp", "--ref", tmp_path / "ref", "--metric", "wer"]
    found = json.loads(run(*arguments, "--confusions", 5, "--json").stdout)["confusions"]
    assert found == {
        "substitutions": [{"reference": "b", "hypothesis": "x", "times": 2}],
        "deletions": [{"reference": "lost", "times": 1}],
        "insertions": [{"hypothesis": "q", "times": 1}],
    }
    lines = run(*arguments, "--confusions", 5).stdout.split("\n")
    assert "substitutions 2   deletions 1   insertions 1" in lines
    assert "    2  b -> x         1  lost       1  q" in lines
    refused = run(*arguments[:4], "--metric", "bleu", "--confusions", 5)
    assert refused.exit_code == 2
    assert "confusions are of words" in refused.stderr


def test_a_single_segment(run: Any, tmp_path: Path) -> None:
    (tmp_path / "one").write_text("a b c d x\n")
    (tmp_path / "two").write_text("a b c d e\n")
    arguments = [tmp_path / "one", tmp_path / "two", "--ref", tmp_path / "two", "--metric", "wer"]
    result = run("compare", *arguments, "--by", "length")
    assert result.exit_code == 0, result.output
    assert "B - A  -20.00  95% [-20.00, -20.00] over 1 segments" in result.stdout
    assert "only 1 segments to resample" in result.stderr
    assert "too few errors" in result.stdout
    found = json.loads(run("compare", *arguments, "--json").stdout)
    assert found["tests"][0]["p_value"] > 0.9  # two ways to swap, both as far apart
    assert found["tests"][2]["p_value"] is None


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (["--by", "speaker"], "--by: not a breakdown; expected length, oov=FILE"),
        (["--by", "length=3"], "lengths are counted"),
        (["--by", "length", "--by", "length"], "a breakdown is asked for twice; got 'length'"),
        (["--by", "speaker={missing}"], "missing: no such file"),
        (["--by", "oov={missing}"], "missing"),
        (["--by", "speaker={short}"], "39 of 40 segments have no label"),
        (["--cluster", "{short}"], "39 of 40 segments have no label"),
        (["--cluster", "{one}"], "nothing to resample; expected at least 2 clusters; got 1"),
        (["--cluster", "prefix:-"], "40 of 40 segments have no '-' in their id"),
    ],
)
@pytest.mark.parametrize("command", ["evaluate", "compare"])
def test_groups_that_are_not_there(
    run: Any, outputs: Path, command: str, change: list[str], message: str
) -> None:
    (outputs / "short").write_text("ann_0 anna\n")
    (outputs / "one").write_text("anna\n" * 40)
    given = [one.format(**{name: outputs / name for name in ("missing", "short", "one")}) for one in change]
    several = [outputs / "new.0.hyp"] * (2 if command == "compare" else 1)
    result = run(command, *several, "--ref", outputs / "ref", "--metric", "wer", *given)
    assert result.exit_code == 2
    assert message in result.stderr
    assert result.stdout == ""


@pytest.mark.parametrize(
    ("texts", "message"),
    [
        ("ann_0 x\n", "other utterances: 0 lack a hypothesis"),
        ("", "lines"),
    ],
)
def test_outputs_that_do_not_fit(run: Any, outputs: Path, texts: str, message: str) -> None:
    (outputs / "bad").write_text(texts)
    arguments = ["--ref", outputs / "ref", "--metric", "wer"]
    result = run("compare", outputs / "new.0.hyp", outputs / "bad", *arguments)
    assert result.exit_code == 2
    assert str(outputs) in result.stderr


def test_what_is_not_there(run: Any, outputs: Path) -> None:
    arguments = ["--ref", outputs / "ref", "--metric", "wer"]
    result = run("compare", outputs / "new.0.hyp", outputs / "nothing.*.hyp", *arguments)
    assert result.exit_code == 2
    assert "nothing.*.hyp: no file matches the pattern; expected at least one" in result.stderr
    result = run("compare", outputs / "new.0.hyp", outputs / "nothing", *arguments)
    assert "nothing: no such file" in result.stderr
    (outputs / "base.[0].hyp").write_text((outputs / "base.0.hyp").read_text())  # a name, not a pattern
    result = run("compare", outputs / "base.[0].hyp", outputs / "base.0.hyp", *arguments, "--json")
    assert json.loads(result.stdout)["difference"] == 0.0


def test_bleu_of_lists(run: Any, lists: Path, references: Path) -> None:
    """N-best lists as they stand, against a text."""
    text = lists.parent / "hyp"
    text.write_text("a man is riding\na horse\n")
    arguments = ["compare", lists, text, "--ref", references, "--metric", "ter", "--json"]
    found = json.loads(run(*arguments).stdout)
    refs = [["a man is riding"], ["a horse"]]
    assert found["a"]["mean"] == get_metric("ter").report(["a man is writing", "a horse"], refs).score
    assert found["b"]["mean"] == 0.0


def test_words_do_not_reach_the_terminal_as_orders(run: Any, tmp_path: Path) -> None:
    (tmp_path / "hyp").write_text("\x1b[2Ja b\n")
    (tmp_path / "ref").write_text("a c\n")
    (tmp_path / "map").write_text("\x1b[31mred\n")
    arguments = ["evaluate", tmp_path / "hyp", "--ref", tmp_path / "ref", "--metric", "wer"]
    result = run(*arguments, "--confusions", 3, "--by", f"x={tmp_path / 'map'}")
    assert result.exit_code == 0, result.output
    assert "\x1b" not in result.stdout
    assert "\ufffd[2Ja" in result.stdout
