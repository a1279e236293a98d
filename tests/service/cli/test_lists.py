# ruff: noqa: E501 - a table reads better with each case on one line

"""nbest tune, rescore, evaluate, oracle, convert: on files."""

import gzip
import json
import re
from pathlib import Path
from typing import Any

import click
import numpy as np
import pytest

from nbest import __version__
from rescoring.metrics import get_metric
from rescoring.significance import paired_test
from rescoring.weights import read_weights
from service.cli.main import COMMANDS, LazyGroup


def fields(line: str) -> list[str]:
    return [field.strip() for field in line.split("|||")]


def test_rescore_writes_the_lists_back_in_their_format(
    run: Any, lists: Path, weights: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out.gz"
    result = run("rescore", lists, "--lm", "small", "--weights", weights, "--out", out)
    assert result.exit_code == 0, result.output
    lines = gzip.decompress(out.read_bytes()).decode().split("\n")
    # small (tests/service/conftest.py): -10 and -8, -5 and -4; totals LM0 + TM0[0]/2 + 2 small
    assert lines == [
        "0 ||| a man is riding ||| LM0= -4 TM0= -1 -1 small= -8 small.oov= 0 word_count= 4 ||| -20.5",
        "0 ||| a man is writing ||| LM0= -3 TM0= -1 -2 small= -10 small.oov= 0 word_count= 4 ||| -23.5",
        "1 ||| horse ||| LM0= -1 TM0= -2 -3 small= -4 small.oov= 0 word_count= 1 ||| -10",
        "1 ||| a horse ||| LM0= -2 TM0= -1 -1 small= -5 small.oov= 0 word_count= 2 ||| -12.5",
        "",
    ]
    assert (
        "lists 2  hypotheses 4  changed 1-bests 2  small: 4 different texts, 15 tokens, 0 oov"
        in result.stderr
    )
    assert "signature nbest:" in result.stderr
    assert "|small:sha256:" in result.stderr


def test_rescore_one_best_to_standard_output(run: Any, lists: Path, weights: Path) -> None:
    result = run("rescore", lists, "--lm", "small", "--weights", weights, "--one-best")
    assert result.stdout == "a man is riding\nhorse\n"


def test_rescore_reads_standard_input(run: Any, lists: Path, weights: Path) -> None:
    result = run("rescore", "-", "--lm", "small", "--weights", weights, "--one-best", given=lists.read_text())
    assert result.stdout == "a man is riding\nhorse\n"


def test_the_command_line_and_http_rank_alike(
    run: Any, client: Any, lists: Path, weights: Path, world: Any
) -> None:
    (world.weights / "same.json").write_bytes(weights.read_bytes())
    command = run("rescore", lists, "--lm", "small", "--weights", weights)
    http = client.post(
        "/rescore?models=small&weights=same",
        content=lists.read_bytes(),
        headers={"Content-Type": "text/plain"},
    )
    assert http.text == command.stdout
    assert http.headers["x-nbest-signature"].replace("same:", "weights.json:") in command.stderr


def test_rescore_without_weights_says_what_it_did(run: Any, lists: Path) -> None:
    result = run("rescore", lists, "--lm", "small", "--one-best")
    assert result.exit_code == 0
    assert "nbest: warning: no weights given: ranked by decoder_total + small, untuned" in result.stderr
    assert "|weights:untuned:spread:1|" in result.stderr


def test_rescore_without_weights_is_the_same_over_http(run: Any, client: Any, lists: Path) -> None:
    command = run("rescore", lists, "--lm", "small")
    http = client.post(
        "/rescore?models=small", content=lists.read_bytes(), headers={"Content-Type": "text/plain"}
    )
    assert http.text == command.stdout
    assert http.headers["x-nbest-signature"] in command.stderr
    assert http.headers["x-nbest-warnings"].removeprefix("no weights given: ") in command.stderr


INI = (
    "[feature]\nDistortion\nUnknownWordPenalty\n\n[weight]\nUnknownWordPenalty0= 1\nLM0= 0.5\nTM0= 0.25 -4\n"
)


def test_rescore_with_the_weights_of_a_moses_ini(run: Any, lists: Path, tmp_path: Path) -> None:
    ini = tmp_path / "moses.ini"
    ini.write_text(INI)
    result = run("rescore", lists, "--weights", ini)
    assert result.exit_code == 0, result.output
    assert [fields(line)[3] for line in result.stdout.split("\n")[:-1]] == ["6.25", "1.75", "11", "2.75"]
    assert f"nbest: {ini}: UnknownWordPenalty0 is not tuneable" in result.stderr
    with_model = run("rescore", lists, "--weights", ini, "--lm", "small")
    assert with_model.exit_code == 2
    assert "features without a weight: 'small'" in with_model.stderr
    ini.write_text(INI.replace("-4", "x"))
    assert f"{ini}:8" in run("rescore", lists, "--weights", ini).stderr


def test_tune_starts_from_a_moses_ini(run: Any, lists: Path, references: Path, tmp_path: Path) -> None:
    ini = tmp_path / "moses.ini"
    ini.write_text(INI)
    result = run("tune", lists, "--ref", references, "--metric", "wer", "--restarts", 1, "--initial", ini)
    assert result.exit_code == 0, result.output
    assert (
        "wer 33.33 at the start, 0.00 tuned" in result.stderr
    )  # a wrong word in one list, a missing one in the other


def test_rescore_with_a_score_file(run: Any, lists: Path, tmp_path: Path) -> None:
    scores = tmp_path / "scores"
    scores.write_text("1\n2\n3\n4\n")
    weights = tmp_path / "w.json"
    weights.write_text('{"format": "nbest-weights/1", "features": {"new": 1}}')
    arguments = ["rescore", lists, "--weights", weights, "--add-feature", f"new={scores}", "--one-best"]
    refused = run(*arguments)
    assert refused.exit_code == 2
    assert "features without a weight: 'LM0', 'TM0'" in refused.stderr
    result = run(*arguments, "--unknown-feature", "ignore")
    assert result.stdout == "a man is riding\nhorse\n"
    assert "features without a weight are ignored: LM0, TM0" in result.stderr
    chosen = run(*arguments, "--features", "LM0", "--unknown-feature", "ignore")
    assert "are ignored: LM0\n" in chosen.stderr


def test_two_models(run: Any, lists: Path, tmp_path: Path) -> None:
    weights = tmp_path / "w.json"
    weights.write_text(
        '{"format": "nbest-weights/1", "features": {"small": 1, "other": 1, "LM0": 0, "TM0": [0, 0]}}'
    )
    result = run("rescore", lists, "--lm", "small", "--lm", "other", "--weights", weights)
    assert fields(result.stdout.split("\n")[0])[3] == "-16"


def test_tune_finds_better_weights_and_says_how(
    run: Any, lists: Path, references: Path, tmp_path: Path
) -> None:
    out = tmp_path / "tuned.json"
    result = run(
        "tune", lists, "--ref", references, "--lm", "small", "--metric", "wer", "--restarts", 3, "--out", out
    )
    assert result.exit_code == 0, result.output
    tuned = read_weights(out)
    assert set(tuned.features) == {"LM0", "TM0", "small", "small.oov", "word_count"}
    assert [(model.name, model.digest) for model in tuned.models] == [("small", "sha256:" + "0" * 64)]
    assert tuned.tuning is not None
    assert (tuned.tuning.metric, tuned.tuning.restarts, tuned.tuning.seed) == ("wer", 3, 1)
    assert tuned.tuning.score == 0.0
    assert tuned.tuning.signature.startswith(f"nbest:{__version__}|case:mixed|")
    assert f"signature {tuned.tuning.signature}\n" in result.stderr
    said = re.sub("[0-9]+ s$", "0 s", result.stderr, flags=re.MULTILINE)
    assert said.split("\n")[:-2] == [
        "2 lists, 4 hypotheses, 6 weights to tune",
        "features LM0, TM0 (2 columns), small, small.oov, word_count",
        "wer 16.67 as the lists stand, 0.00 by the oracle",
        "wer 0.00 after 1 of 3 descents, 0 s",
        "wer 0.00 after 2 of 3 descents, 0 s",
        "the same throughout every list, so without weight: small.oov",
        "wer 0.00 at the start, 0.00 tuned",
    ]
    rescored = run("rescore", lists, "--lm", "small", "--weights", out, "--one-best")
    assert rescored.stdout == "a man is riding\na horse\n"
    again = run("tune", lists, "--ref", references, "--lm", "small", "--metric", "wer", "--restarts", 3)
    assert again.stdout == out.read_text()  # the same command, the same weights


def test_tune_starts_where_it_is_told_and_keeps_what_is_fixed(
    run: Any, lists: Path, references: Path, weights: Path
) -> None:
    result = run(
        "tune", lists, "--ref", references, "--lm", "small", "--metric", "wer", "--restarts", 1,
        "--initial", weights, "--fix", "LM0=0.25", "--text", "lower",
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    tuned = json.loads(result.stdout)
    assert tuned["features"]["LM0"] == 0.25
    assert tuned["text"] == "lower.1"


def test_tuning_says_little_however_often_it_starts(run: Any, lists: Path, references: Path) -> None:
    said = run("tune", lists, "--ref", references, "--metric", "bleu", "--restarts", 41).stderr
    assert re.findall("after ([0-9]+) of 41", said) == ["1", "10", "20", "30"]
    assert f"signature nbest:{__version__}|nrefs:1|case:mixed|" in said


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--fix", "LM0=nan"], "--fix: the weight of 'LM0' is not finite; expected a finite number; got 'nan'"),
        (["--fix", "LM0=1_0"], "--fix: the weight of 'LM0' is not a number; expected a number; got '1_0'"),
        (["--fix", "LM0=1", "--fix", "LM0=2"], "--fix: a weight is fixed twice; got 'LM0'"),
        (["--fix", "=1"], "--fix: not a weight; expected NAME=WEIGHT; got '=1'"),
        (["--fix", "NOSUCH=1"], "{lists}: unknown feature 'NOSUCH'; expected one of LM0, TM0, small, small.oov, word_count"),
        (["--initial", "{weights}"], "{lists}: unknown feature 'ac'; expected one of LM0, TM0, small, small.oov, word_count"),
    ],
)  # fmt: skip
def test_tune_refuses_before_it_scores(
    run: Any, lists: Path, references: Path, tmp_path: Path, world: Any, options: list[str], message: str
) -> None:
    weights = tmp_path / "ac.json"
    weights.write_text('{"format": "nbest-weights/1", "features": {"LM0": 1, "ac": 1}}')
    given = [option.format(weights=weights) for option in options]
    result = run("tune", lists, "--ref", references, "--metric", "bleu", "--lm", "small", *given)
    assert (result.exit_code, result.stderr) == (2, f"nbest: error: {message.format(lists=lists)}\n")
    assert not any(scorer.calls for scorer in world.opened.values())


