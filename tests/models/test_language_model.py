"""The model's parts agree: fused loop and single steps, training form and packed; bad options are named."""

from collections.abc import Callable

import pytest
import torch

from models.architectures import architecture
from models.language_model import Dropout, LanguageModel
from nbest.errors import ConfigError

SYSTEMS = ("lstm", "belm", "bllm", "slim")


@pytest.mark.parametrize("layers", [1, 2])
@pytest.mark.parametrize("system", SYSTEMS)
def test_training_loop_equals_single_steps(
    make_model: Callable[..., LanguageModel], system: str, layers: int
) -> None:
    model = make_model(system, layers=layers)
    ids = torch.randint(0, 77, (9, 4), generator=torch.Generator().manual_seed(1))  # (T, B)
    outputs, last = model(ids, model.start_state(4))
    packed = model.packed()
    state = packed.start_state(4)
    for t in range(9):
        hidden, state = packed.step(ids[t], state)
        torch.testing.assert_close(hidden, outputs[t], rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(state.cell, last.cell, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("system", SYSTEMS)
def test_every_parameter_gets_a_gradient(make_model: Callable[..., LanguageModel], system: str) -> None:
    model = make_model(system)
    hidden, _ = model(torch.arange(77)[:, None], model.start_state(1))
    prepared = model.prepare_output(hidden[:, 0])
    model.logits(prepared, slice(0, 77)).log_softmax(1).diagonal().sum().backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.abs().sum() > 0, name


def test_packing_leaves_the_training_form_trainable(make_model: Callable[..., LanguageModel]) -> None:
    model = make_model("bllm")
    before = {name: value.clone() for name, value in model.state_dict().items()}
    packed = model.packed()
    packed.set_vectors({name: vector + 1 for name, vector in packed.vectors()})
    assert all(parameter.requires_grad for parameter in model.parameters())
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_dropout_drops_where_told(make_model: Callable[..., LanguageModel]) -> None:
    model = make_model("lstm")
    ids = torch.zeros(5, 3, dtype=torch.int64)
    torch.manual_seed(0)
    dropped, _ = model(ids, model.start_state(3), Dropout(0.0, 0.5))
    share = float((dropped == 0).float().mean())
    assert 0.3 < share < 0.7
    whole, _ = model(ids, model.start_state(3))
    assert not bool((whole == 0).any())


@pytest.mark.parametrize(
    ("arguments", "options", "message"),
    [
        (("gru", 10, 8), {}, "unknown system; expected one of lstm, belm, bllm, slim; got 'gru'"),
        (("lstm", 10, 8), {"parts": 2}, "system 'lstm'"),
        (("slim", 10, 8), {"parts": 3}, "the number of parts does not divide"),
        (("slim", 10, 8), {"ratio": 0}, "ratio out of range; expected above 0, at most 1; got 0"),
        (("lstm", 0, 8), {}, "greater than or equal to 1"),
    ],
)
def test_what_cannot_be_built(
    arguments: tuple[str, int, int], options: dict[str, object], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        architecture(*arguments, **options)
