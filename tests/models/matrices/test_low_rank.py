"""Two thin factors: as good as any of their rank, as large as their formula, as spread as a dense matrix."""

import pytest
import torch

from models.matrices.low_rank import LowRankMatrix, LowRankSpec, factors, principal_directions
from nbest.errors import ConfigError


def test_parameters_and_bytes() -> None:
    """Table 2's 650 x 650 at rank 128: r (out + in)."""
    matrix = LowRankSpec(rank=128).build(650, 650)
    assert matrix.size().parameters == matrix.multiply_adds() == 128 * 1300
    assert matrix.size().paper_bytes == matrix.size().resident == 4 * 128 * 1300
    assert matrix.size().extra_bytes == 0


def test_golden_numbers() -> None:
    left, right = torch.tensor([[1.0, 2.0], [0.0, 1.0], [3.0, 0.0]]), torch.tensor([[1.0, 0.5], [0.0, 1.0]])
    matrix = LowRankMatrix(left, right)
    assert matrix.materialize().tolist() == [[1.0, 2.5], [0.0, 1.0], [3.0, 1.5]]
    assert {name: tensor.tolist() for name, tensor in matrix.stored().items()} == {
        "left": left.tolist(),
        "right": right.tolist(),
    }


@pytest.mark.parametrize(("rank", "scale"), [(1, 0.05), (8, 0.05), (64, 0.2)])
def test_numbers_vary_as_those_of_a_dense_matrix(rank: int, scale: float) -> None:
    """Uniform in [-scale, scale]: variance scale^2 / 3; over 40 matrices within five percent."""
    torch.manual_seed(1)
    drawn = [LowRankSpec(rank=rank, scale=scale).build(100, 80).materialize() for _ in range(40)]
    numbers = torch.stack(drawn)
    assert float(numbers.var()) == pytest.approx(scale**2 / 3, rel=0.05)
    assert float(numbers.mean()) == pytest.approx(0, abs=0.05 * scale)


@pytest.mark.parametrize("shape", [(30, 12), (12, 30), (15, 15)])
@pytest.mark.parametrize("rank", [1, 5, 12])
def test_from_trained_misses_the_tail_of_the_singular_values(shape: tuple[int, int], rank: int) -> None:
    """Eckart and Young: no matrix of this rank is nearer."""
    torch.manual_seed(1)
    weight = torch.randn(shape)
    matrix = LowRankSpec(rank=rank).from_trained(weight)
    tail = torch.linalg.svdvals(weight.double())[rank:]
    missed = (matrix.materialize().double() - weight.double()).norm()
    assert float(missed) == pytest.approx(float(tail.norm()), rel=1e-5, abs=1e-5)
    left, right = factors(weight, rank)
    torch.testing.assert_close(left.t() @ left, right @ right.t())  # the singular values, shared evenly


def test_a_matrix_of_lower_rank_comes_back() -> None:
    weight = torch.outer(torch.arange(1.0, 5.0), torch.arange(1.0, 4.0))
    matrix = LowRankSpec(rank=3).from_trained(weight)
    torch.testing.assert_close(matrix.materialize(), weight)
    assert all(bool(torch.isfinite(tensor).all()) for tensor in matrix.stored().values())
    zero = LowRankSpec(rank=2).from_trained(torch.zeros(4, 3))
    assert torch.equal(zero.materialize(), torch.zeros(4, 3))


def test_directions_are_orthonormal() -> None:
    directions = principal_directions(torch.randn(20, 7, generator=torch.Generator().manual_seed(1)), 4)
    torch.testing.assert_close(directions @ directions.t(), torch.eye(4, dtype=torch.float64))


def test_a_rank_that_cannot_be() -> None:
    spec = LowRankSpec(rank=5)
    for refuse in (
        lambda: spec.build(9, 4),
        lambda: spec.check("gates", 9, 4),
        lambda: spec.from_trained(torch.zeros(9, 4)),
    ):
        with pytest.raises(ConfigError, match="more than the matrix can have; expected at most 4; got 5"):
            refuse()
