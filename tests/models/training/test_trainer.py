"""Training lowers the loss, writes a model, and survives a kill without a trace."""

import csv
import json
import random
from pathlib import Path
from typing import Any

import pytest

from models import checkpoint
from models.scoring.scorer import LanguageModelScorer
from models.training.recipe import Recipe, make_recipe, read_recipe
from models.training.trainer import Texts, Trainer
from nbest.errors import ConfigError, ModelFileError

FAST: dict[str, Any] = {
    "hidden_size": 20,
    "tokens_per_batch": 60,
    "columns": 8,
    "steps": 10,
    "optimizer": "adam",
    "learning_rate": 0.01,
    "schedule": "cosine",
    "clip": 1.0,
    "dropout": 0.1,
    "input_dropout": 0.1,
    "samples": 15,
}


@pytest.fixture
def texts(tmp_path: Path) -> Texts:
    """Sentences of a small grammar: there is something to learn."""
    chance = random.Random(1)

    def sentence() -> str:
        noun, verb = chance.choice(["dog", "man", "cat"]), chance.choice(["sees", "walks", "eats"])
        rest = f" a {noun}" if verb == "sees" else ""
        return f"the {chance.choice(['big', 'red'])} {noun} {verb}{rest}"

    train, valid = tmp_path / "train.txt", tmp_path / "valid.txt"
    train.write_text("".join(f"{sentence()}\n" for _ in range(200)))
    valid.write_text("".join(f"{sentence()}\n" for _ in range(40)))
    return Texts(train, valid)


@pytest.mark.parametrize("loss", ["full", "sampled"])
@pytest.mark.parametrize("state", ["sentence", "stream"])
@pytest.mark.parametrize("system", ["lstm", "belm", "bllm", "slim"])
def test_learns_and_writes_a_model(tmp_path: Path, texts: Texts, system: str, state: str, loss: str) -> None:
    recipe = make_recipe(FAST | {"system": system, "state": state, "loss": loss, "epochs": 10})
    trainer = Trainer(recipe, texts, tmp_path / "out")
    trainer.run()
    first, last = trainer.progress.log[0], trainer.progress.log[-1]
    assert last["validation_perplexity"] < first["validation_perplexity"]
    assert last["validation_perplexity"] < 6  # of 13 words
    loaded = checkpoint.load(tmp_path / "out")
    assert loaded.card.perplexity[f"validation, {state} state"] == pytest.approx(
        trainer.progress.best, rel=1e-4
    )
    assert set(loaded.card.perplexity) == {
        "validation, sentence state",
        "validation, stream state",
        "validation, sentence state, OOV spread",
    }
    assert loaded.card.training["recipe"] == recipe.model_dump()
    scores = LanguageModelScorer(loaded, "out").score(["the big dog walks", "walks dog the big"])
    assert scores.nat_log_probs[0] > scores.nat_log_probs[1]
    with (tmp_path / "out" / "log.csv").open() as stream:
        rows = list(csv.DictReader(stream))
    assert [float(row["validation_perplexity"]) for row in rows] == [
        pytest.approx(entry["validation_perplexity"]) for entry in trainer.progress.log
    ]
    assert not trainer.saved.folder.exists()


class _KilledError(Exception):
    pass


@pytest.mark.parametrize("optimizer", ["adam", "sgd"])
@pytest.mark.parametrize(
    ("state", "loss"), [("sentence", "full"), ("stream", "full"), ("sentence", "sampled")]
)
def test_a_killed_run_walks_the_same_path(
    tmp_path: Path, texts: Texts, monkeypatch: pytest.MonkeyPatch, state: str, loss: str, optimizer: str
) -> None:
    """Killed in the middle of epochs, twice, and taken up: the same log, the same weights, to the bit."""
    changes = {"system": "bllm", "state": state, "loss": loss, "optimizer": optimizer, "epochs": 3}
    if optimizer == "sgd":
        changes |= {"learning_rate": 2.0, "schedule": "halve"}
    recipe = make_recipe(FAST | changes)
    whole = Trainer(recipe, texts, tmp_path / "whole")
    whole.run()

    plain_step = Trainer._step
    for kill_after in (7, 9):
        steps = 0

        def step(self: Trainer, batch: Any, limit: int = kill_after) -> tuple[float, int]:
            nonlocal steps
            steps += 1
            if steps > limit:
                raise _KilledError
            return plain_step(self, batch)

        monkeypatch.setattr(Trainer, "_step", step)
        with pytest.raises(_KilledError):
            Trainer(recipe, texts, tmp_path / "parts", save_seconds=0).run()
    monkeypatch.setattr(Trainer, "_step", plain_step)
    lines: list[str] = []
    parts = Trainer(recipe, texts, tmp_path / "parts", report=lines.append)
    parts.run()
    assert any(line.startswith("resuming at epoch") for line in lines)

    def losses(trainer: Trainer) -> list[tuple[float, float]]:
        return [
            (row["validation_perplexity"], next(v for k, v in row.items() if k.startswith("training_")))
            for row in trainer.progress.log
        ]

    assert losses(parts) == losses(whole)
    assert (tmp_path / "parts" / checkpoint.WEIGHTS).read_bytes() == (
        tmp_path / "whole" / checkpoint.WEIGHTS
    ).read_bytes()


