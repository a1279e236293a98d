"""A run that is killed and taken up again is the same run: the same log, the same weights, to the bit."""

import json
import math
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file, save_file

from models import checkpoint
from models.training.ingredients import Texts
from models.training.recipe import Recipe
from models.training.trainer import Trainer
from nbest.errors import ConfigError, ModelFileError

Make = Callable[..., Recipe]

SGD = {"optimizer": "sgd", "learning_rate": 2.0}
MOMENTUM = {"optimizer": "sgd", "learning_rate": 0.3, "momentum": 0.9, "weight_decay": 1e-4}
ADAGRAD = {"optimizer": "adagrad", "learning_rate": 0.1}
VARIABLE = {"state": "stream", "variable_steps": True}
AWD = {
    "layers": 2,
    "weight_drop": 0.2,
    "word_dropout": 0.1,
    "variational_dropout": True,
    "ar_alpha": 0.5,
    "tar_beta": 0.5,
}
# Every optimiser, schedule, loss and state at least twice, beside different others.
RUNS: list[dict[str, Any]] = [
    {"system": "bllm", "schedule": "cosine", "state": "sentence", "loss": "full"},
    {"system": "lstm", "schedule": "exponential", "state": "stream", "loss": "sampled"},
    {"system": "slim", "schedule": "constant", **VARIABLE, "loss": "nce"},
    {"system": "bllm", **SGD, "schedule": "halve", "state": "sentence", "loss": "sampled"},
    {"schedule": "cosine", "state": "stream", "loss": "sampled", "full_epochs": 2},
    {"system": "slim", **SGD, "schedule": "cosine", "state": "stream", "loss": "full"},
    {**SGD, **AWD, "schedule": "constant", **VARIABLE, "averaging": "non-monotone", "non_monotone": 1},
    {**SGD, **AWD, "schedule": "exponential", "state": "sentence", "averaging": "start"},
    {**MOMENTUM, "schedule": "exponential", "state": "stream", "loss": "nce"},
    {**MOMENTUM, "system": "belm", "schedule": "halve", **VARIABLE, "loss": "full"},
    {**MOMENTUM, "schedule": "cosine", "state": "stream", "teacher": True, "averaging": "start"},
    {**ADAGRAD, "schedule": "halve", "state": "sentence", "loss": "nce"},
    {**ADAGRAD, "schedule": "exponential", "state": "stream", "teacher": True},
    {**ADAGRAD, "system": "belm", "schedule": "constant", **VARIABLE, "loss": "sampled"},
    {"schedule": "halve", "patience": 1, "longest": 3, "state": "sentence", "teacher": True},
    {**SGD, "precision": "bf16", "state": "stream", "loss": "sampled", "full_epochs": 2},
    {**AWD, "precision": "bf16", "state": "stream", "teacher": True},
    {"schedule": "cosine", "state": "stream", "loss": "sampled", "full_epochs": 2, "teacher": True},
]


class _KilledError(Exception):
    pass


def _losses(trainer: Trainer) -> list[tuple[float, float]]:
    return [
        (row["validation_perplexity"], next(v for k, v in row.items() if k.startswith("training_")))
        for row in trainer.progress.log
    ]


@pytest.mark.parametrize("changes", RUNS, ids=lambda changes: "-".join(map(str, changes.values())))
def test_a_killed_run_walks_the_same_path(
    tmp_path: Path, texts: Texts, fast: Make, monkeypatch: pytest.MonkeyPatch, changes: dict[str, Any]
) -> None:
    """Killed in the middle of epochs, twice."""
    teacher = None
    if changes.get("teacher"):
        teacher = tmp_path / "teacher"
        Trainer(fast(epochs=1, hidden_size=24), texts, teacher).run()
    recipe = fast(epochs=4, **{k: v for k, v in changes.items() if k != "teacher"})
    whole = Trainer(recipe, texts, tmp_path / "whole", teacher=teacher)
    whole.run()

    plain_step = Trainer.step
    for kill_after in (14, 19):
        steps = 0

        def step(self: Trainer, batch: Any, limit: int = kill_after) -> tuple[float, int]:
            nonlocal steps
            steps += 1
            if steps > limit:
                raise _KilledError
            return plain_step(self, batch)

        monkeypatch.setattr(Trainer, "step", step)
        with pytest.raises(_KilledError):
            Trainer(recipe, texts, tmp_path / "parts", teacher=teacher, save_seconds=0).run()
    monkeypatch.setattr(Trainer, "step", plain_step)
    lines: list[str] = []
    parts = Trainer(recipe, texts, tmp_path / "parts", teacher=teacher, report=lines.append)
    parts.run()
    assert any(line.startswith("resuming at epoch") for line in lines)
    assert _losses(parts) == _losses(whole)
    assert (tmp_path / "parts" / checkpoint.WEIGHTS).read_bytes() == (
        tmp_path / "whole" / checkpoint.WEIGHTS
    ).read_bytes()


