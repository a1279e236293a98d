"""Masks: their rate, their mean, what they share."""

import pytest
import torch

from models.dropout import Dropout, random_mask

CPU = torch.device("cpu")


@pytest.mark.parametrize("rate", [0.001, 0.1, 0.5, 0.9])
def test_a_mask_has_its_rate_and_the_mean_one(rate: float) -> None:
    torch.manual_seed(0)
    mask = random_mask((1000, 999), rate, CPU)
    assert float((mask == 0).float().mean()) == pytest.approx(rate, abs=0.002)
    assert float(mask.mean()) == pytest.approx(1.0, abs=0.01)
    assert len(mask.unique()) == 2
    assert float(mask.max()) == pytest.approx(1 / (1 - rate), rel=1e-3)


def test_neighbours_in_a_mask_are_independent() -> None:
    """Four decisions come from one random number: none may tell of another."""
    torch.manual_seed(0)
    kept = (random_mask((400_000,), 0.5, CPU) > 0).float()
    for lag in range(1, 9):
        both = float((kept[lag:] * kept[:-lag]).mean())
        assert both == pytest.approx(0.25, abs=0.005), lag
    lanes = kept.view(-1, 4).mean(0)
    assert lanes.tolist() == pytest.approx([0.5] * 4, abs=0.01)


@pytest.mark.parametrize("shape", [(), (1,), (3,), (5, 7), (0, 3)])
def test_any_shape(shape: tuple[int, ...]) -> None:
    assert random_mask(shape, 0.3, CPU).shape == shape


def test_a_seed_gives_the_same_mask() -> None:
    masks = []
    for _ in range(2):
        torch.manual_seed(5)
        masks.append(random_mask((7, 5), 0.5, CPU))
    assert torch.equal(*masks)


def test_gradients_are_dropped_with_the_numbers() -> None:
    torch.manual_seed(0)
    x = torch.ones(6, 2, 50, requires_grad=True)
    dropped = Dropout().drop(x, 0.5)
    dropped.sum().backward()
    assert torch.equal(x.grad, dropped.detach())