def test_rate_is_halved_without_progress_and_the_run_ends(
    tmp_path: Path, texts: Texts, monkeypatch: pytest.MonkeyPatch
) -> None:
    worse = iter(range(10, 100))

    class Fixed:
        def __init__(self) -> None:
            self.value = float(next(worse))
            self.oov_spread = self.value
            self.oov, self.predictions = 0, 1

    monkeypatch.setattr("models.training.trainer.perplexity", lambda *_args: Fixed())
    recipe = make_recipe(
        FAST
        | {
            "optimizer": "sgd",
            "learning_rate": 1.0,
            "schedule": "halve",
            "patience": 2,
            "minimum_rate": 0.3,
            "epochs": 50,
        }
    )
    trainer = Trainer(recipe, texts, tmp_path / "out")
    trainer.run()
    assert [row["rate"] for row in trainer.progress.log] == [1.0, 1.0, 1.0, 0.5, 0.5]


def test_another_recipe_does_not_take_up_the_run(
    tmp_path: Path, texts: Texts, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = make_recipe(FAST | {"epochs": 1})
    trainer = Trainer(recipe, texts, tmp_path / "out")
    trainer._save()
    with pytest.raises(ConfigError, match="is a run with another recipe: remove it to start afresh"):
        Trainer(make_recipe(FAST | {"epochs": 2}), texts, tmp_path / "out").run()
    texts.valid.write_text("the dog\n")
    with pytest.raises(ConfigError, match="is a run with another sha256"):
        Trainer(recipe, texts, tmp_path / "out").run()


def test_a_model_is_not_overwritten(tmp_path: Path, texts: Texts) -> None:
    (tmp_path / "out").mkdir()
    with pytest.raises(ConfigError, match="out is there already: remove it, or give another name"):
        Trainer(make_recipe(FAST), texts, tmp_path / "out")


def test_a_broken_state_is_named(tmp_path: Path, texts: Texts) -> None:
    recipe = make_recipe(FAST | {"epochs": 1})
    Trainer(recipe, texts, tmp_path / "out")._save()
    state = tmp_path / "out.training" / "last" / "state.safetensors"
    state.write_bytes(state.read_bytes()[:100])
    with pytest.raises(ModelFileError, match="broken training state"):
        Trainer(recipe, texts, tmp_path / "out").run()


def test_divergence_is_said(tmp_path: Path, texts: Texts) -> None:
    recipe = make_recipe(
        FAST | {"optimizer": "sgd", "learning_rate": 1e30, "clip": 1e30, "schedule": "halve"}
    )
    with pytest.raises(ConfigError, match="training diverged: the loss is not finite; got learning rate"):
        Trainer(recipe, texts, tmp_path / "out").run()


def test_recipes_are_files(tmp_path: Path) -> None:
    path = tmp_path / "r.toml"
    path.write_text('system = "slim"\nhidden_size = 40\n[options]\nparts = 4\n')
    assert read_recipe(path, {"epochs": 2}) == Recipe(
        system="slim", hidden_size=40, options={"parts": 4}, epochs=2
    )
    with pytest.raises(ConfigError, match=r"r\.toml: epochs: Input should be greater than or equal to 1"):
        read_recipe(path, {"epochs": 0})
    for values in ({"seed": -1}, {"seed": 1 << 70}, {"hidden_size": 100_000_000}, {"layers": 0}):
        with pytest.raises(ConfigError, match=rf"{next(iter(values))}: Input should be"):
            read_recipe(path, values)
    with pytest.raises(ConfigError, match="cannot read the recipe"):
        read_recipe(tmp_path / "none.toml", {})
    path.write_text("= 3")
    with pytest.raises(ConfigError, match="not a TOML file"):
        read_recipe(path, {})


def test_shipped_recipes_are_valid(repository: Path) -> None:
    paths = sorted((repository / "models" / "training" / "recipes").glob("*.toml"))
    assert paths
    for path in paths:
        assert json.dumps(read_recipe(path, {}).model_dump())
