"""Sketches of output layers: near where they should be, checked before they are used."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor

from models.checkpoint import Checkpoint
from models.language_model import LanguageModel
from models.scoring.native_engine import NativeEngine, kernels
from models.scoring.scorer import LanguageModelScorer
from models.scoring.sketch import Sketcher, smallest_sketch, spoken

Save = Callable[..., Checkpoint]
needs_int8 = pytest.mark.skipif(
    kernels() is None or not kernels().has_int8(), reason="no compiled kernels with 8-bit products here"
)
TEXTS = ["a man walks the dog", "the big house", "", "a man sees w3 w9 w41 and the red street ."] * 5


def layer(words: int, cells: int, telling: int, rest: float) -> tuple[Tensor, Tensor, Tensor]:
    """(weight (V, H), bias (V,), x (T, N, H)): `telling` directions matter, the others by `rest` of that."""
    generator = torch.Generator().manual_seed(5)
    scale = torch.full((cells,), rest)
    scale[:telling] = 1.0
    turn = torch.linalg.qr(torch.randn(cells, cells, generator=generator))[0]
    weight = (torch.randn(words, cells, generator=generator) * scale * telling**-0.5) @ turn
    x = torch.randn(12, 40, cells, generator=generator) + 0.5
    return weight, torch.randn(words, generator=generator), x


def log_sums(weight: Tensor, bias: Tensor, x: Tensor) -> Tensor:
    return torch.logsumexp(x.flatten(0, -2).double() @ weight.double().T + bias, 1)


def test_all_columns_are_the_whole_layer() -> None:
    weight, bias, x = layer(50, 24, 24, 1.0)
    sketch = Sketcher(weight, bias, x.flatten(0, 1)).sketch(24)
    logits = sketch.of(x.flatten(0, 1)) @ sketch.rows.T + sketch.bias
    assert torch.allclose(logits, x.flatten(0, 1) @ weight.T + bias, atol=1e-3)


def test_what_is_left_out_is_made_up_for_in_the_mean() -> None:
    weight, bias, x = layer(3_000, 32, 32, 1.0)
    seen, unseen = x[:, :30].flatten(0, 1), x[:, 30:].flatten(0, 1)
    sketch = Sketcher(weight, bias, seen).sketch(16)
    exact = log_sums(weight, bias, unseen)
    with_it = log_sums(sketch.rows, sketch.bias, sketch.of(unseen)) - exact
    plain_bias = Sketcher(weight, bias, seen).bias
    without = log_sums(sketch.rows, plain_bias, sketch.of(unseen)) - exact
    assert without.mean() < -0.1
    assert with_it.mean().abs() < 0.2 * without.mean().abs()


@needs_int8
def test_the_smallest_that_is_near_enough_is_taken() -> None:
    weight, bias, x = layer(2_000, 64, 12, 0.02)
    found = smallest_sketch(kernels(), weight, bias.numpy(), x, isa=kernels().isas()[0])
    assert found is not None
    assert found.size == 16  # two eighths
    unseen = torch.randn(100, 64, generator=torch.Generator().manual_seed(6)) + 0.5
    got = np.empty(100)
    found.log_normalizers(unseen.numpy(), got)
    off = np.abs(got - log_sums(weight, bias, unseen).numpy())
    assert off.mean() < 3e-3
    assert off.max() < 3e-2


@needs_int8
def test_none_is_taken_where_all_directions_tell(monkeypatch: pytest.MonkeyPatch) -> None:
    weight, bias, x = layer(300, 16, 16, 1.0)
    monkeypatch.setattr("models.scoring.sketch.MEAN_OFF", 1e-9)
    assert smallest_sketch(kernels(), weight, bias.numpy(), x, isa=kernels().isas()[0]) is None


def test_a_model_says_the_same_each_time(make_model: Callable[..., LanguageModel]) -> None:
    model = make_model("lstm", layers=2)
    first, second = spoken(model), spoken(model)
    assert torch.equal(first.words, second.words)
    assert torch.equal(first.x, second.x)
    assert first.words.shape == first.x.shape[:2]
    assert (first.words[0] == 2).all()  # <s>
    assert (first.words > 0).all()  # </s> is not read
    assert len(set(first.words.flatten().tolist())) > 20


@needs_int8
def test_steps_that_are_too_far_off_in_bytes_are_made_in_floats(
    saved: Save, monkeypatch: pytest.MonkeyPatch
) -> None:
    loaded = saved("lstm")
    monkeypatch.setattr("models.scoring.native_engine.CELLS_MEAN", -1.0)
    scorer = LanguageModelScorer(loaded, "m", precision="int8")
    states = [loaded.model.start_state(4), loaded.model.start_state(4)]
    words, above, kept = np.asarray([2, 5]), np.zeros(2, dtype=np.int64), np.asarray([1, 2])
    engines = [scorer.engine, NativeEngine(loaded.model)]
    with torch.inference_mode():
        hidden = [e.walk().step(words, above, kept, s) for e, s in zip(engines, states, strict=True)]
    assert torch.equal(*hidden)
    exact = LanguageModelScorer(loaded, "m").score(TEXTS).nat_log_probs
    assert scorer.score(TEXTS).nat_log_probs == pytest.approx(exact, abs=0.5)
