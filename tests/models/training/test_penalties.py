"""AR and TAR against loops over the real tokens."""

import pytest
import torch

from models.training.penalties import activation_penalty, slowness_penalty


def test_penalties_are_means_over_real_tokens() -> None:
    x = torch.randn(5, 3, 4, generator=torch.Generator().manual_seed(1))  # (T, B, O)
    mask = torch.tensor([[1, 1, 1], [1, 1, 1], [1, 0, 1], [1, 0, 1], [0, 0, 1]], dtype=torch.bool)
    squares, changes = [], []
    for t in range(5):
        for b in range(3):
            if mask[t, b]:
                squares.append(float(x[t, b].square().mean()))
                if t:
                    changes.append(float((x[t, b] - x[t - 1, b]).square().mean()))
    assert float(activation_penalty(x, mask)) == pytest.approx(sum(squares) / len(squares))
    assert float(slowness_penalty(x, mask)) == pytest.approx(sum(changes) / len(changes))


def test_without_padding_they_are_the_plain_means() -> None:
    x = torch.randn(5, 3, 4, generator=torch.Generator().manual_seed(1))
    mask = torch.ones(5, 3, dtype=torch.bool)
    assert float(activation_penalty(x, mask)) == pytest.approx(float(x.square().mean()))
    assert float(slowness_penalty(x, mask)) == pytest.approx(float((x[1:] - x[:-1]).square().mean()))


def test_one_step_changes_nothing() -> None:
    assert float(slowness_penalty(torch.ones(1, 3, 4), torch.ones(1, 3, dtype=torch.bool))) == 0