def test_tune_refuses_a_negative_seed(run: Any, lists: Path, references: Path) -> None:
    result = run("tune", lists, "--ref", references, "--metric", "bleu", "--seed", -1)
    assert result.exit_code == 2
    assert "'--seed': -1 is not in the range" in result.stderr


def test_rescore_refuses_weights_before_it_scores(run: Any, lists: Path, tmp_path: Path, world: Any) -> None:
    weights = tmp_path / "w.json"
    weights.write_text('{"format": "nbest-weights/1", "features": {"LM0": 1, "small": 1}}')
    result = run("rescore", lists, "--lm", "small", "--weights", weights)
    assert (result.exit_code, "features without a weight: 'TM0'" in result.stderr) == (2, True)
    assert world.opened["small"].calls == []


@pytest.mark.parametrize("metric", ["bleu", "wer"])
@pytest.mark.parametrize("command", ["tune", "evaluate", "oracle"])
def test_references_without_a_word_are_refused(
    run: Any, lists: Path, references: Path, tmp_path: Path, metric: str, command: str
) -> None:
    blank, carried = tmp_path / "blank", tmp_path / "carried.jsonl"
    blank.write_text("\n \n")
    carried.write_text(
        '{"id": "0", "hypotheses": [{"text": "a", "features": {"x": 1}}], "references": [""]}\n'
    )
    for place, arguments in ((blank, [lists, "--ref", blank]), (carried, [carried])):
        result = run(command, *arguments, "--metric", metric)
        assert result.exit_code == 2
        assert result.stderr.startswith(f"nbest: error: {place}: no word in the references; expected ")


