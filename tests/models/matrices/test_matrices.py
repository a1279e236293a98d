"""Every matrix against its dense form: products, look-ups, gradients, what is stored."""

import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from models.matrices import products
from models.matrices.base import Matrix, MatrixSpec, forbid_materialize
from models.matrices.binary import BinaryMatrix, BinarySpec, PackedBinaryMatrix, binarize
from models.matrices.dense import DenseMatrix, DenseSpec
from models.matrices.frequency import FrequencySpec
from models.matrices.low_rank import LowRankSpec
from models.matrices.pruned import PackedPrunedMatrix, PrunedMatrix, PrunedSpec
from models.matrices.quantized import QuantizedSpec
from models.matrices.slim import SlimMatrix, SlimSpec
from models.matrices.tensor_train import TensorTrainSpec
from nbest.errors import ConfigError, ModelFileError

V, H = 53, 20  # neither fills whole bytes


def _slim(by_position: bool) -> SlimMatrix:
    return SlimSpec(parts=5, sub_vectors=35, by_position=by_position).build(V, H)


def _hashed(by_position: bool) -> SlimMatrix:
    return SlimSpec(parts=H, sub_vectors=7 * H, by_position=by_position, assignment="hash").build(V, H)


SPECS: dict[str, MatrixSpec] = {
    "dense": DenseSpec(),
    "binary": BinarySpec(scale=H**-0.5),
    "binary of mean scale": BinarySpec(scale="mean"),
    "slim by position": SlimSpec(parts=5, sub_vectors=35, by_position=True),
    "slim pool": SlimSpec(parts=5, sub_vectors=35, by_position=False),
    "slim clusters": SlimSpec(parts=5, sub_vectors=35, by_position=True, assignment="clusters"),
    "slim pool of clusters": SlimSpec(parts=5, sub_vectors=35, by_position=False, assignment="clusters"),
    "hashed by position": SlimSpec(parts=H, sub_vectors=7 * H, by_position=True, assignment="hash"),
    "hashed pool": SlimSpec(parts=H, sub_vectors=7 * H, by_position=False, assignment="hash"),
    "low rank": LowRankSpec(rank=6),
    "tensor train": TensorTrainSpec(rank=(4,), cores=2),
    "quantized": QuantizedSpec(),
    "pruned": PrunedSpec(share=0.8),
    "hardly pruned": PrunedSpec(share=0.2),
    "frequency up": FrequencySpec(density=0.4, bins=6),
    "frequency none": FrequencySpec(density=0.4, widths=(3, 4, 13), order="none"),
    "frequency down": FrequencySpec(density=0.4, bins=6, order="down"),
}


def _trained(name: str) -> Matrix:
    """The form for training, as the kind can be had: fresh, or made of a trained matrix."""
    spec = SPECS[name]
    if spec.kind == "pruned" or getattr(spec, "assignment", None) == "clusters":
        return spec.from_trained(torch.randn(V, H)).trainable()
    return spec.build(V, H)


def _scored(name: str) -> Matrix:
    spec = SPECS[name]
    return spec.from_trained(torch.randn(V, H)) if spec.kind == "quantized" else _trained(name).packed()


TRAINED = [name for name, spec in SPECS.items() if spec.kind != "quantized"]
FORMS = [*((name, _trained) for name in TRAINED), *((name, _scored) for name in SPECS)]


@pytest.fixture(params=FORMS, ids=lambda form: f"{form[0]}{form[1].__name__}".replace(" ", "_"))
def matrix(request: pytest.FixtureRequest) -> Matrix:
    torch.manual_seed(1)
    name, make = request.param
    matrix: Matrix = make(name)
    return matrix


@pytest.fixture
def x() -> Tensor:
    return torch.randn(6, H, generator=torch.Generator().manual_seed(2))


def test_products_equal_the_dense_form(matrix: Matrix, x: Tensor) -> None:
    wanted = x @ matrix.materialize().t()  # (6, V)
    prepared = matrix.prepare(x)
    torch.testing.assert_close(matrix.logits(prepared, slice(0, V)), wanted)
    with torch.no_grad():
        torch.testing.assert_close(matrix.logits(prepared, slice(7, 31)), wanted[:, 7:31])
    torch.testing.assert_close(matrix(x.reshape(2, 3, H)), wanted.reshape(2, 3, V))


def test_chosen_products_equal_the_dense_form(matrix: Matrix, x: Tensor) -> None:
    positions, ids = torch.tensor([0, 5, 5, 2, 1]), torch.tensor([52, 0, 17, 17, 3])
    wanted = (x @ matrix.materialize().t())[positions, ids]
    torch.testing.assert_close(matrix.pairs(matrix.prepare(x), positions, ids), wanted)
    none = torch.zeros(0, dtype=torch.int64)
    assert matrix.pairs(matrix.prepare(x), none, none).shape == (0,)


