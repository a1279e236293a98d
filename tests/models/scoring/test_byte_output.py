"""Outputs of 8-bit products: the fastest that is near enough, and none where none is."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from models.matrices.base import Matrix
from models.matrices.binary import PackedBinaryMatrix
from models.matrices.dense import DenseMatrix
from models.matrices.quantized import QuantizedSpec
from models.matrices.slim import SlimSpec
from models.scoring import byte_output
from models.scoring.byte_codes import bytes_by_row
from models.scoring.byte_output import SketchedOutput, nearest
from models.scoring.native_engine import kernels
from models.scoring.sketch import Sketcher

pytestmark = pytest.mark.skipif(
    kernels() is None or not kernels().has_int8(), reason="no compiled kernels with 8-bit products here"
)
Make = Callable[[Tensor], Matrix]


def dense(weight: Tensor) -> Matrix:
    matrix = DenseMatrix(*weight.shape, scale=1.0)
    with torch.no_grad():
        matrix.weight.copy_(weight)
    return matrix


def binary(weight: Tensor) -> Matrix:
    return PackedBinaryMatrix(*weight.shape, np.packbits(weight.numpy() > 0, axis=1), 0.2)


def quantized(weight: Tensor) -> Matrix:
    return QuantizedSpec().from_trained(weight)


def layer(words: int, cells: int, telling: int, rest: float) -> tuple[Tensor, Tensor, Tensor]:
    """(weight (V, H), bias (V,), x (T, N, H)): few directions tell, sizes far apart, as in trained ones."""
    generator = torch.Generator().manual_seed(5)
    scale = torch.full((cells,), rest)
    scale[:telling] = 1.0
    turn = torch.linalg.qr(torch.randn(cells, cells, generator=generator))[0]
    rows = torch.randn(words, 1, generator=generator).exp() ** 0.3  # frequent words have large vectors
    weight = rows * (torch.randn(words, cells, generator=generator) * scale * telling**-0.5) @ turn
    x = torch.randn(12, 60, cells, generator=generator) + 0.5
    x *= torch.rand(cells, generator=generator) ** 2 + 0.1  # some cells are larger than others
    return weight, torch.randn(words, generator=generator), x


def run(output: Any, x: Tensor) -> np.ndarray:
    found = np.empty(x[..., 0].numel())
    output.log_normalizers(x.flatten(0, -2).numpy(), found)
    return found


@pytest.mark.parametrize("make", [dense, binary, quantized])
@pytest.mark.parametrize("telling", [6, 48])
def test_as_near_as_it_says(make: Make, telling: int) -> None:
    """On inputs of the same kind that it has not seen; whatever the matrix is stored as."""
    weight, bias, x = layer(2_000, 48, telling, 0.02)
    matrix = make(weight)
    found = nearest(kernels(), matrix, bias.numpy(), x[:, :40], isa=kernels().isas()[0])
    assert found is not None
    unseen = x[:, 40:]
    logits = unseen.flatten(0, 1).double() @ matrix.materialize().detach().double().T + bias
    off = np.abs(run(found, unseen) - torch.logsumexp(logits, 1).numpy())
    assert off.mean() < 1.5 * byte_output.MEAN_OFF
    assert off.max() < 2 * byte_output.MOST_OFF
    pairs = np.empty(3, dtype=np.float32)
    found.pairs(unseen[0].numpy(), np.arange(3), np.asarray([0, 7, 1_999]), pairs)
    assert pairs == pytest.approx(logits[[0, 1, 2], [0, 7, 1_999]].numpy(), abs=1e-4)


def test_few_columns_where_few_tell() -> None:
    few, many = (
        nearest(kernels(), dense(weight), bias.numpy(), x, isa=kernels().isas()[0])
        for weight, bias, x in (layer(2_000, 64, telling, 0.02) for telling in (10, 64))
    )
    assert isinstance(few, SketchedOutput)
    assert isinstance(many, SketchedOutput)
    assert few.size <= 24
    assert many.size > 40


def test_no_sketch_where_making_it_would_take_too_long(monkeypatch: pytest.MonkeyPatch) -> None:
    weight, bias, x = layer(500, 48, 48, 1.0)
    isa = kernels().isas()[0]
    monkeypatch.setattr(byte_output, "SKETCHED_OPERATIONS", 500 * 48 * 48)
    assert isinstance(nearest(kernels(), binary(weight), bias.numpy(), x, isa=isa), SketchedOutput)
    monkeypatch.setattr(byte_output, "SKETCHED_OPERATIONS", 500 * 48 * 48 - 1)
    assert nearest(kernels(), binary(weight), bias.numpy(), x, isa=isa) is None


def test_a_slim_matrix_is_sketched_where_its_table_is_large(monkeypatch: pytest.MonkeyPatch) -> None:
    weight, bias, x = layer(500, 48, 48, 1.0)
    spec = SlimSpec(parts=4, sub_vectors=400, by_position=True, assignment="clusters")
    isa, matrix = kernels().isas()[0], spec.from_trained(weight)
    assert nearest(kernels(), matrix, bias.numpy(), x, isa=isa) is None
    monkeypatch.setattr(byte_output, "SLIM_NEAR_BYTES", 400 * 16 * 4 - 1)
    found = nearest(kernels(), matrix, bias.numpy(), x, isa=isa)
    assert isinstance(found, SketchedOutput)
    expected = run(kernels().Output(byte_output.exact_form(kernels(), matrix), bias.numpy()), x)
    assert np.abs(run(found, x) - expected).mean() < 1.5 * byte_output.MEAN_OFF


def test_what_rounding_took_is_made_up_for() -> None:
    """With all columns rounding is all there is."""
    weight, bias, x = layer(2_000, 48, 48, 1.0)
    matrix, inputs, module = dense(weight), x.flatten(0, 1), kernels()
    exact = byte_output.exact_form(module, matrix)
    expected = run(module.Output(exact, bias.numpy()), inputs)
    seen = torch.from_numpy(expected[:400]).float()
    sketch = Sketcher(matrix, bias.numpy(), inputs[:400], seen, 0.003).sketch(48)
    rows = module.Matrix.uint8(sketch.codes, sketch.step, sketch.low)
    output = module.Output(
        rows, bias.numpy(), products="int8", exact=exact, sketch_bias=sketch.bias, again=0.003
    )
    sketched = inputs.numpy() @ sketch.columns.T + sketch.shift
    slopes = np.pad(sketched @ sketch.slopes.T + sketch.slope_shift, ((0, 0), (0, 1)))
    added = np.random.default_rng(1).normal(size=len(inputs)).astype(np.float32)
    found = []
    for more in ((), (slopes,), (np.concatenate([slopes[:, :-1], added[:, None]], 1),)):
        found.append(np.empty(len(inputs)))
        output.log_normalizers(inputs.numpy(), found[-1], 1, sketched, *more)
    plain, near = (np.abs(one - expected)[400:].mean() for one in found[:2])
    assert near < 0.6 * plain
    assert found[2] == pytest.approx(found[1] + added, abs=1e-6)
    with pytest.raises(ValueError, match="columns of the slopes: expected 49, got 48"):
        output.log_normalizers(inputs.numpy(), found[0], 1, sketched, slopes[:, :48].copy())


def test_what_a_sketch_is_off_by_is_made_up_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """As far as it is affine in the sketched inputs: nothing of that is left where it was fitted."""
    weight, bias, x = layer(2_000, 48, 48, 1.0)
    matrix, isa = dense(weight), kernels().isas()[0]
    expected = run(kernels().Output(byte_output.exact_form(kernels(), matrix), bias.numpy()), x)
    off = []
    for ridge in (1e9, 1e-3):
        monkeypatch.setattr(byte_output, "OFF_RIDGE", ridge)
        off.append(run(nearest(kernels(), matrix, bias.numpy(), x, isa=isa), x) - expected)
    for each in off:
        assert abs(each.mean()) < 0.02 * np.abs(each).mean()
    assert off[1].std() < 0.98 * off[0].std()


def test_more_is_computed_again_where_that_is_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    weight, bias, x = layer(2_000, 48, 48, 1.0)
    tried: list[float] = []
    made = kernels().Output

    class Watched:
        Matrix, Linear = kernels().Matrix, kernels().Linear

        @staticmethod
        def Output(*arguments: Any, **options: Any) -> Any:  # noqa: N802
            tried.append(options.get("again", 0.0))
            return made(*arguments, **options)

    monkeypatch.setattr(byte_output, "MEAN_OFF", 1e-9)
    assert nearest(Watched, dense(weight), bias.numpy(), x, isa=kernels().isas()[0]) is None
    assert tried == [0.0, *byte_output.AGAIN]


@pytest.mark.parametrize("make", [dense, binary])
def test_the_more_is_computed_again_the_nearer(make: Make) -> None:
    weight, bias, x = layer(3_000, 40, 40, 1.0)
    matrix = make(weight)
    module = kernels()
    exact = byte_output.exact_form(module, matrix)
    expected = run(module.Output(exact, bias.numpy()), x)
    codes = bytes_by_row(matrix.materialize().detach().numpy())
    rows = module.Matrix.uint8(*codes)
    offs = [
        np.abs(
            run(module.Output(rows, bias.numpy(), products="int8", exact=exact, again=again), x) - expected
        ).mean()
        for again in (1.0, 0.003, 0.0005, 1e-7)
    ]
    assert offs == sorted(offs, reverse=True)
    assert offs[-1] < 1e-5 < offs[0]  # all of them: in floats
