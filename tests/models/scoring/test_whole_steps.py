"""LSTM steps of 16-bit numbers: as near to 64-bit ones as their units say, and no sum beyond 32 bits."""

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from models.matrices.base import Matrix
from models.matrices.binary import PackedBinaryMatrix
from models.matrices.dense import DenseMatrix
from models.matrices.quantized import QuantizedSpec
from models.scoring.native_engine import kernels
from models.scoring.native_forms import ROW_MOST, exact_form, form_16_bits

pytestmark = pytest.mark.skipif(
    kernels() is None or not kernels().has_int8(), reason="no compiled kernels with products of integers here"
)
Array = NDArray[Any]


def dense(weight: Array) -> Matrix:
    matrix = DenseMatrix(*weight.shape)
    with torch.no_grad():
        matrix.weight.copy_(torch.from_numpy(weight))
    return matrix


def trained_like(random: np.random.Generator, rows: int, columns: int) -> NDArray[np.float32]:
    """Heavy tails, rows and columns of unlike sizes, as trained gates have them."""
    weight = random.standard_t(4, (rows, columns)) / columns**0.5
    weight *= random.uniform(0.3, 2, (rows, 1)) * random.uniform(0.3, 2, (1, columns))
    return weight.astype(np.float32)


def step(
    matrices: list[Matrix], inputs: list[Array], table: Array, before: Array, *, whole: bool, laid_out: bool
) -> Array:
    """(N, 2H): hidden and cells after one step of N tokens, each with inputs of its own."""
    module, count = kernels(), len(before)
    rows = np.arange(count)
    form = form_16_bits if whole else exact_form
    cells = module.Cells([form(module, m) for m in matrices], int16=whole, laid_out=laid_out)
    states = np.concatenate([before, np.zeros_like(before)])
    hidden = np.empty_like(before)
    cells.step(inputs, [rows] * len(inputs), table, rows, states, rows, hidden, rows + count, None)
    return np.concatenate([hidden, states[count:]], 1)


def reference(matrices: list[Matrix], inputs: list[Array], table: Array, before: Array) -> Array:
    gates = table.astype(np.float64)
    for matrix, x in zip(matrices, inputs, strict=True):
        gates = gates + x.astype(np.float64) @ matrix.materialize().detach().double().numpy().T
    i, f, g, o = np.split(gates, 4, 1)
    after = before / (1 + np.exp(-f)) + np.tanh(g) / (1 + np.exp(-i))
    return np.concatenate([np.tanh(after) / (1 + np.exp(-o)), after], 1)


def states_like(random: np.random.Generator, count: int, cells: int) -> NDArray[np.float32]:
    """Within (-1, 1), most of them small."""
    return np.tanh(random.normal(size=(count, cells)) * random.exponential(0.5, cells)).astype(np.float32)


def test_error_is_within_the_units() -> None:
    """Half a unit of each number of a sum at most, a fiftieth of what bytes would cost in the mean."""
    random, cells, count = np.random.default_rng(1), 512, 40
    weight, x = trained_like(random, 4 * cells, cells), states_like(random, count, cells)
    table = random.normal(size=(count, 4 * cells)).astype(np.float32)
    before = random.normal(size=(count, cells)).astype(np.float32)
    found = step([dense(weight)], [x], table, before, whole=True, laid_out=True)
    exact = reference([dense(weight)], [x], table, before)
    size = np.abs(weight).sum(1)  # (4H,)
    unit = np.maximum(np.abs(weight).max(1) / 32_767, size / (ROW_MOST - cells / 2))
    of_inputs = np.abs(x).max(1) / 4_095  # at most, as rows add up to 2^31 / 4,096 at most
    each = of_inputs[:, None] / 2 * (size + cells * unit / 2) + np.abs(x).sum(1)[:, None] * unit / 2 + 1e-5
    i, f, g, o = np.split(each, 4, 1)
    cell = np.abs(before) * f / 4 + i / 4 + g
    off = np.abs(found - exact)
    assert (off[:, cells:] <= cell).all()
    assert (off[:, :cells] <= cell + o / 4).all()

    def bytes_of(numbers: Array, most: int) -> Array:
        unit = np.abs(numbers).max(1, keepdims=True) / most
        return (np.rint(numbers / unit) * unit).astype(np.float32)

    in_bytes = reference([dense(bytes_of(weight, 127))], [bytes_of(x, 127)], table, before)
    assert off.mean() < np.abs(in_bytes - exact).mean() / 15
    assert off.mean() < 2e-4


