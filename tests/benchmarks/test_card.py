"""The command that measures a card: what it writes, what it leaves, how it counts changed 1-bests."""

import json
import math
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
        "bytes on disk, weights and words",
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


@pytest.mark.parametrize(("constant", "changes"), [(math.log(8), False), (0.0, True)])
def test_1_bests_of_real_lists_without_the_normaliser(
    card: ModuleType, repository: Path, tmp_path: Path, constant: float, changes: bool
) -> None:
    """None changes where ln Z is what the card says; where it is not, every word has its price."""
    from real_lists import Side, Task  # type: ignore[import-not-found]

    from rescoring.formats import read_nbest
    from rescoring.formats.references import read_references
    from rescoring.metrics import get_metric

    vocabulary = Vocabulary((*SPECIAL, "the", "a", "in", "man", "of"), unseen_types=7)
    model = LanguageModel(architecture("lstm", len(vocabulary), 8, 1))
    with torch.no_grad():
        model.output.weight.zero_()  # type: ignore[operator]
    before = ModelCard(name="m", training={"loss": "nce", "log_normalizer": {"constant": constant}})
    checkpoint.save(tmp_path / "nce", model, vocabulary, before)

    def side(name: str) -> Side:
        lists = read_nbest(repository / "examples" / f"mt.{name}.nbest")
        return Side(lists, read_references([repository / "examples" / f"mt.{name}.ref"], lists))

    task = Task("mt", get_metric("bleu"), side("dev"), side("test"))
    shares = card.changed_1_bests(str(tmp_path / "nce"), task)
    assert set(shares) == {"the model alone", "tuned weights"}
    assert all(0 <= share <= 1 for share in shares.values())
    assert (shares["the model alone"] > 0) is changes
    assert changes or shares["tuned weights"] == 0
