"""Chunked and sampled losses against plain autograd on the whole."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor

from models.language_model import LanguageModel
from models.training.losses import ChunkedCrossEntropy, SampledCrossEntropy

Make = Callable[..., LanguageModel]
SYSTEMS = ("lstm", "belm", "bllm", "slim")


def _batch() -> tuple[Tensor, Tensor]:
    random = torch.Generator().manual_seed(1)
    return torch.randn(11, 20, generator=random), torch.randint(0, 77, (11,), generator=random)


def _plain(
    model: LanguageModel, hidden: Tensor, targets: Tensor, factor: float
) -> tuple[float, Tensor, list[Tensor]]:
    leaf = hidden.clone().requires_grad_()
    rows = model.output.rows(torch.arange(77))
    logits = model.before_output(leaf) @ rows.t()
    if model.output_bias is not None:
        logits = logits + model.output_bias
    nats = torch.nn.functional.cross_entropy(logits, targets, reduction="sum")
    (nats * factor).backward()
    assert leaf.grad is not None
    return float(nats.detach()), leaf.grad, _gradients(model)


def _gradients(model: LanguageModel) -> list[Tensor]:
    """Of all parameters that the output layer has a part in; cleared on the way."""
    found = []
    for parameter in model.parameters():
        if parameter.grad is not None:
            found.append(parameter.grad.clone())
            parameter.grad = None
    return found


@pytest.mark.parametrize("chunk", [1, 4, 100])
@pytest.mark.parametrize("system", SYSTEMS)
def test_chunks_add_up_to_the_whole(make_model: Make, system: str, chunk: int) -> None:
    model = make_model(system, output_bias=True)
    hidden, targets = _batch()
    nats, by_hidden, gradients = _plain(model, hidden, targets, 0.3)
    loss = ChunkedCrossEntropy(model, chunk_tokens=chunk)
    mine, mine_by_hidden = loss.backward(hidden, targets, 0.3)
    assert mine == pytest.approx(nats, rel=1e-5)
    torch.testing.assert_close(mine_by_hidden, by_hidden)
    for got, wanted in zip(_gradients(model), gradients, strict=True):
        torch.testing.assert_close(got, wanted, rtol=1e-4, atol=1e-5)
    assert loss.nats(hidden, targets) == pytest.approx(nats, rel=1e-5)


@pytest.mark.parametrize("system", SYSTEMS)
def test_sampling_every_word_is_the_full_softmax(make_model: Make, system: str) -> None:
    """With so much noise that every word is surely drawn, no correction is left."""
    model = make_model(system, output_bias=True)
    hidden, targets = _batch()
    nats, by_hidden, gradients = _plain(model, hidden, targets, 0.3)
    loss = SampledCrossEntropy(model, np.ones(77), samples=20_000)
    mine, mine_by_hidden = loss.backward(hidden, targets, 0.3)
    assert mine == pytest.approx(nats, rel=1e-4)
    torch.testing.assert_close(mine_by_hidden, by_hidden, rtol=1e-3, atol=1e-4)
    for got, wanted in zip(_gradients(model), gradients, strict=True):
        torch.testing.assert_close(got, wanted, rtol=1e-3, atol=1e-4)


def test_sampled_gradient_points_where_the_full_one_does(make_model: Make) -> None:
    model = make_model("lstm")
    hidden, targets = _batch()
    _, full, _ = _plain(model, hidden, targets, 1.0)
    loss = SampledCrossEntropy(model, np.ones(77), samples=40)
    mean = torch.stack([loss.backward(hidden, targets, 1.0)[1] for _ in range(300)]).mean(0)
    assert float(torch.cosine_similarity(mean.flatten(), full.flatten(), 0)) > 0.98


def test_noise_can_be_taken_up_again(make_model: Make) -> None:
    model = make_model("lstm")
    hidden, targets = _batch()
    loss = SampledCrossEntropy(model, np.ones(77), samples=10)
    state = loss.random_state()
    first = loss.backward(hidden, targets, 1.0)[0]
    assert loss.backward(hidden, targets, 1.0)[0] != first
    loss.set_random_state(state)
    assert loss.backward(hidden, targets, 1.0)[0] == first


def test_bf16_is_close(make_model: Make) -> None:
    model = make_model("lstm")
    hidden, targets = _batch()
    exact = ChunkedCrossEntropy(model).backward(hidden, targets, 1.0)
    low = ChunkedCrossEntropy(model, low_precision=True).backward(hidden, targets, 1.0)
    assert low[0] == pytest.approx(exact[0], rel=0.02)
    assert float(torch.cosine_similarity(low[1].flatten(), exact[1].flatten(), 0)) > 0.999
