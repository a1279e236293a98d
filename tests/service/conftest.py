"""A small deterministic language model, and services that use it."""

import json
import math
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
from fastapi.testclient import TestClient

from nbest.errors import ModelFileError
from rescoring.scorer import ScoreArrays
from service.app import create_app
from service.settings import Settings

# Unigram model: natural log-probabilities, made up; an unknown word costs 8.
WORDS = {"a": -1.0, "man": -2.0, "riding": -3.0, "writing": -5.0, "horse": -3.5, "is": -1.5, "</s>": -0.5}
OOV = -8.0


class Token(NamedTuple):
    token: str
    nat_log_prob: float
    is_oov: bool


def unigram(text: str) -> list[Token]:
    """Tokens of a text under the model, the end of the sentence last."""
    words = [word for word in text.split(" ") if word]
    return [Token(word, WORDS.get(word, OOV), word not in WORDS) for word in [*words, "</s>"]]


class FakeScorer:
    """A unigram scorer that counts its calls and can be held back."""

    def __init__(self, name: str = "small") -> None:
        self.name = name
        self.digest = "sha256:" + "0" * 64
        self.calls: list[list[str]] = []
        self.gate = threading.Event()
        self.gate.set()

    def score(self, texts: Sequence[str]) -> ScoreArrays:
        """The unigram sums; a text with the word CRASH fails the whole call, as a fault of a model would."""
        self.calls.append(list(texts))
        assert self.gate.wait(10)
        if any("CRASH" in text for text in texts):
            raise RuntimeError("matrix exploded")
        tokens = [unigram(text) for text in texts]
        return ScoreArrays(
            np.array([math.fsum(token.nat_log_prob for token in one) for one in tokens], dtype=np.float64),
            np.array([len(one) for one in tokens], dtype=np.int64),
            np.array([sum(token.is_oov for token in one) for one in tokens], dtype=np.int64),
        )

    def score_tokens(self, texts: Sequence[str]) -> list[list[Token]]:
        return [unigram(text) for text in texts]


class World:
    """A models directory, a weights directory and the scorers that were opened."""

    def __init__(self, root: Path) -> None:
        self.models = root / "models"
        self.weights = root / "weights"
        self.models.mkdir()
        self.weights.mkdir()
        for name in ("local", "broken"):
            (self.models / name).mkdir()
            (self.models / name / "config.json").touch()
        (self.weights / "asr.json").write_text(
            json.dumps({"format": "nbest-weights/1", "features": {"ac": 1.0, "small": 9.0}})
        )
        self.opened: dict[str, FakeScorer] = {}

    def open_scorer(self, source: str) -> FakeScorer:
        """Stands for models.catalog.open_scorer."""
        name = Path(source).name
        if name == "broken":
            raise ModelFileError("corrupt or truncated", where=f"{source}/model.safetensors")
        return self.opened.setdefault(source, FakeScorer(name))

    def settings(self, **changes: Any) -> Settings:
        return Settings(**{"models": self.models, "weights": self.weights, **changes})


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


@pytest.fixture
def make_client(world: World) -> Iterator[Callable[..., TestClient]]:
    """A client of a running service with the given settings."""
    open_clients: list[TestClient] = []

    def make(**changes: Any) -> TestClient:
        app = create_app(world.settings(**changes), opener=world.open_scorer, shipped=["small"])
        client = TestClient(app)
        client.__enter__()
        open_clients.append(client)
        return client

    yield make
    for client in open_clients:
        client.__exit__(None, None, None)


@pytest.fixture
def client(make_client: Callable[..., TestClient]) -> TestClient:
    return make_client()
