"""Commands run in this process against the small fake model, or against a real tiny one on disk."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from click.testing import CliRunner, Result

from models import catalog, checkpoint
from models.architectures import architecture
from models.language_model import LanguageModel
from models.vocabulary import SPECIAL, Vocabulary
from service.cli.main import nbest

Run = Callable[..., Result]


@pytest.fixture
def run(world: Any, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Runs `nbest ARGUMENTS`; `small` and `other` are unigram models, `broken` is a corrupt one."""
    real = catalog.open_scorer

    def fake_open(name: str, **options: Any) -> Any:
        return world.open_scorer(name) if name in {"small", "other", "broken"} else real(name, **options)

    monkeypatch.setattr(catalog, "open_scorer", fake_open)

    def call(*arguments: object, given: str | bytes | None = None, **env: str) -> Result:
        return CliRunner(env=env).invoke(nbest, [str(one) for one in arguments], input=given)

    return call


@pytest.fixture
def tiny(tmp_path: Path) -> Path:
    """A real model of a few kilobytes."""
    words = ("a", "man", "horse", "is", "riding", "writing")
    vocabulary = Vocabulary((*SPECIAL, *words), unseen_types=7)
    torch.manual_seed(1)
    model = LanguageModel(architecture("bllm", len(vocabulary), 16, 1))
    card = checkpoint.ModelCard(name="tiny", licence="CC0-1.0", perplexity={"valid": 21.5})
    checkpoint.save(tmp_path / "tiny", model, vocabulary, card)
    return tmp_path / "tiny"


MOSES = """\
0 ||| a man is writing ||| LM0= -3 TM0= -1 -2 ||| -5.5
0 ||| a man is riding ||| LM0= -4 TM0= -1 -1 ||| -5.75
1 ||| a horse ||| LM0= -2 TM0= -1 -1 ||| -3
1 ||| horse ||| LM0= -1 TM0= -2 -3 ||| -4
"""


@pytest.fixture
def lists(tmp_path: Path) -> Path:
    """A Moses file of two lists."""
    path = tmp_path / "lists.nbest"
    path.write_text(MOSES)
    return path


@pytest.fixture
def references(tmp_path: Path) -> Path:
    path = tmp_path / "refs.txt"
    path.write_text("a man is riding\na horse\n")
    return path


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    path = tmp_path / "weights.json"
    path.write_text(
        '{"format": "nbest-weights/1", "features": {"LM0": 1, "TM0": [0.5, 0], "small": 2}, "text": "raw"}'
    )
    return path
