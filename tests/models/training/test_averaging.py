"""The mean of weights against numpy's; the trigger as a table."""

import numpy as np
import pytest
import torch
from torch import nn

from models.training.averaging import Average, is_non_monotone


def test_it_is_the_mean_since_the_start() -> None:
    model = nn.Linear(3, 2)
    average = Average(model)
    seen = []
    for step in range(9):
        if step == 3:
            average.start()
            assert average.is_on
        with torch.no_grad():
            model.weight.normal_()
        average.add_step()
        if step >= 3:
            seen.append(model.weight.detach().clone().numpy())
    own = model.weight.detach().clone()
    with average.in_place():
        assert model.weight.detach().numpy() == pytest.approx(np.mean(seen, axis=0), abs=1e-6)
    assert torch.equal(model.weight, own)


def test_without_a_start_there_is_none() -> None:
    model = nn.Linear(3, 2)
    average = Average(model)
    average.add_step()
    assert not average.is_on
    assert average.tensors() == {}
    before = model.weight.detach().clone()
    with average.in_place():
        assert torch.equal(model.weight, before)


def test_it_goes_on_from_a_file() -> None:
    model = nn.Linear(3, 2)
    average, other = Average(model), Average(model)
    average.start()
    for step in range(4):
        with torch.no_grad():
            model.weight.normal_()
        average.add_step()
        if step == 1:
            other.load_tensors({name: tensor.clone() for name, tensor in average.tensors().items()})
        elif step > 1:
            other.add_step()
    assert other.steps == average.steps == 4
    for name, tensor in average.tensors().items():
        assert torch.equal(other.tensors()[name], tensor)
    other.load_tensors({})
    assert not other.is_on


@pytest.mark.parametrize(
    ("history", "newest", "patience", "wanted"),
    [
        ([], 9.0, 1, False),
        ([5.0], 9.0, 1, False),  # not more values than the patience
        ([5.0, 6.0], 5.5, 1, True),
        ([5.0, 4.0], 4.5, 1, False),  # the last one does not count
        ([5.0, 4.0, 4.6], 4.5, 1, True),
        ([9, 8, 7, 6, 5, 4], 8.5, 5, False),
        ([8, 9, 7, 6, 5, 4], 8.5, 5, True),
    ],
)
def test_trigger(history: list[float], newest: float, patience: int, wanted: bool) -> None:
    assert is_non_monotone(history, newest, patience) is wanted