SCRIPT = """
import json, sys
from pathlib import Path
import torch
from models.training.ingredients import Texts
from models.training.recipe import make_recipe
from models.training.trainer import Trainer
torch.set_num_threads(1)
folder, recipe = Path(sys.argv[1]), make_recipe(json.loads(sys.argv[2]))
texts = Texts(folder / "train.txt", folder / "valid.txt")
Trainer(recipe, texts, folder / sys.argv[3], save_seconds=float(sys.argv[4]), report=print).run()
"""


def test_a_run_killed_by_the_system(tmp_path: Path, texts: Texts, fast: Make, repository: Path) -> None:
    """SIGKILL, several times, wherever the process is just then; no tidying, no warning."""
    recipe = fast(epochs=6, state="stream", columns=2, optimizer="sgd", momentum=0.5, learning_rate=0.5)
    environment = {**os.environ, "PYTHONPATH": str(repository), "OMP_NUM_THREADS": "1"}

    def start(out: str, save_seconds: float) -> subprocess.Popen[bytes]:
        arguments = [str(tmp_path), json.dumps(recipe.model_dump()), out, str(save_seconds)]
        return subprocess.Popen(
            [sys.executable, "-c", SCRIPT, *arguments], env=environment, stdout=subprocess.PIPE
        )

    whole = start("whole", 1000)
    output = whole.communicate(timeout=600)[0]
    assert whole.returncode == 0, output
    state = tmp_path / "parts.training" / "last" / "state.json"
    seen = 0
    for _ in range(3):
        process = start("parts", 0)
        while process.poll() is None and _batches_done(state) < seen + 40:
            time.sleep(0.002)
        process.send_signal(signal.SIGKILL)
        process.communicate()
        assert process.returncode == -signal.SIGKILL, "the run was over before it was killed"
        seen = _batches_done(state)
    last = start("parts", 1000)
    output = last.communicate(timeout=600)[0]
    assert last.returncode == 0
    assert b"resuming at epoch" in output
    for name in (checkpoint.WEIGHTS, checkpoint.CONFIG, checkpoint.VOCABULARY):
        assert (tmp_path / "parts" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()
    assert not (tmp_path / "parts.training").exists()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_run_that_is_stopped_goes_on_with_the_very_next_step(
    tmp_path: Path, texts: Texts, fast: Make, monkeypatch: pytest.MonkeyPatch, number: signal.Signals
) -> None:
    """Whatever a signal interrupts, the step is finished and saved first."""

    class StoppedError(Exception):
        pass

    def stop(_number: int, _frame: object) -> None:
        raise StoppedError

    old = signal.signal(number, stop)
    try:
        Trainer(fast(epochs=2), texts, tmp_path / "whole").run()
        plain_step = Trainer.step
        steps = 0

        def step(self: Trainer, batch: Any) -> tuple[float, int]:
            nonlocal steps
            steps += 1
            if steps == 3:
                signal.raise_signal(number)
            return plain_step(self, batch)

        monkeypatch.setattr(Trainer, "step", step)
        lines: list[str] = []
        with pytest.raises(StoppedError):
            Trainer(fast(epochs=2), texts, tmp_path / "parts", report=lines.append).run()
        assert lines[-1] == "stopped: the same command goes on from here"
        assert steps == _batches_done(tmp_path / "parts.training/last/state.json") == 3
        Trainer(fast(epochs=2), texts, tmp_path / "parts", report=lines.append).run()
        assert signal.getsignal(number) is stop
    finally:
        signal.signal(number, old)
    assert any(line.startswith("resuming at epoch") for line in lines)
    weights = [(tmp_path / name / checkpoint.WEIGHTS).read_bytes() for name in ("parts", "whole")]
    assert weights[0] == weights[1]


def _batches_done(state: Path) -> int:
    """About how many batches the last saved state has behind it; 0 where there is none."""
    try:
        progress = json.loads(state.read_text())["progress"]
    except FileNotFoundError:  # not yet there, or just being replaced
        return 0
    return 50 * int(progress["epoch"]) + int(progress["batches_done"])


def test_another_recipe_text_or_model_does_not_take_up_the_run(
    tmp_path: Path, texts: Texts, fast: Make
) -> None:
    Trainer(fast(epochs=1, seed=2), texts, tmp_path / "big").run()
    recipe = fast(epochs=1)
    Trainer(recipe, texts, tmp_path / "out")._save()
    with pytest.raises(
        ConfigError, match="is a run with another recipe: remove it to start afresh"
    ) as caught:
        Trainer(fast(epochs=2), texts, tmp_path / "out").run()
    assert (caught.value.expected, caught.value.got) == ("{'epochs': 1}", "{'epochs': 2}")
    with pytest.raises(ConfigError, match="is a run with another teacher"):
        Trainer(recipe, texts, tmp_path / "out", teacher=tmp_path / "big").run()
    with pytest.raises(ConfigError, match="is a run with another init"):
        Trainer(recipe, texts, tmp_path / "out", init=tmp_path / "big").run()
    texts.valid.write_text("the dog\n")
    with pytest.raises(ConfigError, match="is a run with another sha256"):
        Trainer(recipe, texts, tmp_path / "out").run()


def test_a_broken_state_is_named(tmp_path: Path, texts: Texts, fast: Make) -> None:
    Trainer(fast(epochs=1), texts, tmp_path / "out")._save()
    state = tmp_path / "out.training" / "last" / "state.safetensors"
    state.write_bytes(state.read_bytes()[:100])
    with pytest.raises(ModelFileError, match="broken training state"):
        Trainer(fast(epochs=1), texts, tmp_path / "out").run()


@pytest.mark.parametrize(
    "change",
    [
        {"progress": None},
        {"progress": {"epoch": 1}},
        {"progress": {"best": None, "more": 1}},
        {"progress": {"best": None, "epoch": "x"}},
        {"progress": {"best": None, "batches_done": -1}},
        {"progress": {"best": None, "log": [1]}},
    ],
)
def test_a_damaged_state_is_named(tmp_path: Path, texts: Texts, fast: Make, change: dict[str, Any]) -> None:
    Trainer(fast(epochs=1), texts, tmp_path / "out")._save()
    state = tmp_path / "out.training" / "last" / "state.json"
    state.write_text(json.dumps(json.loads(state.read_text()) | change))
    with pytest.raises(ModelFileError, match=r"out.training: broken training state; expected .* remove it"):
        Trainer(fast(epochs=1), texts, tmp_path / "out").run()
    state.write_text("[]")
    with pytest.raises(ModelFileError, match="broken training state"):
        Trainer(fast(epochs=1), texts, tmp_path / "out").run()


@pytest.mark.parametrize("name", ["random", "model.embedding.weight"])
def test_a_state_without_a_tensor_is_named(tmp_path: Path, texts: Texts, fast: Make, name: str) -> None:
    Trainer(fast(epochs=1), texts, tmp_path / "out")._save()
    state = tmp_path / "out.training" / "last" / "state.safetensors"
    tensors = load_file(state)
    (gone,) = [one for one in tensors if one == name]
    del tensors[gone]
    save_file(tensors, state)
    with pytest.raises(ModelFileError, match="broken training state"):
        Trainer(fast(epochs=1), texts, tmp_path / "out").run()


def test_broken_best_weights_are_named_and_the_run_is_kept(tmp_path: Path, texts: Texts, fast: Make) -> None:
    trainer = Trainer(fast(epochs=1), texts, tmp_path / "out")
    trainer._epoch()
    best = tmp_path / "out.training" / "best.safetensors"
    best.write_bytes(best.read_bytes()[:100])
    with pytest.raises(ModelFileError, match="broken training state"):
        Trainer(fast(epochs=1), texts, tmp_path / "out").run()
    assert best.is_file()
    assert not (tmp_path / "out").exists()


def test_a_model_without_finite_perplexities_is_not_written(tmp_path: Path, texts: Texts, fast: Make) -> None:
    trainer = Trainer(fast(epochs=1), texts, tmp_path / "out")
    trainer._epoch()
    best = tmp_path / "out.training" / "best.safetensors"
    tensors = load_file(best)
    next(iter(tensors.values()))[:] = math.nan
    save_file(tensors, best)
    with pytest.raises(ConfigError, match="not finite"):
        Trainer(fast(epochs=1), texts, tmp_path / "out").run()
    assert best.is_file()
    assert not (tmp_path / "out").exists()


def test_two_trainings_do_not_share_a_folder(tmp_path: Path, texts: Texts, fast: Make) -> None:
    first, second = (Trainer(fast(epochs=1), texts, tmp_path / "out") for _ in range(2))
    with first.saved.locked(), pytest.raises(ConfigError, match="another training is at work here"):
        second.run()
    second.run()
    assert checkpoint.load(tmp_path / "out").card.name == "out"


def test_the_run_folder_shows_the_log_while_it_runs(tmp_path: Path, texts: Texts, fast: Make) -> None:
    trainer = Trainer(fast(epochs=2), texts, tmp_path / "out")
    trainer._epoch()
    folder = tmp_path / "out.training"
    assert folder.joinpath("log.csv").read_text().count("\n") == 2
    assert "<title>out</title>" in folder.joinpath("log.svg").read_text()