def test_a_directory_is_said_to_be_one(run: Any, lists: Path, references: Path, tmp_path: Path) -> None:
    here = tmp_path
    metric = ["--metric", "bleu"]
    for arguments in (
        ["rescore", here],
        ["rescore", lists, "--weights", here],
        ["rescore", lists, "--add-feature", f"x={here}"],
        ["tune", here, "--ref", references, *metric],
        ["tune", lists, "--ref", here, *metric],
        ["tune", lists, "--ref", references, *metric, "--initial", here],
        ["evaluate", references, "--ref", here, *metric],
        ["score", here, "--lm", "small"],
        ["prepare", here, "--out", here / "o", "--held-out", here / "h"],
        ["train", "--train", here, "--valid", references, "--out", here / "m"],
        ["train", "--train", references, "--valid", here, "--out", here / "m"],
    ):
        result = run(*arguments)
        assert (result.exit_code, result.stderr.split(";")[0]) == (2, f"nbest: error: {here}: is a directory")


def kaldi_directory(path: Path) -> Path:
    for name, content in (
        ("words_text", "u-1-1 a man\nu-1-2 a horse\nu-2-1 is\n"),
        ("acwt", "u-1-1 1\nu-1-2 2\nu-2-1 3\n"),
    ):
        (path / "archives.1").mkdir(parents=True, exist_ok=True)
        (path / "archives.1" / name).write_text(content)
    return path


@pytest.mark.parametrize(
    "arguments",
    [
        ["rescore", "{lists}", "--lm", "small"],
        ["rescore", "{kaldi}", "--lm", "small"],
        ["rescore", "{kaldi}", "--lm", "small", "--one-best"],
        ["tune", "{lists}", "--ref", "{refs}", "--metric", "wer", "--lm", "small"],
        ["oracle", "{lists}", "--ref", "{refs}", "--metric", "wer"],
        ["score", "{refs}", "--lm", "small"],
        ["convert", "{lists}"],
        ["convert", "{kaldi}", "--to", "kaldi"],
        ["prepare", "{refs}", "--held-out", "{work}/held-out"],
        ["prepare", "{refs}", "--out", "{work}/text"],
        ["train", "--train", "{refs}", "--valid", "{refs}"],
    ],
)
def test_a_missing_folder_is_noticed_before_the_work(
    run: Any, lists: Path, references: Path, tmp_path: Path, world: Any, arguments: list[str]
) -> None:
    work = tmp_path / "work"
    work.mkdir()
    places = {"lists": lists, "refs": references, "work": work, "kaldi": kaldi_directory(tmp_path / "kaldi")}
    given = [argument.format(**places) for argument in arguments]
    option = "--held-out" if "--out" in given else "--out"
    result = run(*given, option, work / "no" / "out")
    assert (result.exit_code, result.stderr) == (2, f"nbest: error: {work / 'no'}: no such directory\n")
    assert not any(scorer.calls for scorer in world.opened.values())
    assert list(work.iterdir()) == []


def test_a_directory_does_not_go_to_standard_output(run: Any, lists: Path, tmp_path: Path) -> None:
    kaldi = kaldi_directory(tmp_path / "kaldi")
    for arguments in (
        ["convert", kaldi, "--to", "kaldi", "--out", "-"],
        ["rescore", kaldi, "--lm", "small"],
        ["train", "--train", lists, "--valid", lists, "--out", "-"],
    ):
        result = run(*arguments)
        assert result.exit_code == 2
        assert result.stderr == (
            "nbest: error: -: a directory cannot go to standard output; expected a new directory's name\n"
        )
    assert not Path("-").exists()


def test_weights_of_another_version_of_the_model_are_refused(
    run: Any, lists: Path, references: Path, tmp_path: Path, world: Any
) -> None:
    out = tmp_path / "tuned.json"
    assert run("tune", lists, "--ref", references, "--lm", "small", "--metric", "wer", "--restarts", 1, "--out", out).exit_code == 0  # fmt: skip
    world.opened["small"].digest = "sha256:" + "1" * 64
    result = run("rescore", lists, "--lm", "small", "--weights", out)
    assert result.exit_code == 2
    assert "another version of the language model small" in result.stderr


