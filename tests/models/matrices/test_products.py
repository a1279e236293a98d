"""Products by oneDNN, where torch has them: the same as by torch's own choice."""

from typing import Any

import pytest
import torch
from torch.nn import functional

from models.matrices import products


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, ...]]:
    """Shapes of the inputs that oneDNN gets."""
    seen: list[tuple[int, ...]] = []
    one_dnn = products._ONE_DNN
    if one_dnn is None:
        pytest.skip("this torch has no products by oneDNN")

    def watched(x: torch.Tensor, *others: Any) -> Any:
        seen.append(tuple(x.shape))
        return one_dnn(x, *others)

    monkeypatch.setattr(products, "_ONE_DNN", watched)
    return seen


@pytest.mark.parametrize(("count", "columns", "rows"), [(4, 1, 1), (5, 48, 7), (64, 512, 300)])
def test_the_same_numbers(calls: list[tuple[int, ...]], count: int, columns: int, rows: int) -> None:
    x, weight = torch.randn(count, columns), torch.randn(rows + 3, columns)
    with torch.inference_mode():
        found = products.linear(x, weight[3:])
    assert calls == [(count, columns)]
    assert torch.allclose(found, functional.linear(x, weight[3:]), atol=1e-4)


def test_by_torch_itself_where_few_are_read_or_a_gradient_or_less_precision_is_wanted(
    calls: list[tuple[int, ...]],
) -> None:
    x, weight = torch.randn(8, 5), torch.randn(3, 5, requires_grad=True)
    products.linear(x, weight).sum().backward()  # type: ignore[no-untyped-call]
    assert weight.grad is not None
    with torch.inference_mode():
        assert products.linear(x[:3], weight).shape == (3, 3)
        assert products.linear(x.double(), weight.double()).dtype == torch.float64
        with torch.autocast("cpu", torch.bfloat16):
            assert products.linear(x, weight).dtype == torch.bfloat16
    assert calls == []


def test_without_one_dnn(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(products, "_ONE_DNN", None)
    x, weight = torch.randn(8, 5), torch.randn(3, 5)
    with torch.inference_mode():
        assert torch.equal(products.linear(x, weight), functional.linear(x, weight))
