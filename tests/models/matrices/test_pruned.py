"""Few numbers left: the largest, alone in memory, on disk and in products; zeros stay zeros in training."""

import pytest
import torch

from models.matrices.pruned import PackedPrunedMatrix, PrunedMatrix, PrunedSpec, largest
from nbest.errors import ConfigError, ModelFileError


def _pruned(share: float, rows: int = 53, columns: int = 20) -> PackedPrunedMatrix:
    weight = torch.randn(rows, columns, generator=torch.Generator().manual_seed(1))
    return PrunedSpec(share=share).from_trained(weight)


@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 0.9, 0.999, 1.0])
def test_the_largest_numbers_are_left(share: float) -> None:
    weight = torch.randn(53, 20, generator=torch.Generator().manual_seed(1))
    matrix = PrunedSpec(share=share).from_trained(weight)
    left = matrix.materialize()
    kept = left != 0
    assert int(kept.sum()) == 1060 - round(share * 1060) == matrix.values.numel()
    assert torch.equal(left[kept], weight[kept])
    if 0 < share < 1:
        assert float(weight[kept].abs().min()) >= float(weight[~kept].abs().max())
    again = PrunedSpec(share=share).read(matrix.stored(), 53, 20)
    assert torch.equal(again.materialize(), left)
    x = torch.randn(3, 20)
    torch.testing.assert_close(again(x), x @ left.t())


def test_of_equal_numbers_the_first_are_left() -> None:
    mask = largest(torch.tensor([[1.0, -1.0, 0.5], [1.0, 2.0, -1.0]]), 3)
    assert mask.tolist() == [[True, True, False], [False, True, False]]


def test_empty_rows_and_empty_ranges() -> None:
    """Rows without numbers give zeros wherever they stand, alone too."""
    weight = torch.zeros(6, 4)
    weight[2] = torch.tensor([1.0, 0.0, 2.0, 0.0])
    weight[4, 3] = -3.0
    matrix = PrunedMatrix(weight, weight != 0).packed()
    x = torch.randn(5, 4)
    prepared = matrix.prepare(x)
    for start in range(7):
        for stop in range(start, 7):
            got = matrix.logits(prepared, slice(start, stop))
            torch.testing.assert_close(got, x @ weight[start:stop].t())
    assert torch.equal(matrix.rows(torch.tensor([0, 2, 5, 4, 2])), weight[[0, 2, 5, 4, 2]])
    assert matrix.rows(torch.zeros(0, dtype=torch.int64)).shape == (0, 4)


def test_golden_bytes() -> None:
    """Gaps 5, 9 and 0 in 2 bits, 3 for three empty places: 3 2 | 3 3 3 0 | 0, and ones to the byte's end."""
    weight = torch.zeros(3, 8)
    weight[0, 5], weight[1, 7], weight[2, 0] = 1.5, -2.0, 0.25
    stored = PrunedMatrix(weight, weight != 0).stored()
    assert stored["values"].tolist() == [1.5, -2.0, 0.25]
    assert int(stored["position_bits"]) == 2
    assert stored["positions"].tolist() == [0b11101111, 0b11000011]
    read = PrunedSpec(share=21 / 24).read(stored, 3, 8)
    assert torch.equal(read.materialize(), weight)


def test_memory_is_eight_bytes_a_number_and_a_row_offset() -> None:
    matrix = _pruned(0.9)
    assert matrix.size().resident == 8 * 106 + 4 * 54
    assert matrix.size().parameters == matrix.multiply_adds() == 106
    assert matrix.size().paper_bytes == 4 * 106
    held = sum(buffer.numel() * buffer.element_size() for buffer in matrix.buffers())
    assert held == matrix.size().resident


def test_a_zero_stays_a_zero_in_training() -> None:
    """Neither momentum nor a gradient moves it, and it has no part in the gradient's norm."""
    matrix = _pruned(0.8).trainable()
    assert isinstance(matrix, PrunedMatrix)
    mask = matrix.mask.clone()
    assert int(mask.sum()) == 212
    before = matrix.weight.detach().clone()
    optimizer = torch.optim.Adam(matrix.parameters(), lr=0.1)
    x = torch.randn(6, 20)
    for _ in range(3):
        optimizer.zero_grad()
        matrix(x).square().sum().backward()
        assert matrix.weight.grad is not None
        assert bool((matrix.weight.grad[~mask] == 0).all())
        optimizer.step()
        with torch.no_grad():
            matrix.weight[~mask] += 1e-3  # as weight decay or a moved state might
        matrix.after_step()
    assert bool((matrix.weight[~mask] == 0).all())
    assert bool((matrix.weight[mask] != before[mask]).all())
    assert torch.equal(matrix.packed().materialize(), matrix.weight.detach())
    torch.testing.assert_close(matrix.weight_for_training(), matrix.weight)


def test_a_number_that_training_made_zero_keeps_its_place() -> None:
    matrix = _pruned(0.8).trainable()
    assert isinstance(matrix, PrunedMatrix)
    with torch.no_grad():
        matrix.weight.zero_()
    again = matrix.packed().trainable()
    assert isinstance(again, PrunedMatrix)
    assert torch.equal(again.mask, matrix.mask)
    PrunedSpec(share=0.8).read(matrix.stored(), 53, 20)


def test_it_is_not_trained_from_scratch() -> None:
    with pytest.raises(ConfigError, match="not trained from scratch: nbest compress --prune makes it"):
        PrunedSpec(share=0.5).build(3, 4)


def test_what_cannot_be_read() -> None:
    stored = _pruned(0.8).stored()
    with pytest.raises(ModelFileError, match=r"'values' does not fit .* expected \(106,\)"):
        PrunedSpec(share=0.9).read(stored, 53, 20)
    mask = torch.full((133,), 255, dtype=torch.uint8)
    with pytest.raises(ModelFileError, match="values disagree; expected 212 positions; got 1060"):
        broken = stored | {"positions": mask, "position_bits": torch.tensor(0, dtype=torch.uint8)}
        PrunedSpec(share=0.8).read(broken, 53, 20)