@pytest.mark.parametrize("kind", ["text", "moses", "jsonl"])
def test_evaluate_reads_text_and_lists(
    run: Any, lists: Path, references: Path, tmp_path: Path, kind: str
) -> None:
    output = {"text": tmp_path / "hyp.txt", "moses": lists, "jsonl": tmp_path / "lists.jsonl"}[kind]
    (tmp_path / "hyp.txt").write_text("a man is writing\na horse\n")
    if kind == "jsonl":
        assert run("convert", lists, "--out", output).exit_code == 0
    result = run("evaluate", output, "--ref", references, "--metric", "wer", "--samples", 100)
    assert result.exit_code == 0, result.output
    assert result.stdout.startswith("wer 16.67  95% [0.00, 25.00]  2 segments\n")
    document = json.loads(
        run("evaluate", output, "--ref", references, "--metric", "wer", "--samples", 100, "--json").stdout
    )
    assert document["score"] == pytest.approx(100 / 6)
    assert document["counts"] == {"substitutions": 1, "deletions": 0, "insertions": 0, "reference_words": 6}
    assert document["interval"] == [0.0, 25.0]
    assert document["signature"].endswith("|bootstrap:100|seed:12345")
    assert f"signature {document['signature']}\n" in result.stdout
    assert "baseline" not in document


@pytest.mark.parametrize("metric", ["bleu", "wer"])
def test_evaluate_against_a_baseline(run: Any, tmp_path: Path, metric: str) -> None:
    ref, old, new = (tmp_path / name for name in ("ref", "old", "new"))
    ref.write_text("a man is riding a horse\n" * 12)
    old.write_text("a man is writing a horse\n" * 12)
    new.write_text("a man is riding a horse\n" * 11 + "a man is writing a horse\n")
    arguments = ["evaluate", new, "--ref", ref, "--metric", metric, "--baseline"]
    document = json.loads(run(*arguments, old, "--json").stdout)
    measure = get_metric(metric)
    refs = [("a man is riding a horse",)] * 12
    counts = [measure.counts(place.read_text().split("\n")[:-1], np.arange(12), refs) for place in (old, new)]
    against = document["baseline"]
    assert against["score"] == json.loads(run("evaluate", old, *arguments[2:-1], "--json").stdout)["score"]
    assert against["difference"] == document["score"] - against["score"]
    assert against["p_value"] == paired_test(counts[0], counts[1], measure) < 0.01
    assert against["interval"][0] <= against["difference"] <= against["interval"][1]
    assert (against["test"], against["trials"]) == ("randomization", 10000)
    said = run(*arguments, old).stdout
    assert (
        f"difference {against['difference']:+.2f} from {metric} {against['score']:.2f} of {old}  95% ["
        in said
    )
    assert f"p {against['p_value']:.4f} (randomization, 10000 trials)\n" in said
    same = json.loads(run(*arguments, new, "--json").stdout)["baseline"]
    assert (same["difference"], same["p_value"]) == (0.0, 1.0)


def test_a_baseline_in_another_order(run: Any, tmp_path: Path) -> None:
    ref, old, new = (tmp_path / name for name in ("ref", "old", "new"))
    ref.write_text("u-1 a\nu-2 b\n")
    old.write_text("u-2 b\nu-1 a\n")
    new.write_text("u-1 a\nu-2 a\n")
    same = run("evaluate", new, "--ref", ref, "--metric", "wer", "--baseline", old)
    assert "difference +50.00 from wer 0.00" in same.stdout  # the same utterances in another order


def test_evaluate_kaldi_text_by_utterance(run: Any, tmp_path: Path) -> None:
    (tmp_path / "hyp").write_text("utt-2 a horse\nutt-1 a man is writing\n")
    (tmp_path / "ref").write_text("utt-1 a man is riding\nutt-2 a horse\n")
    result = run("evaluate", tmp_path / "hyp", "--ref", tmp_path / "ref", "--metric", "wer")
    assert result.stdout.startswith("wer 16.67 ")
    assert "Kaldi text, by utterance" in result.stderr


def test_evaluate_json_one_best(run: Any, tmp_path: Path) -> None:
    (tmp_path / "hyp").write_text('{"id": "b-1", "text": "a man"}\n{"id": "a-1", "text": "a horse"}\n')
    (tmp_path / "ref").write_text("a-1 a horse\nb-1 a man\n")
    result = run("evaluate", tmp_path / "hyp", "--ref", tmp_path / "ref", "--metric", "wer")
    assert result.stdout.startswith("wer 0.00 "), result.output


def test_evaluate_refuses_the_data_that_weights_were_tuned_on(
    run: Any, lists: Path, references: Path, tmp_path: Path
) -> None:
    out, hyp = tmp_path / "tuned.json", tmp_path / "hyp"
    run("tune", lists, "--ref", references, "--metric", "wer", "--restarts", 1, "--out", out)
    run("rescore", lists, "--weights", out, "--one-best", "--out", hyp)
    for output in (lists, hyp):
        result = run("evaluate", output, "--ref", references, "--metric", "wer", "--weights", out)
        assert result.exit_code == 2
        assert "tuned on this data" in result.stderr
    other = tmp_path / "other"
    other.write_text("a man is riding\na man\n")
    assert run("evaluate", hyp, "--ref", other, "--metric", "wer", "--weights", out).exit_code == 0