def test_rows_equal_the_dense_form(matrix: Matrix) -> None:
    ids = torch.tensor([[4, 4, 52], [0, 1, 2]])
    torch.testing.assert_close(matrix.rows(ids), matrix.materialize()[ids])


def test_packed_form_is_the_same_matrix(matrix: Matrix) -> None:
    torch.testing.assert_close(matrix.packed().materialize(), matrix.materialize(), rtol=0, atol=0)


def test_materialize_is_refused_while_scoring(matrix: Matrix) -> None:
    with forbid_materialize(), pytest.raises(RuntimeError, match="must not be expanded while scoring"):
        matrix.materialize()
    assert matrix.materialize().shape == (V, H)


@pytest.mark.parametrize("name", TRAINED)
def test_gradients_equal_those_of_gathered_rows(x: Tensor, name: str) -> None:
    """Through each matrix's own product, against autograd on its rows: by the parameters and by the input."""
    torch.manual_seed(1)
    matrix = _trained(name)
    weight_of = torch.randn(6, V)

    def gradients(product: Callable[[Tensor], Tensor]) -> list[Tensor]:
        leaf = x.clone().requires_grad_()
        found = torch.autograd.grad((product(leaf) * weight_of).sum(), [leaf, *matrix.parameters()])
        return list(found)

    mine = gradients(lambda leaf: matrix.logits(matrix.prepare(leaf), slice(0, V)))
    wanted = gradients(lambda leaf: leaf @ matrix.rows(torch.arange(V)).t())
    assert len(mine) > 1
    assert all(float(one.abs().sum()) > 0 for one in mine)
    torch.testing.assert_close(mine, wanted)


@pytest.mark.parametrize("name", SPECS)
def test_stored_comes_back(name: str) -> None:
    torch.manual_seed(1)
    matrix = _scored(name)
    stored = {key: tensor.clone() for key, tensor in matrix.stored().items()}
    again = SPECS[name].read(stored, V, H)
    assert type(again) is type(matrix)
    assert torch.equal(again.materialize(), matrix.materialize())
    assert {key: tensor.tolist() for key, tensor in again.stored().items()} == {
        key: tensor.tolist() for key, tensor in stored.items()
    }
    for missing in stored:
        with pytest.raises(ModelFileError, match=f"tensor '{missing}' is missing"):
            SPECS[name].read({key: tensor for key, tensor in stored.items() if key != missing}, V, H)


@pytest.mark.parametrize("name", SPECS)
def test_size_is_what_is_stored(name: str) -> None:
    """Numbers and what stands beside them are the stored tensors, to the byte."""
    torch.manual_seed(1)
    matrix = _scored(name)
    size = matrix.size()
    stored = sum(tensor.numel() * tensor.element_size() for tensor in matrix.stored().values())
    assert stored == math.ceil(size.paper_bytes) + math.ceil(size.extra_bytes)


@pytest.mark.parametrize("name", TRAINED)
def test_back_to_the_form_for_training(name: str) -> None:
    torch.manual_seed(1)
    trained = _trained(name)
    again = trained.packed().trainable()
    assert type(again) is type(trained)
    torch.testing.assert_close(again.materialize(), trained.materialize(), rtol=1e-6, atol=0)
    assert all(parameter.requires_grad for parameter in again.parameters())


def test_multiply_adds_are_what_a_product_takes(
    matrix: Matrix, x: Tensor, monkeypatch: pytest.MonkeyPatch
) -> None:
    """torch counts the operations of its own matrix products; it does not see those of pruned rows."""
    monkeypatch.setattr(products, "_ONE_DNN", None)
    if isinstance(matrix, PrunedMatrix | PackedPrunedMatrix):
        assert matrix.multiply_adds() == int((matrix.materialize() != 0).sum()) > 0
        return
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        matrix.logits(matrix.prepare(x), slice(0, V))
    assert counter.get_total_flops() == 2 * len(x) * matrix.multiply_adds() > 0


def test_binarize_is_minus_at_zero_and_passes_the_gradient() -> None:
    """Eq. 6: +1 if w > 0, -1 otherwise; Eq. 7: dC/dW = dC/dW^b."""
    weight = torch.tensor([0.3, 0.0, -0.0, -2.0], requires_grad=True)
    result = binarize(weight, 0.5)
    assert result.tolist() == [0.5, -0.5, -0.5, -0.5]
    (result * torch.tensor([1.0, 2.0, 3.0, 4.0])).sum().backward()  # type: ignore[no-untyped-call]
    assert weight.grad is not None
    assert weight.grad.tolist() == [1.0, 2.0, 3.0, 4.0]


