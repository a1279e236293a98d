"""A text that can be learnt in seconds, and recipes that do."""

import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from models.training.ingredients import Texts
from models.training.recipe import Recipe, make_recipe

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
def fast() -> Callable[..., Recipe]:
    """A recipe of a few seconds with some values changed."""
    return lambda **changes: make_recipe(FAST | changes)


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