def test_oracle(run: Any, lists: Path, references: Path, tmp_path: Path) -> None:
    result = run("oracle", lists, "--ref", references, "--metric", "wer", "--out", tmp_path / "best")
    assert result.stdout.startswith("wer oracle 0.00  as the lists stand 16.67  2 lists, 4 hypotheses\n")
    assert (tmp_path / "best").read_text() == "a man is riding\na horse\n"
    document = json.loads(run("oracle", lists, "--ref", references, "--metric", "bleu", "--json").stdout)
    assert (document["exact"], document["oracle"]) == (True, 100.0)
    assert document["signature"].startswith("nrefs:1|case:mixed|")
    references.write_text("a man is standing\na cow\n")
    result = run("oracle", lists, "--ref", references, "--metric", "bleu")
    assert result.stdout.startswith("bleu oracle at least ")
    assert "\nsignature nrefs:1|case:mixed|" in result.stdout


def test_convert_keeps_texts_features_totals_references(
    run: Any, lists: Path, references: Path, tmp_path: Path
) -> None:
    out = tmp_path / "lists.jsonl.gz"
    result = run("convert", lists, "--out", out, "--ref", references)
    assert result.exit_code == 0, result.output
    first, second = [json.loads(line) for line in gzip.decompress(out.read_bytes()).decode().split("\n")[:-1]]
    assert (first["id"], second["id"]) == ("0", "1")
    assert first["references"] == ["a man is riding"]
    assert first["hypotheses"][0] == {
        "text": "a man is writing",
        "features": {"LM0": -3.0, "TM0": [-1.0, -2.0], "decoder_total": -5.5},
    }
    # and the references travel with the lists
    assert run("oracle", out, "--metric", "wer").stdout.startswith("wer oracle 0.00")
    back = tmp_path / "back.nbest"
    assert run("convert", out, "--to", "moses", "--out", back).exit_code == 0
    assert fields(back.read_text().split("\n")[0]) == ["0", "a man is writing", "LM0= -3 TM0= -1 -2", "-5.5"]


def test_kaldi_directories_in_and_out(run: Any, lists: Path, tmp_path: Path) -> None:
    kaldi = tmp_path / "kaldi"
    flat = tmp_path / "flat.nbest"
    flat.write_text("".join(line.replace("TM0= -1 -2", "TM0= -1").replace("TM0= -1 -1", "TM0= -1").replace("TM0= -2 -3", "TM0= -2") + "\n" for line in lists.read_text().split("\n")[:-1]))  # fmt: skip
    assert run("convert", flat, "--to", "kaldi", "--out", kaldi).exit_code == 0
    (tmp_path / "text").write_text("0 a man is riding\n1 a horse\n")
    weights = tmp_path / "w.json"
    tuned = run("tune", kaldi, "--ref", tmp_path / "text", "--lm", "small", "--metric", "wer", "--features", "LM0,TM0", "--restarts", 2, "--out", weights)  # fmt: skip
    assert tuned.exit_code == 0, tuned.output
    out = tmp_path / "rescored"
    assert run("rescore", kaldi, "--lm", "small", "--weights", weights, "--features", "LM0,TM0", "--out", out).exit_code == 0  # fmt: skip
    assert "0-1 8\n" in (out / "archives.1" / "lmwt.small").read_text()
    assert "0-1 2\n0-2 1\n" in (out / "archives.1" / "rank").read_text()
    best = run("rescore", kaldi, "--lm", "small", "--weights", weights, "--features", "LM0,TM0", "--one-best")
    assert best.stdout == "0 a man is riding\n1 a horse\n"


def test_a_rescored_kaldi_directory_is_sorted(run: Any, tmp_path: Path) -> None:
    kaldi, out, best = kaldi_directory(tmp_path / "kaldi"), tmp_path / "out", tmp_path / "best"
    (tmp_path / "text").write_text("u-1 a horse\nu-2 is\n")
    weights = tmp_path / "w.json"
    weights.write_text('{"format": "nbest-weights/1", "features": {"ac": -1, "small": 0}}')
    arguments = ["rescore", kaldi, "--lm", "small", "--weights", weights]
    assert run(*arguments, "--out", out).exit_code == 0
    assert run(*arguments, "--one-best", "--out", best).exit_code == 0
    measure = ["--ref", tmp_path / "text", "--metric", "wer"]
    before, lists, texts = (run("evaluate", place, *measure).stdout for place in (kaldi, out, best))
    assert before.startswith("wer 33.33 ")
    assert lists.startswith("wer 0.00 ")
    assert lists == texts


REQUIRED = {
    "train": ["--train", "x", "--valid", "x", "--out", "x"],
    "compress": ["--out", "x"],
    "prepare": ["--out", "x", "--held-out", "x"],
    "score": ["--lm", "x"],
    "tune": ["--metric", "wer"],
    "evaluate": ["--metric", "wer"],
    "oracle": ["--metric", "wer"],
    "convert": ["--out", "x"],
    "consensus": ["--weights", "x", "--loss", "wer"],
    "compare": ["--metric", "wer"],
    "report": ["--metric", "wer", "--weights", "x", "--html", "report.html"],
}  # fmt: skip


