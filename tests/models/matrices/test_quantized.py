"""A byte a number: exact intervals, the error they allow, no training."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from models.matrices.quantized import QuantizedMatrix, QuantizedSpec
from nbest.errors import ConfigError, ModelFileError


def test_bytes_on_disk() -> None:
    """Golden: 256 intervals of 1/64 from -2 to 2; a border belongs to the interval above it."""
    weight = torch.tensor([[-2.0, -2.0 + 1 / 128, -2.0 + 1 / 64], [0.0, 2.0 - 1 / 64, 2.0]])
    matrix = QuantizedSpec().from_trained(weight)
    stored = matrix.stored()
    assert stored["codes"].tolist() == [[0, 0, 1], [128, 255, 255]]
    assert stored["range"].tolist() == [-2.0, 2.0]
    assert (stored["codes"].dtype, stored["range"].dtype) == (torch.uint8, torch.float32)
    middles = [[-2 + 1 / 128, -2 + 1 / 128, -2 + 3 / 128], [1 / 128, 2 - 1 / 128, 2 - 1 / 128]]
    assert QuantizedSpec().read(stored, 2, 3).materialize().tolist() == middles


@given(
    st.lists(st.floats(-1e6, 1e6, width=32), min_size=1, max_size=40),
)
def test_no_number_moves_by_more_than_a_512th_of_the_range(numbers: list[float]) -> None:
    weight = torch.tensor([numbers])
    moved = QuantizedSpec().from_trained(weight).materialize() - weight
    allowed = float(weight.max() - weight.min()) / 512 + 1e-6 * float(weight.abs().max())
    assert float(moved.abs().max()) <= allowed


def test_equal_numbers_stay() -> None:
    weight = torch.full((3, 4), 0.3)
    assert torch.equal(QuantizedSpec().from_trained(weight).materialize(), weight)


def test_size_is_a_byte_a_number_on_disk_and_in_memory() -> None:
    size = QuantizedSpec().from_trained(torch.randn(100, 30)).size()
    assert (size.parameters, size.paper_bytes, size.extra_bytes, size.resident) == (3000, 3000, 8, 3000)


def test_tiles_do_not_change_the_product() -> None:
    matrix, x = QuantizedSpec().from_trained(torch.randn(53, 20)), torch.randn(6, 20)
    whole = matrix.logits(matrix.prepare(x), slice(0, 53))
    matrix.tile_rows = 7
    torch.testing.assert_close(matrix.logits(matrix.prepare(x), slice(0, 53)), whole)
    torch.testing.assert_close(matrix.logits(matrix.prepare(x), slice(5, 40)), whole[:, 5:40])


def test_only_a_tile_becomes_numbers(monkeypatch: pytest.MonkeyPatch) -> None:
    matrix, seen = QuantizedSpec().from_trained(torch.randn(53, 20)), []
    numbers = QuantizedMatrix._numbers

    def note(self: QuantizedMatrix, codes: Tensor) -> Tensor:
        seen.append(codes.numel())
        return numbers(self, codes)

    monkeypatch.setattr(QuantizedMatrix, "_numbers", note)
    matrix.tile_rows = 10
    matrix.logits(matrix.prepare(torch.randn(6, 20)), slice(0, 53))
    assert seen == [200, 200, 200, 200, 200, 60]


def test_it_is_not_trained() -> None:
    with pytest.raises(
        ConfigError, match="is not trained: nbest compress --int8 makes it from a trained one"
    ):
        QuantizedSpec().build(3, 4)
    with pytest.raises(ConfigError, match="cannot be trained: take the model that it was made from"):
        QuantizedSpec().from_trained(torch.randn(3, 4)).trainable()


def test_what_cannot_be_read() -> None:
    codes = torch.zeros(3, 4, dtype=torch.uint8)
    for content, message in (
        (torch.tensor([1.0, -1.0]), "'range' is upside down; expected least, greatest; got 1.0, -1.0"),
        (torch.tensor([0.0, torch.inf]), "not finite"),
        (torch.zeros(3), r"expected \(2,\) torch.float32; got \(3,\)"),
    ):
        with pytest.raises(ModelFileError, match=message):
            QuantizedSpec().read({"codes": codes, "range": content}, 3, 4)