@pytest.mark.parametrize("sign", [1, -1])
@pytest.mark.parametrize("cells", [512, 1_500])
def test_the_largest_sums_are_within_32_bits(sign: int, cells: int) -> None:
    """All weights and all inputs as large as they can be."""
    weight = np.full((4 * cells, cells), sign * 0.9 / cells, dtype=np.float32)
    weight[0, 1:] = 0  # one weight alone: the other bound
    x = np.ones((3, cells), dtype=np.float32)
    x[2] = -1
    table = np.zeros((3, 4 * cells), dtype=np.float32)
    before = np.full((3, cells), 0.5, dtype=np.float32)
    for matrix in (dense(weight), PackedBinaryMatrix(*weight.shape, bits(weight), 0.9 / cells)):
        found = step([matrix], [x], table, before, whole=True, laid_out=True)
        assert found == pytest.approx(reference([matrix], [x], table, before), abs=1e-3)


def bits(weight: Array) -> Array:
    return np.packbits(weight > 0, axis=1)


@given(
    count=st.integers(1, 20),
    cells=st.integers(1, 40),
    below=st.integers(0, 37),
    kind=st.sampled_from(["dense", "bits", "bytes"]),
    laid_out=st.booleans(),
    seed=st.integers(0, 5),
)
@settings(deadline=None, max_examples=60)
def test_steps_of_any_size(count: int, cells: int, below: int, kind: str, laid_out: bool, seed: int) -> None:
    """With one source and with two, odd columns, matrices as they are stored: as 64-bit ones."""
    random = np.random.default_rng(seed)

    def matrix(columns: int) -> Matrix:
        weight = trained_like(random, 4 * cells, columns)
        if kind == "bits":
            return PackedBinaryMatrix(*weight.shape, bits(weight), 0.3)
        return dense(weight) if kind == "dense" else QuantizedSpec().from_trained(torch.from_numpy(weight))

    columns = [cells, below] if below else [cells]
    matrices = [matrix(each) for each in columns]
    inputs = [states_like(random, count, each) for each in columns]
    table = random.normal(size=(count, 4 * cells)).astype(np.float32)
    before = random.normal(size=(count, cells)).astype(np.float32)
    found = step(matrices, inputs, table, before, whole=True, laid_out=laid_out)
    assert found == pytest.approx(reference(matrices, inputs, table, before), abs=3e-3)
    in_floats = step(matrices, inputs, table, before, whole=False, laid_out=laid_out)
    assert found == pytest.approx(in_floats, abs=3e-3)


def test_numbers_without_a_kind_are_refused() -> None:
    module = kernels()
    floats = module.Matrix.float32(np.ones((8, 3), np.float32))
    with pytest.raises(ValueError, match="16-bit products need a matrix of 16-bit numbers, bytes or bits"):
        module.Cells([floats], int16=True)
    numbers = np.ones((8, 3), np.int16)
    with pytest.raises(ValueError, match="steps: expected 8, got 7"):
        module.Matrix.int16(numbers, np.ones(7, np.float32), np.ones(7, np.float32))
    with pytest.raises(ValueError, match="8-bit products need a matrix of bytes or bits"):
        short = module.Matrix.int16(numbers, np.ones(8, np.float32), np.ones(8, np.float32))
        module.Output(short, products="int8")