def test_a_weight_on_top_of_those_of_a_moses_ini(run: Any, lists: Path, tmp_path: Path) -> None:
    ini = tmp_path / "moses.ini"
    ini.write_text(INI)
    arguments = ["rescore", lists, "--weights", ini, "--lm", "small"]
    refused = run(*arguments)
    assert "a weight for each (rescore --weight NAME=VALUE, or tune --initial" in refused.stderr
    result = run(*arguments, "--weight", "small=2", "--weight", "TM0=0.5,0")
    assert result.exit_code == 0, result.output
    totals = [fields(line)[3] for line in result.stdout.split("\n")[:-1]]
    assert totals == ["-18.5", "-22", "-9.5", "-11.5"]  # LM0 / 2 + TM0[0] / 2 + 2 small, oov and words 0
    assert "weights:moses.ini:sha256:" in result.stderr
    alone = run("rescore", lists, "--weight", "LM0=1", "--weight", "TM0=1,1")
    assert [fields(line)[3] for line in alone.stdout.split("\n")[:-1]] == ["-6", "-6", "-4", "-6"]
    assert "weights:given:sha256:" in alone.stderr
    total = run("rescore", lists, "--weight", "decoder_total=1", "--unknown-feature", "ignore", "--one-best")
    assert total.stdout == "a man is writing\na horse\n"


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (["small"], "--weight: not a weight; expected NAME=VALUE; got 'small'"),
        (["small=1,x"], "--weight: the weight of 'small' is not a number; expected a number; got 'x'"),
        (["small=1", "small=2"], "--weight: a weight is given twice; got 'small'"),
        (
            ["TM0=1"],
            "{lists}: feature 'TM0' has another width; expected 1 values, as there are weights; got 2",
        ),
        (["LM9=1"], "the lists lack 'LM9'"),
    ],
)
def test_a_weight_that_cannot_be_meant(
    run: Any, lists: Path, weights: Path, given: list[str], message: str
) -> None:
    options = [word for one in given for word in ("--weight", one)]
    result = run("rescore", lists, "--lm", "small", "--weights", weights, *options)
    assert result.exit_code == 2
    assert message.format(lists=lists) in result.stderr


def test_a_model_may_have_another_name(run: Any, lists: Path, weights: Path, tmp_path: Path) -> None:
    once, twice = tmp_path / "once", tmp_path / "twice"
    assert run("rescore", lists, "--lm", "small", "--weights", weights, "--out", once).exit_code == 0
    again = ["rescore", once, "--weights", weights, "--out", twice]
    refused = run(*again, "--lm", "small")
    assert refused.exit_code == 2
    assert refused.stderr.startswith(
        f"nbest: error: {once}: feature small is there already; expected another name for the model "
        "(--lm NAME=MODEL), or --features without it; got LM0, TM0, small, small.oov, word_count"
    )
    result = run(*again, "--lm", "more=small", "--weight", "more=1", "--weight", "small.oov=0")
    assert result.exit_code == 0, result.output
    assert "more= -8 more.oov= 0" in twice.read_text()
    two = run(
        "rescore", lists, "--lm", "one=small", "--lm", "small", "--weights", weights, "--weight", "one=1"
    )
    assert two.exit_code == 0
    assert "small= -8 small.oov= 0" in two.stdout


def test_a_path_with_an_equals_sign_is_a_path(run: Any, tiny: Path, tmp_path: Path) -> None:
    tiny.rename(tmp_path / "a=b")
    assert run("score", "--lm", tmp_path / "a=b", given="a man\n").exit_code == 0
    named = run("score", "--lm", f"x={tmp_path / 'a=b'}", "--tokens", given="a man\n")
    assert named.exit_code == 0, named.output


def test_own_kaldi_output_is_rescored_again(run: Any, tmp_path: Path) -> None:
    kaldi, once, twice = kaldi_directory(tmp_path / "kaldi"), tmp_path / "once", tmp_path / "twice"
    options = ["--lm", "small", "--weight", "ac=1", "--weight", "small=1"]
    assert run("rescore", kaldi, *options, "--out", once).exit_code == 0
    assert "--features without it" in run("rescore", once, *options, "--out", twice).stderr
    result = run("rescore", once, *options, "--features", "ac", "--out", twice)
    assert result.exit_code == 0, result.output
    assert "nbest: warning:" in result.stderr
    assert "an earlier rescoring are replaced: lmwt.small, lmwt.small.oov, lmwt.word_count" in result.stderr
    for table in (once / "archives.1").iterdir():
        assert (twice / "archives.1" / table.name).read_bytes() == table.read_bytes()


def test_kaldi_directories_of_word_ids(run: Any, tmp_path: Path) -> None:
    kaldi, out, weights = kaldi_directory(tmp_path / "kaldi"), tmp_path / "out", tmp_path / "w.json"
    (kaldi / "archives.1" / "words_text").unlink()
    (kaldi / "archives.1" / "words").write_text("u-1-1 1 2\nu-1-2 1 3\nu-2-1 4\n")
    words = tmp_path / "words.txt"
    words.write_text("<eps> 0\na 1\nman 2\nhorse 3\nis 4\n")
    (tmp_path / "text").write_text("u-1 a horse\nu-2 is\n")
    measure = ["--ref", tmp_path / "text", "--metric", "wer"]
    commands = {
        "tune": [kaldi, *measure, "--restarts", 1, "--out", weights],
        "rescore": [kaldi, "--weight", "ac=-1", "--out", out],
        "evaluate": [out, *measure],
        "oracle": [kaldi, *measure],
        "convert": [kaldi, "--out", tmp_path / "lists.jsonl"],
    }
    for command, arguments in commands.items():
        assert "(--words)" in run(command, *arguments).stderr or command == "evaluate"
        result = run(command, *arguments, "--words", words)
        assert result.exit_code == 0, result.output
        if command == "evaluate":
            assert result.stdout.startswith("wer 0.00 ")
    for command in ("rescore", "evaluate"):
        file = run(
            command, tmp_path / "lists.jsonl", *(measure if command == "evaluate" else []), "--words", words
        )
        assert "--words: word ids are Kaldi's" in file.stderr


