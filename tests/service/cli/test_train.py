# ruff: noqa: E501 - a table reads better with each case on one line

"""nbest train as a user runs it: from text to scores, from one model to another."""

import re
from pathlib import Path
from typing import Any

import pytest

from models import checkpoint
from models.architectures import SYSTEMS
from service.cli import train

FAST = ["--hidden-size", 12, "--set", "optimizer=adam", "--set", "learning_rate=0.02", "--set", "clip=1.0"]


@pytest.fixture
def text(tmp_path: Path) -> Path:
    path = tmp_path / "text.txt"
    path.write_text("a man is riding a horse\na man is writing\nthe horse is riding\n" * 10)
    return path


@pytest.fixture
def trained(run: Any, text: Path, tmp_path: Path) -> Any:
    """Trains a model with these arguments; gives the result and the directory."""

    def call(name: str, *arguments: object) -> Any:
        texts = ["--train", text, "--valid", text, "--out", tmp_path / name]
        return run("train", *texts, *FAST, "--epochs", 2, *arguments)

    return call


def test_what_the_help_says_is_there(repository: Path) -> None:
    recipes = (repository / "models" / "training" / "recipes").glob("*.toml")
    assert set(train.RECIPES) == {path.stem for path in recipes}
    assert set(train.SYSTEMS) == set(SYSTEMS)


def test_a_model_with_its_log(trained: Any, tmp_path: Path) -> None:
    result = trained("m", "--system", "slim", "--licence", "CC0-1.0")
    assert result.exit_code == 0, result.stderr
    names = {path.name for path in (tmp_path / "m").iterdir()}
    assert names == {
        "card.json",
        "config.json",
        "log.csv",
        "log.svg",
        "model.safetensors",
        "vocabulary.json",
    }
    assert checkpoint.load(tmp_path / "m").card.licence == "CC0-1.0"


def test_self_normalized_scores(run: Any, trained: Any, text: Path, tmp_path: Path) -> None:
    trained("nce", "--set", "loss=nce", "--set", "samples=50")
    trained("full")
    exact = run("score", text, "--lm", tmp_path / "nce")
    quick = run("score", text, "--lm", tmp_path / "nce", "--self-normalized")
    assert quick.exit_code == 0, quick.stderr
    assert quick.stdout != exact.stdout
    first = [float(result.stdout.split("\t")[0]) for result in (exact, quick)]
    assert first[1] == pytest.approx(first[0], abs=3)
    assert "  perplexity none\n" in quick.stderr
    assert "+self-normalized|" in quick.stderr
    for model in (tmp_path / "full", "kenlm:x.arpa"):
        refused = run("score", text, "--lm", model, "--self-normalized")
        assert refused.exit_code == 2
        assert "only a model trained with NCE can be scored self-normalized" in refused.stderr


def test_self_normalized_weights_are_bound_to_such_scores(
    run: Any, trained: Any, lists: Path, references: Path, tmp_path: Path
) -> None:
    trained("nce", "--set", "loss=nce", "--set", "samples=50")
    model, weights = ["--lm", tmp_path / "nce"], tmp_path / "w.json"
    arguments = ["tune", lists, *model, "--ref", references, "--metric", "bleu", "--restarts", 2]
    tuned = run(*arguments, "--self-normalized", "--out", weights)
    assert tuned.exit_code == 0, tuned.stderr
    assert run("rescore", lists, *model, "--self-normalized", "--weights", weights).exit_code == 0
    other = run("rescore", lists, *model, "--weights", weights)
    assert other.exit_code == 2
    assert "+self-normalized" in other.stderr


