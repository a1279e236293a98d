"""Trains of cores against the definition of an entry, number by number."""

import itertools
import math

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from models.matrices.tensor_train import TensorTrainMatrix, TensorTrainSpec, near_equal_factors
from nbest.errors import ConfigError


def _entry_by_entry(matrix: TensorTrainMatrix) -> torch.Tensor:
    """A(i_1 j_1, .., i_d j_d) = G_1[i_1, j_1] .. G_d[i_d, j_d] of each block, one below the other."""
    cores = [core.detach() for core in matrix.cores]
    n, m = [core.shape[2] for core in cores], [core.shape[3] for core in cores]
    blocks = []
    for block in range(len(cores[0])):
        for i in itertools.product(*map(range, n)):
            row = []
            for j in itertools.product(*map(range, m)):
                product = torch.eye(1)
                for core, i_k, j_k in zip(cores, i, j, strict=True):
                    product = product @ core[block, :, i_k, j_k]
                row.append(float(product))
            blocks.append(row)
    return torch.tensor(blocks)


@pytest.mark.parametrize(
    "spec",
    [
        TensorTrainSpec(rank=(3,), blocks=4),
        TensorTrainSpec(rank=(2, 5), out_modes=(2, 3, 4), in_modes=(5, 2, 3)),
        TensorTrainSpec(rank=(4,), cores=2, blocks=2),
        TensorTrainSpec(rank=(1,), cores=1),
        TensorTrainSpec(rank=(2,), cores=4),
    ],
)
def test_an_entry_is_the_product_of_its_slices(spec: TensorTrainSpec) -> None:
    torch.manual_seed(1)
    matrix = spec.build(24, 30)
    wanted = _entry_by_entry(matrix)
    assert wanted.shape == (24, 30)
    torch.testing.assert_close(matrix.materialize(), wanted)
    x = torch.randn(5, 30)
    torch.testing.assert_close(matrix(x), x @ wanted.t())


def test_nothing_of_the_size_of_the_matrix_is_made() -> None:
    """Neither forwards nor backwards: cores, inputs, outputs and their partial sums only."""
    torch.manual_seed(1)
    matrix = TensorTrainSpec(rank=(2,), blocks=4).build(4 * 512, 512)
    assert matrix.weight_for_training() is None
    x = torch.randn(1, 512, requires_grad=True)
    largest = 0

    def note(saved: torch.Tensor) -> torch.Tensor:
        nonlocal largest
        largest = max(largest, saved.numel())
        return saved

    with torch.autograd.graph.saved_tensors_hooks(note, lambda saved: saved):
        matrix(x).sum().backward()
    assert 0 < largest <= 4 * 512 * 2 * 8 < 4 * 512 * 512


def test_parameters_and_multiply_adds_are_the_formulas() -> None:
    """600 x 600 gates of Table 2 with four cores: 4 sum r_(k-1) n_k m_k r_k."""
    spec = TensorTrainSpec(rank=(3, 8, 3), blocks=4, out_modes=(4, 5, 5, 6), in_modes=(6, 5, 5, 4))
    matrix = spec.build(2400, 600)
    assert matrix.size().parameters == 4 * (1 * 4 * 6 * 3 + 3 * 5 * 5 * 8 + 8 * 5 * 5 * 3 + 3 * 6 * 4 * 1)
    assert matrix.size().paper_bytes == matrix.size().resident == 4 * matrix.size().parameters
    by_hand = 4 * (4 * 6 * 3 * 100 + 3 * 5 * 5 * 8 * 4 * 20 + 8 * 5 * 5 * 3 * 20 * 4 + 3 * 6 * 4 * 100)
    assert matrix.multiply_adds() == by_hand
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        matrix(torch.zeros(1, 600))
    assert counter.get_total_flops() == 2 * by_hand


@pytest.mark.parametrize(("cores", "rank", "blocks"), [(2, 4, 1), (3, 6, 4), (4, 2, 4)])
def test_numbers_vary_as_those_of_a_dense_matrix(cores: int, rank: int, blocks: int) -> None:
    """Variance scale^2 / 3, over 300 matrices within five percent."""
    torch.manual_seed(1)
    spec = TensorTrainSpec(rank=(rank,), cores=cores, blocks=blocks, scale=0.1)
    numbers = torch.stack([spec.build(64, 36).materialize() for _ in range(300)])
    assert float(numbers.var()) == pytest.approx(0.1**2 / 3, rel=0.05)
    assert float(numbers.mean()) == pytest.approx(0, abs=0.005)


def test_near_equal_factors() -> None:
    assert near_equal_factors(650, 3) == (5, 10, 13)
    assert near_equal_factors(600, 3) == (6, 10, 10)
    assert near_equal_factors(512, 3) == (8, 8, 8)
    assert near_equal_factors(53, 3) == (1, 1, 53)
    assert near_equal_factors(1, 2) == (1, 1)
    assert near_equal_factors(7, 1) == (7,)
    for number in range(1, 200):
        for count in (2, 3, 4):
            found = near_equal_factors(number, count)
            assert math.prod(found) == number
            assert list(found) == sorted(found)
            assert len(found) == count


def test_near_equal_factors_have_the_least_sum() -> None:
    for number in range(1, 130):
        divisors = [d for d in range(1, number + 1) if number % d == 0]
        every = [f for f in itertools.product(divisors, repeat=3) if math.prod(f) == number]
        assert sum(near_equal_factors(number, 3)) == min(map(sum, every))


def test_golden_numbers() -> None:
    """A Kronecker product is a train of rank one: row digits and column digits, first one first."""
    first, second = torch.tensor([[1.0, 2.0], [3.0, 4.0]]), torch.tensor([[1.0, 10.0]])
    matrix = TensorTrainMatrix([first.reshape(1, 1, 2, 2, 1), second.reshape(1, 1, 1, 2, 1)])
    assert matrix.materialize().tolist() == torch.kron(first, second).tolist()
    assert matrix.stored()["core0"].flatten().tolist() == [1.0, 2.0, 3.0, 4.0]
    assert set(matrix.stored()) == {"core0", "core1"}


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        (
            TensorTrainSpec(rank=(2,), blocks=5),
            "does not divide the rows; expected a divisor of 24; got 5",
        ),
        (
            TensorTrainSpec(rank=(2,), out_modes=(2, 3), in_modes=(5, 6)),
            r"out_modes do not fit; expected 2 numbers whose product is 24; got \[2, 3\]",
        ),
        (
            TensorTrainSpec(rank=(2,), out_modes=(4, 6), in_modes=(5, 2, 3)),
            r"in_modes do not fit; expected 2 numbers whose product is 30; got \[5, 2, 3\]",
        ),
        (TensorTrainSpec(rank=(2,), out_modes=()), "number of modes; expected from 1 to 16; got 0"),
        (TensorTrainSpec(rank=(2,), in_modes=(1,) * 17), "number of modes; expected from 1 to 16; got 17"),
        (TensorTrainSpec(rank=(2, 2), cores=2), r"rank does not fit; expected 1 or 1 numbers; got \[2, 2\]"),
        (
            TensorTrainSpec(rank=(9,), out_modes=(2, 12), in_modes=(2, 15)),
            r"rank 1 is more than the matrix can have; expected at most 4 between \[4\] and \[180\]; got 9",
        ),
    ],
)
def test_what_does_not_fit(spec: TensorTrainSpec, message: str) -> None:
    for refuse in (spec.build, spec.shapes, lambda *shape: spec.check("gates", *shape)):
        with pytest.raises(ConfigError, match=message):
            refuse(24, 30)