def test_tune_and_convert_say_what_takes_part(run: Any, tmp_path: Path) -> None:
    kaldi = kaldi_directory(tmp_path / "kaldi")
    for name in ("lmwt.lmonly", "lmwt.withlm", "lmwt.interp.0.5", "lmwt.nolm"):
        (kaldi / "archives.1" / name).write_text("u-1-1 0\nu-1-2 0\nu-2-1 0\n")
    (tmp_path / "text").write_text("u-1 a horse\nu-2 is\n")
    tuned = run("tune", kaldi, "--ref", tmp_path / "text", "--metric", "wer", "--restarts", 1)
    converted = run("convert", kaldi, "--out", tmp_path / "lists.jsonl")
    left = (
        "left out lmwt.interp.0.5 (a mixture of others), lmwt.nolm (0 everywhere), "
        "lmwt.withlm (a sum; lmonly is read)\n"
    )
    assert f"features ac, lmonly, word_count\n{left}" in tuned.stderr
    assert f"features ac, lmonly\n{left}" in converted.stderr


def test_every_required_option_is_asked_for(run: Any) -> None:
    for command in COMMANDS:
        options = [p for p in LazyGroup().get_command(None, command).params if isinstance(p, click.Option)]  # type: ignore[arg-type, union-attr]
        assert {p.opts[0] for p in options if p.required} == set(REQUIRED.get(command, [])[::2])
    for command, given in REQUIRED.items():
        operand = {"train": [], "score": [], "compare": ["x", "x"]}.get(command, ["x"])
        for at in range(0, len(given), 2):
            result = run(command, *operand, *given[:at], *given[at + 2 :])
            assert result.exit_code == 2, result.output
            assert f"Missing option '{given[at]}'" in result.stderr


MOSES_LINE = "0 ||| a ||| LM0= -1 TM0= -1 -1 ||| -1\n"
BAD_LISTS: list[tuple[str, bytes, str]] = [
    ("truncated line", (MOSES_LINE + "0 ||| a ||| LM0= -1 TM0").encode(), "{file}:2"),
    ("NaN", MOSES_LINE.replace("LM0= -1", "LM0= nan").encode(), "{file}:1"),
    ("another width", (MOSES_LINE + MOSES_LINE.replace("-1 -1", "-1 -1 -1")).encode(), "{file}:2"),
    ("invalid UTF-8", MOSES_LINE.encode() + b"0 ||| \xff\xfe ||| LM0= 1 TM0= 1 1 ||| 1\n", "{file}:2"),
    ("10 MB line", b"x" * 10_000_000, "{file}:1"),
    ("10 MB number", b"0 ||| a ||| LM0= " + b"1" * 10_000_000 + b" TM0= 1 1 ||| 1\n", "{file}:1"),
    ("empty file", b"", "{file}"),
    ("broken gzip", gzip.compress(MOSES_LINE.encode() * 1000)[:-20], "{file}"),
    ("a list of one id that is no number", MOSES_LINE.replace("0", "x", 1).encode(), "{file}:1"),
    ("JSON with NaN", b'{"id": "1", "hypotheses": [{"text": "a", "features": {"LM0": NaN}}]}\n', "/hypotheses/0/features/LM0"),
    ("JSON with NaN that means nothing here", b'{"id": "1", "hypotheses": [{"text": "a", "features": {"LM0": 1}, "x": NaN}]}\n', "{file}:1 /hypotheses/0/x: a number is not finite"),
    ("JSON with an empty list", b'{"id": "1", "hypotheses": []}\n', "{file}:1 /hypotheses"),
    ("JSON cut short", b'{"id": "1", "hypotheses": [{"text"', "{file}:1"),
    ("neither", b"hello world\n", "{file}:1"),
]  # fmt: skip


@pytest.mark.parametrize("case", range(len(BAD_LISTS)), ids=[case[0] for case in BAD_LISTS])
@pytest.mark.parametrize("command", ["rescore", "tune", "evaluate", "oracle", "convert"])
def test_bad_lists_are_one_line_that_says_where(
    run: Any, weights: Path, references: Path, tmp_path: Path, command: str, case: int
) -> None:
    name, content, words = BAD_LISTS[case]
    path = tmp_path / ("bad.gz" if name == "broken gzip" else "bad")
    path.write_bytes(content)
    out = tmp_path / "out"
    arguments: dict[str, list[object]] = {
        "rescore": ["--weights", weights, "--lm", "small", "--out", out],
        "tune": ["--ref", references, "--metric", "wer", "--restarts", 1, "--out", out],
        "evaluate": ["--ref", references, "--metric", "wer", "--format", "jsonl" if name.startswith("JSON") else "moses"],
        "oracle": ["--ref", references, "--metric", "wer"],
        "convert": ["--out", out, "--to", "jsonl"],
    }  # fmt: skip
    result = run(command, path, *arguments[command])
    assert result.exit_code == 2, result.output
    assert result.stderr.startswith("nbest: error: ")
    assert words.format(file=path) in result.stderr
    assert len(result.stderr.rstrip("\n").split("\n")) == 1
    assert len(result.stderr) < 1000
    assert not out.exists()
    assert not list(tmp_path.glob("*.part"))