def test_binary_weights_are_clamped_after_a_step() -> None:
    """Algorithm 2, line 6."""
    matrix = BinaryMatrix(2, 2, scale=1.0, clamp=0.25)
    matrix.weight.data = torch.tensor([[3.0, -3.0], [0.1, -0.1]])
    matrix.after_step()
    assert matrix.weight.tolist() == [[0.25, -0.25], [pytest.approx(0.1), pytest.approx(-0.1)]]


def test_bits_on_disk() -> None:
    """Golden bytes: rows run on across byte borders, most significant bit first, zeros at the end."""
    matrix = BinaryMatrix(3, 3, scale=0.5)
    matrix.weight.data = torch.tensor([[1.0, -1.0, 1.0], [-1.0, 1.0, 1.0], [0.0, 0.0, 2.0]])
    stored = matrix.stored()
    assert stored["bits"].tolist() == [0b10101100, 0b10000000]
    assert float(stored["scale"]) == 0.5
    again = PackedBinaryMatrix.from_stored(stored, 3, 3)
    assert again.materialize().tolist() == [[0.5, -0.5, 0.5], [-0.5, 0.5, 0.5], [-0.5, -0.5, 0.5]]


def test_binary_memory_is_close_to_disk() -> None:
    """Row-padded bytes in memory within 1.2x of the flat bits on disk, from 500 columns up."""
    size = BinaryMatrix(1000, 500, scale=1.0).packed().size()
    assert size.paper_bytes == 1000 * 500 / 8
    assert size.resident <= 1.2 * size.paper_bytes


def test_tiles_do_not_change_the_product(x: Tensor) -> None:
    packed = BinaryMatrix(V, H, scale=1.0).packed()
    whole = packed.logits(packed.prepare(x), slice(0, V))
    packed.tile_rows = 7
    torch.testing.assert_close(packed.logits(packed.prepare(x), slice(0, V)), whole)


def test_stored_slim_matrix_comes_back() -> None:
    for by_position in (True, False):
        matrix = _slim(by_position)
        stored = matrix.stored()
        again = matrix.spec.read(stored, V, H)
        assert torch.equal(again.materialize(), matrix.materialize())
        bits = 3 if by_position else 6  # 7 sub-vectors a position, 35 in the pool
        assert len(stored["codes"]) == (V * 5 * bits + 7) // 8
        assert stored["weight"].shape == (35, 4)


def test_a_hashed_matrix_stores_no_codes() -> None:
    for by_position in (True, False):
        matrix = _hashed(by_position)
        stored = matrix.stored()
        assert set(stored) == {"weight"}
        assert torch.equal(matrix.spec.read(stored, V, H).materialize(), matrix.materialize())
        assert matrix.size().extra_bytes == 0


def test_mean_scale_follows_the_weights() -> None:
    matrix = BinaryMatrix(V, H, scale="mean")
    matrix.weight.data.mul_(3)
    wanted = float(matrix.weight.detach().abs().mean())
    values = matrix.packed().materialize()
    assert sorted(set(values.flatten().tolist())) == pytest.approx([-wanted, wanted])


@pytest.mark.parametrize(
    ("parts", "sub_vectors", "by_position", "message"),
    [
        (3, 30, True, "the number of parts does not divide the vector size; expected a divisor of 20; got 3"),
        (5, 33, True, "does not fit the number of parts; expected a multiple of 5; got 33"),
        (5, 4, False, "does not fit the number of parts; expected at least 5; got 4"),
    ],
)
def test_slim_refuses_what_does_not_fit(
    parts: int, sub_vectors: int, by_position: bool, message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        SlimSpec(parts=parts, sub_vectors=sub_vectors, by_position=by_position).build(V, H)


def test_wrong_tensors_are_refused() -> None:
    with pytest.raises(ModelFileError, match="tensor 'weight' is missing"):
        DenseMatrix.from_stored({}, 2, 3)
    with pytest.raises(ModelFileError, match=r"expected \(2, 3\) torch.float32; got \(3, 2\) torch.float32"):
        DenseMatrix.from_stored({"weight": torch.zeros(3, 2)}, 2, 3)
    with pytest.raises(ModelFileError, match="not finite"):
        DenseMatrix.from_stored({"weight": torch.full((2, 3), torch.nan)}, 2, 3)
    codes = torch.from_numpy(np.full((V * 5 * 3 + 7) // 8, 255, dtype=np.uint8))
    with pytest.raises(ModelFileError, match="a code is out of range; expected below 7; got 7"):
        SlimSpec(parts=5, sub_vectors=35, by_position=True).read(
            {"codes": codes, "weight": torch.zeros(35, 4)}, V, H
        )