def test_adapting_the_model_of_another(run: Any, trained: Any, tmp_path: Path) -> None:
    general = ["--system", "bllm", "--licence", "CC BY-SA 4.0", "--attribution", "someone"]
    assert trained("general", *general).exit_code == 0
    own = tmp_path / "own.txt"
    own.write_text("a man is writing a horse\n" * 8)
    arguments = ["--train", own, "--valid", own, "--init", tmp_path / "general", "--epochs", 1]
    result = run("train", *arguments, "--attribution", "me", "--out", tmp_path / "mine")
    assert result.exit_code == 0, result.stderr
    source, made = (checkpoint.load(tmp_path / name) for name in ("general", "mine"))
    assert made.model.config == source.model.config
    assert made.vocabulary == source.vocabulary
    assert made.card.training["init"] == {"name": "general", "digest": source.digest}
    assert (made.card.licence, made.card.attribution) == ("CC BY-SA 4.0", ["someone", "me"])
    assert "its 10 words are kept" in result.stderr
    refused = run("train", *arguments, "--hidden-size", 16, "--system", "bllm", "--out", tmp_path / "other")
    assert refused.exit_code == 2
    assert "embedding: a matrix of another shape" in refused.stderr
    missing = run("train", *arguments[:4], "--init", "nowhere", "--out", tmp_path / "other")
    assert "no such model: 'nowhere'" in missing.stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ["--lowercase"],
            "none of vocabulary_size, min_count, lowercase, unseen_types, segmenter; got lowercase",
        ),
        (
            ["--set", "segmenter=sentencepiece"],
            "--init: the words are those of that model",
        ),
        (["--set", "teacher_weight=0.9"], "--set: there is no teacher; expected --teacher MODEL"),
        (["--train", "more.txt"], "--train: one training text at a time; expected one file"),
        (["--valid", "more.txt"], "--valid: one validation text at a time; expected one file"),
    ],
)
def test_what_would_have_no_effect_is_refused(
    trained: Any, tmp_path: Path, arguments: list[str], message: str
) -> None:
    assert trained("general").exit_code == 0
    refused = trained("mine", "--init", tmp_path / "general", *arguments)
    assert refused.exit_code == 2
    assert message in refused.stderr


def test_a_model_that_has_become_worse_is_said_to_be(run: Any, trained: Any, tmp_path: Path) -> None:
    assert trained("general").exit_code == 0
    started = ["--init", tmp_path / "general", "--set", "optimizer=sgd"]
    worse = trained("worse", *started, "--set", "learning_rate=1000", "--set", "clip=10")
    assert worse.exit_code == 0, worse.stderr
    assert "before training: validation perplexity" in worse.stderr
    assert "warning: the model has become worse than the one it started from" in worse.stderr
    same = trained("same", *started, "--set", "learning_rate=0.001")
    assert same.exit_code == 0, same.stderr
    assert "become worse" not in same.stderr
    origin = f"general ({checkpoint.load(tmp_path / 'general').digest})"
    (shown,) = [line for line in run("info", tmp_path / "same").stdout.split("\n") if origin in line]
    assert shown.split()[:2] == ["started", "from"]


def test_learning_from_a_teacher(trained: Any, tmp_path: Path, run: Any) -> None:
    trained("big", "--hidden-size", 16)
    result = trained("small", "--teacher", tmp_path / "big", "--set", "teacher_weight=0.8")
    assert result.exit_code == 0, result.stderr
    card = checkpoint.load(tmp_path / "small").card
    assert card.training["teacher"]["name"] == "big"
    other = tmp_path / "other.txt"
    other.write_text("quite other words\n" * 8)
    arguments = ["--train", other, "--valid", other, "--epochs", 1, "--teacher", tmp_path / "big"]
    strange = run("train", *arguments, "--out", tmp_path / "strange")
    assert strange.exit_code == 0, strange.stderr
    assert f"warning: 100% of the words of {other} are unknown" in strange.stderr
    refused = run("train", *arguments, "--out", tmp_path / "x", "--min-count", 2)
    assert refused.exit_code == 2
    assert "--teacher: the words are those of that model; expected none of vocabulary_size" in refused.stderr


def test_a_finished_training_is_said_to_be_finished(trained: Any, tmp_path: Path) -> None:
    assert trained("m").exit_code == 0
    again = trained("m")
    assert again.exit_code == 2
    assert again.stderr == (
        f"nbest: error: {tmp_path / 'm'}: the training is finished: the model is there; expected another "
        "name to train another model, or remove it to train it again\n"
    )


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--set", "leraning_rate=1"], "--set: no such value of a recipe; expected one of ar_alpha, averaging, "),
        (["--system", "slim", "--option", "partz=3"], "--option: no such option of the system slim; expected one of assignment, "),
        (["--system", "hashnet", "--option", "partz=3"], "--option: no such option of the system hashnet; expected one of gate_biases, "),
        (["--option", "layers=2"], "--option: no such option of the system lstm; expected one of embedding_size, "),
        (["--recipe", "{work}/o.toml"], "{work}/o.toml: no such option of the system slim; expected one of assignment, "),
        (["--recipe", "captoins"], "--recipe: no such recipe; expected a TOML file, or one that ships: adapt, captions, "),
        (["--recipe", "{work}/r.toml"], "{work}/r.toml: no such value of a recipe; expected one of ar_alpha, "),
    ],
)  # fmt: skip
def test_unknown_names_are_answered_with_the_known_ones(
    trained: Any, tmp_path: Path, arguments: list[str], message: str
) -> None:
    (tmp_path / "r.toml").write_text("leraning_rate = 1.0\n")
    (tmp_path / "o.toml").write_text('system = "slim"\n[options]\npartz = 3\n')
    result = trained("m", *(argument.format(work=tmp_path) for argument in arguments))
    assert result.exit_code == 2
    assert result.stderr.startswith(f"nbest: error: {message.format(work=tmp_path)}")
    assert result.stderr.rstrip("\n").endswith(
        ("got 'leraning_rate'", "got 'partz'", "got 'layers'", "got 'captoins'")
    )
    assert len(result.stderr) < 1000
    assert not (tmp_path / "m").exists()