@pytest.mark.parametrize("command", ["tune", "evaluate", "oracle"])
def test_references_of_another_length_name_both_counts(
    run: Any, lists: Path, tmp_path: Path, command: str
) -> None:
    refs = tmp_path / "short"
    refs.write_text("only one\n")
    result = run(command, lists, "--ref", refs, "--metric", "wer")
    assert result.exit_code == 2
    assert str(refs) in result.stderr
    assert "1" in result.stderr
    assert "2" in result.stderr


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("{", "not JSON"),
        ('{"format": "nbest-weights/9", "features": {"a": 1}}', "/format"),
        ('{"format": "nbest-weights/1", "features": {"LM0": NaN}}', "not finite"),
        ('{"format": "nbest-weights/1", "features": {"LM0": "x"}}', "/features/LM0"),
        (
            '{"format": "nbest-weights/1", "features": {"\\ud800": 1}}',
            "bad.json: a lone surrogate in a string",
        ),
        ('{"format": "nbest-weights/1", "features": {"LM0": 1, "TM0": 1}}', "TM0"),
        ('{"format": "nbest-weights/1", "features": {"LM0": 1, "TM0": [1, 1], "ac": 1}}', "'ac'"),
    ],
)
def test_bad_weights(run: Any, lists: Path, tmp_path: Path, content: str, words: str) -> None:
    path = tmp_path / "bad.json"
    path.write_text(content)
    result = run("rescore", lists, "--weights", path)
    assert result.exit_code == 2
    assert words in result.stderr


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["rescore", "{lists}", "--lm", "nothing"], "nothing"),
        (["rescore", "{lists}", "--lm", "broken"], "corrupt or truncated"),
        (["rescore", "{lists}", "--lm", "small", "--lm", "small"], "same name"),
        (["rescore", "{lists}", "--add-feature", "x"], "NAME=FILE"),
        (["rescore", "{lists}", "--add-feature", "x={missing}"], "no such file"),
        (["rescore", "{lists}", "--add-feature", "x={references}"], "refs.txt"),
        (["rescore", "{lists}", "--add-feature", "LM0={references}"], "LM0"),
        (["rescore", "{lists}", "--features", "LM9"], "LM9"),
        (["rescore", "{lists}", "--format", "jsonl"], "lists.nbest:1"),
        (["rescore", "{lists}", "--format", "kaldi"], "is a file"),
        (["rescore", "{lists}", "--out", "{missing}/x/y"], "no such directory"),
        (["tune", "{lists}", "--metric", "wer"], "references"),
        (["tune", "{lists}", "--ref", "{references}", "--metric", "blue"], "'blue'"),
        (["tune", "{lists}", "--ref", "{references}", "--metric", "wer", "--text", "upper"], "upper"),
        (["tune", "{lists}", "--ref", "{references}", "--metric", "wer", "--fix", "LM0"], "--fix"),
        (["tune", "{lists}", "--ref", "{references}", "--metric", "wer", "--fix", "LM9=1"], "LM9"),
        (["tune", "{lists}", "--ref", "{references}", "--metric", "wer", "--tokenize", "13a"], "bleu"),
        (
            ["tune", "{lists}", "--ref", "{references}", "--metric", "bleu", "--tokenize", "x"],
            "unknown tokenizer",
        ),
        (
            ["convert", "{lists}", "--to", "kaldi", "--ref", "{references}", "--out", "o"],
            "only some formats carry references",
        ),
        (["evaluate", "{missing}", "--ref", "{references}", "--metric", "wer"], "no such file"),
        (["evaluate", "{lists}", "--ref", "{missing}", "--metric", "wer"], "no such file"),
        (["serve", "--models", "{missing}"], "does not exist"),
    ],
)
def test_bad_options(
    run: Any, lists: Path, references: Path, tmp_path: Path, arguments: list[str], words: str
) -> None:
    places = {"lists": lists, "references": references, "missing": tmp_path / "missing"}
    result = run(*(argument.format(**places) for argument in arguments))
    assert result.exit_code == 2, result.output
    assert words in result.stderr


def test_a_feature_that_the_weights_do_not_know(run: Any, lists: Path, weights: Path) -> None:
    lists.write_text(lists.read_text().replace("LM0", "LM7"))
    result = run("rescore", lists, "--lm", "small", "--weights", weights)
    assert result.exit_code == 2
    assert f"{lists}: features without a weight: 'LM7'" in result.stderr


def test_an_empty_hypothesis_is_rescored(run: Any, tmp_path: Path) -> None:
    path = tmp_path / "empty.nbest"
    path.write_text("4 |||  ||| LM0= -9 ||| -2\n4 ||| zebra ||| LM0= -1 ||| -1\n")
    result = run("rescore", path, "--lm", "small", "--one-best")
    assert (result.exit_code, result.stdout) == (0, "\n")


def test_two_examples_of_the_repository(run: Any, repository: Path, tmp_path: Path) -> None:
    examples, out = repository / "examples", tmp_path / "w.json"
    tuned = run("tune", examples / "mt.dev.nbest", "--ref", examples / "mt.dev.ref", "--metric", "bleu", "--restarts", 1, "--out", out)  # fmt: skip
    assert tuned.exit_code == 0, tuned.output
    hyp = tmp_path / "hyp"
    assert (
        run("rescore", examples / "mt.test.nbest", "--weights", out, "--one-best", "--out", hyp).exit_code
        == 0
    )
    assert run("evaluate", hyp, "--ref", examples / "mt.test.ref", "--metric", "bleu").exit_code == 0
