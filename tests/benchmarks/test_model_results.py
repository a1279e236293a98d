"""What is written of a model; of several trials, that of the one which validated best."""

import json
from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any

import pytest
import torch

from models import checkpoint
from models.architectures import architecture
from models.checkpoint import ModelCard
from models.language_model import LanguageModel
from models.vocabulary import SPECIAL, Vocabulary

Run = Callable[..., CompletedProcess[str]]
VOCABULARY = Vocabulary((*SPECIAL, "a", "man", "is", "riding"), unseen_types=7)


def _model(folder: Path, name: str, validation: float, **recipe: Any) -> Path:
    torch.manual_seed(1)
    model = LanguageModel(architecture("lstm", len(VOCABULARY), 8, 1))
    with torch.no_grad():
        model.output.weight.zero_()  # type: ignore[operator]
    training = {"recipe": {"state": "stream", **recipe}, "teacher": {"name": "t", "digest": "d"}}
    card = ModelCard(name=name, perplexity={"validation, stream state": validation}, training=training)
    checkpoint.save(folder / name, model, VOCABULARY, card)
    return folder / name


@pytest.fixture
def data(tmp_path: Path) -> Path:
    for part in ("valid", "test"):
        path = tmp_path / f"data/text/ptb/ptb.{part}.txt"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("a man is riding\na horse\n")
    return tmp_path / "data"


def test_one_file_a_model(run_benchmark: Run, data: Path, tmp_path: Path) -> None:
    """All logits are zero: each of the V words is as likely as any other."""
    models = [_model(tmp_path, name, 5.0) for name in ("one", "two")]
    out = tmp_path / "out"
    done = run_benchmark("model_results", *models, "--data", data, "--corpus", "ptb", "--out", out)
    assert done.returncode == 0, done.stderr
    assert sorted(path.name for path in out.iterdir()) == ["one.json", "two.json"]
    found = json.loads((out / "one.json").read_text())
    assert found["trials"] == []
    assert set(found["perplexity"]) == {
        f"{part}, {state} state" for part in ("validation", "test") for state in ("stream", "sentence")
    }
    test = found["perplexity"]["test, stream state"]
    assert test["perplexity"] == pytest.approx(len(VOCABULARY))
    assert test["oov_rate"] == 1 / 8
    numbers = 2 * len(VOCABULARY) * 8 + 8 * 8 * 8 + 4 * 8
    assert (found["parameters"], found["paper_bytes"]) == (numbers, 4 * numbers)


def test_the_best_trial_is_measured_and_all_are_named(run_benchmark: Run, data: Path, tmp_path: Path) -> None:
    models = [
        _model(tmp_path, "m", 7.5, learning_rate=20.0, dropout=0.2),
        _model(tmp_path, "m-rate10", 7.0, learning_rate=10.0, dropout=0.5, seed=3),
        _model(tmp_path, "m-rate40", 9.0, learning_rate=40.0),
    ]
    out = tmp_path / "out"
    arguments = (*models, "--best-as", "row", "--data", data, "--corpus", "ptb", "--out", out)
    done = run_benchmark("model_results", *arguments)
    assert done.returncode == 0, done.stderr
    assert [path.name for path in out.iterdir()] == ["row.json"]
    found = json.loads((out / "row.json").read_text())
    assert found["training"]["recipe"]["learning_rate"] == 10.0
    assert [(t["name"], t["learning_rate"], t["validation_perplexity"]) for t in found["trials"]] == [
        ("m", 20.0, 7.5),
        ("m-rate10", 10.0, 7.0),
        ("m-rate40", 40.0, 9.0),
    ]
    assert found["trials"][1] == {
        "name": "m-rate10",
        "learning_rate": 10.0,
        "schedule": "halve",
        "epochs": 20,
        "dropout": 0.5,
        "input_dropout": 0.2,
        "seed": 3,
        "init": None,
        "teacher": "t",
        "validation_perplexity": 7.0,
    }