@pytest.mark.parametrize("option", ["embedding_size=14", "dropout_of_nothing=1"])
def test_an_option_of_the_system_is_taken(trained: Any, option: str) -> None:
    result = trained("m", "--option", option)
    assert result.exit_code == (0 if option == "embedding_size=14" else 2), result.stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--set", "samples=1e12"], "--set: samples: .* less than or equal to 16777216; got 1000000000000.0"),
        (["--set", "learning_rate=1e-320"], "--set: learning_rate: beyond the numbers of 32 bits; got 1e-320"),
        (["--recipe", "{work}/deep.toml"], "{work}/deep.toml: not a TOML file .*"),
        (["--recipe", "{work}/bad.toml"], "{work}/bad.toml: columns: .* greater than or equal to 1; got 0"),
        (["--system", "slim", "--option", "ratio=abc"], "--option: option ratio of the system slim: .*; got 'abc'"),
        (
            ["--set", "segmenter=sentencepiece", "--vocabulary-size", str((1 << 31) - 1)],
            "vocabulary_size: more than 1048576 pieces",
        ),
    ],
)  # fmt: skip
def test_what_no_machine_could_train_is_one_line(
    trained: Any, tmp_path: Path, arguments: list[str], message: str
) -> None:
    (tmp_path / "deep.toml").write_text(f"options = {'[' * 3000}{']' * 3000}")
    (tmp_path / "bad.toml").write_text("columns = 0\n")
    result = trained("m", *(argument.format(work=tmp_path) for argument in arguments))
    assert result.exit_code == 2
    last = result.stderr.rstrip("\n").split("\n")[-1]
    assert re.fullmatch(f"nbest: error: {message.format(work=re.escape(str(tmp_path)))}", last), last
    assert "Traceback" not in result.stderr
    assert not (tmp_path / "m").exists()


def test_too_little_memory_is_one_line(trained: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise RuntimeError("DefaultCPUAllocator: can't allocate memory: 68719476736 bytes\nmore lines")

    monkeypatch.setattr("models.training.trainer.gather", refuse)
    result = trained("m")
    assert result.exit_code == 1
    assert result.stderr.rstrip("\n").split("\n")[-1] == (
        "nbest: error: not enough memory (DefaultCPUAllocator: can't allocate memory: 68719476736 bytes)"
    )
    assert "Traceback" not in result.stderr


def test_an_empty_text_is_named(run: Any, tmp_path: Path) -> None:
    (tmp_path / "empty.txt").write_text("\n \n")
    arguments = [
        "--train",
        tmp_path / "empty.txt",
        "--valid",
        tmp_path / "empty.txt",
        "--out",
        tmp_path / "m",
    ]
    result = run("train", *arguments)
    assert result.exit_code == 2
    assert f"{tmp_path / 'empty.txt'}: no word left for the vocabulary" in result.stderr


def test_a_validation_text_of_unknown_words_is_told_of(
    run: Any, trained: Any, text: Path, tmp_path: Path
) -> None:
    (tmp_path / "other.txt").write_text("UN HOMME is riding\n" * 5)
    arguments = ["--train", text, "--valid", tmp_path / "other.txt", "--out", tmp_path / "m", "--epochs", 1]
    result = run("train", *arguments, "--hidden-size", 8)
    assert f"warning: 50% of the words of {tmp_path / 'other.txt'} are unknown" in result.stderr
    assert "are unknown" not in trained("plain").stderr
