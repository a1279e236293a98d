"""The command that measures a card: what it writes, what it leaves, how it counts changed 1-bests."""

import json
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch

from models import checkpoint
from models.architectures import architecture
from models.checkpoint import ModelCard
from models.language_model import LanguageModel
from models.vocabulary import SPECIAL, Vocabulary


@pytest.fixture
def card(repository: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(repository / "benchmarks")
    import card  # type: ignore[import-not-found]

    found: ModuleType = card
    return found


@pytest.fixture
def model(tmp_path: Path) -> Path:
    vocabulary = Vocabulary((*SPECIAL, "a", "man", "horse", "is", "riding"), unseen_types=7)
    torch.manual_seed(1)
    made = LanguageModel(architecture("bllm", len(vocabulary), 16, 1))
    before = ModelCard(name="m", perplexity={"validation": 5.0}, training={"loss": "sampled"})
    checkpoint.save(tmp_path / "m", made, vocabulary, before)
    return tmp_path / "m"


def test_figures_go_into_the_card(repository: Path, model: Path, tmp_path: Path) -> None:
    text = tmp_path / "held-out.txt"
    text.write_text("a man is riding\na zebra\n")
    digest = checkpoint.load(model).digest
    done = subprocess.run(
        [
            sys.executable,
            "benchmarks/card.py",
            model,
            "--data",
            tmp_path,
            "--no-wikitext",
            "--held-out",
            text,
        ],
        cwd=repository,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    written = json.loads((model / "card.json").read_text())
    assert set(written["perplexity"]) == {
        "validation",
        *(
            f"held-out, {state} state{more}"
            for state in ("sentence", "stream")
            for more in ("", ", known words alone", ", OOV spread")
        ),
    }
    assert written["oov_rate"] == {"held-out": 1 / 8}
    assert set(written["measured"]) == {
        "bytes on disk",
        "bytes of weights in memory",
        "nats a character, held-out",
    }
    assert "perplexity held-out, sentence state: " in done.stdout
    assert checkpoint.load(model).digest == digest


def test_words_a_second(card: ModuleType, model: Path) -> None:
    assert card.words_per_second(str(model), ["a man", "a horse"] * 50, rounds=2, threads=1) > 10


def test_changed_1_bests_are_counted_by_list(card: ModuleType) -> None:
    exact = np.array([-1.0, -2.0, -3.0, -3.0, -5.0])
    other = np.array([-2.0, -1.0, -3.0, -3.0, -5.0])
    offsets = np.array([0, 2, 4, 5])
    assert card.changed_share(exact, exact, offsets) == 0
    assert card.changed_share(exact, other, offsets) == pytest.approx(1 / 3)
    assert card.changed_share(exact + 100, exact, offsets) == 0
