from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from models import checkpoint
from models.architectures import architecture
from models.checkpoint import Checkpoint, ModelCard
from models.language_model import LanguageModel
from models.vocabulary import SPECIAL, Vocabulary

WORDS = ("a", "man", "dog", "walks", "the", "street", "sees", "red", "house", "and", "in", "on", ".", "big")


@pytest.fixture
def vocabulary() -> Vocabulary:
    return Vocabulary((*SPECIAL, *WORDS, *(f"w{k}" for k in range(60))), unseen_types=7)


@pytest.fixture
def make_model(vocabulary: Vocabulary) -> Callable[..., LanguageModel]:
    """A small model whose vectors are not zero, so that every one of them matters."""

    def make(
        system: str, hidden_size: int = 20, layers: int = 1, seed: int = 3, **options: object
    ) -> LanguageModel:
        torch.manual_seed(seed)
        model = LanguageModel(architecture(system, len(vocabulary), hidden_size, layers, **options))
        with torch.no_grad():
            for _, vector in model.vectors():
                vector.normal_(0, 0.3)
            for _, matrix in model.slots():
                for parameter in matrix.parameters():
                    parameter.mul_(8)  # far from uniform, so that errors show
        return model

    return make


@pytest.fixture
def saved(
    tmp_path: Path, vocabulary: Vocabulary, make_model: Callable[..., LanguageModel]
) -> Callable[..., Checkpoint]:
    """A model written to disk and read back."""

    def save(system: str, **options: int) -> Checkpoint:
        path = tmp_path / system
        checkpoint.save(path, make_model(system, **options), vocabulary, ModelCard(name=system))
        return checkpoint.load(path)

    return save
