"""The compiled kernels give the scores of torch: every system, every kind of CPU, odd sizes, more threads."""

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from models.checkpoint import Checkpoint
from models.matrices.base import Matrix
from models.matrices.binary import PackedBinaryMatrix
from models.matrices.dense import DenseMatrix
from models.matrices.quantized import QuantizedSpec
from models.scoring.byte_codes import bytes_by_row
from models.scoring.native_engine import NativeEngine, NativeWalk, kernels
from models.scoring.native_forms import exact_form, form_16_bits, form_two_bytes, rows_form
from models.scoring.scorer import LanguageModelScorer
from nbest.errors import ConfigError

native = pytest.importorskip("nbest_native", reason="the compiled kernels are not installed: make native")

Save = Callable[..., Checkpoint]
WORDS = "a man walks the dog and a woman sees it zyx in green parks".split()
TEXTS = [" ".join(WORDS[i % 13 : i % 13 + i % 7]) + " man" * (i % 4) for i in range(60)]
SYSTEMS: dict[str, dict[str, Any]] = {
    "lstm": {},
    "lstm, two layers": {"layers": 2},
    "lstm, 33 cells": {"hidden_size": 33},
    "belm": {},
    "bllm": {},
    "bllm, two layers of 21": {"layers": 2, "hidden_size": 21},
    "slim": {},
    "slim, a part a number": {"parts": 20, "ratio": 1 / 3},
    "slim, one part": {"parts": 1},
    "slim, tied": {"tied": True},
    "hashnet": {},
    "sparse": {},
    "low-rank": {"rank": 7},
    "tensor-train": {"rank": 4},
}


# Inputs, columns, rows: all kinds of tiles; so many inputs that three threads share them, and fewer.
SHAPES = [(1, 7, 5), (13, 64, 33), (50, 45, 700), (6, 1, 1), (400, 45, 70)]


@pytest.fixture
def threads() -> Iterator[None]:
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


@pytest.mark.parametrize("system", SYSTEMS)
def test_as_torch(saved: Save, system: str) -> None:
    loaded = saved(system.split(",")[0], **SYSTEMS[system])
    plain, fast = (LanguageModelScorer(loaded, "m", native=use).score(TEXTS) for use in (False, True))
    words = plain.token_counts
    assert np.abs(fast.nat_log_probs - plain.nat_log_probs).max() < 1e-5 * words.max()
    assert (fast.oov_counts == plain.oov_counts).all()
    assert fast.unique_tokens == plain.unique_tokens


@pytest.mark.parametrize("isa", native.isas())
@pytest.mark.parametrize("system", ["lstm", "bllm"])
def test_every_kind_of_cpu(saved: Save, system: str, isa: str) -> None:
    """Those that this CPU can run."""
    loaded = saved(system, hidden_size=45)
    scorer = LanguageModelScorer(loaded, "m", native=True)
    expected = scorer.score(TEXTS).nat_log_probs
    scorer.engine = NativeEngine(loaded.model, isa=isa)
    assert scorer.engine.name == f"native {isa}"
    assert scorer.score(TEXTS).nat_log_probs == pytest.approx(expected, abs=1e-4)


def in_every_way(weight: np.ndarray) -> list[tuple[Any, np.ndarray]]:
    """(the matrix as the kernels read it, its numbers): floats, their signs as bits, bytes."""
    two, minus_one = np.full(1, 2, np.float32), np.full(1, -1, np.float32)
    bits = native.Matrix.bits(np.packbits(weight > 0, axis=1), weight.shape[1], two, minus_one)
    codes, step, low = bytes_by_row(weight)
    return [
        (native.Matrix.float32(weight), weight),
        (bits, np.where(weight > 0, 1, -1)),
        (native.Matrix.uint8(codes, step, low), codes * step[:, None] + low[:, None]),
    ]


def dense(weight: np.ndarray) -> DenseMatrix:
    return DenseMatrix.from_stored({"weight": torch.from_numpy(weight)}, *weight.shape)


@pytest.mark.parametrize("isa", native.isas())
@pytest.mark.parametrize(("count", "columns", "rows"), SHAPES)
def test_linear_is_its_formula(isa: str, count: int, columns: int, rows: int) -> None:
    """All shapes of tiles, every way of storing, with and without scale and bias, on one thread and three."""
    random = np.random.default_rng(1)
    x, weight = (random.normal(size=(n, columns)).astype(np.float32) for n in (count, rows))
    scale, bias = (random.normal(size=rows).astype(np.float32) for _ in range(2))
    for matrix, numbers in in_every_way(weight):
        plain = x.astype(np.float64) @ numbers.astype(np.float64).T
        for options, expected in (({}, plain), ({"scale": scale, "bias": bias}, scale * plain + bias)):
            for threads in (1, 3):
                out = np.full((count, rows), np.nan, np.float32)
                native.Linear(matrix, **options, isa=isa).products(x, out, threads)
                assert out == pytest.approx(expected, abs=1e-4)


@pytest.mark.skipif(not native.has_int8(), reason="no kernels with products of integers here")
@pytest.mark.parametrize(("count", "columns", "rows"), SHAPES)
@pytest.mark.parametrize("kind", ["dense", "bits", "bytes"])
def test_linear_in_whole_numbers_is_near(kind: str, count: int, columns: int, rows: int) -> None:
    """Whole inputs may be so large that sums stay in 32 bits, and no larger."""
    random = np.random.default_rng(2)
    x, weight = (random.normal(size=(n, columns)).astype(np.float32) for n in (count, rows))
    scale, bias = (random.normal(size=rows).astype(np.float32) for _ in range(2))
    matrix: Matrix = dense(weight)
    if kind == "bits":
        matrix = PackedBinaryMatrix(rows, columns, np.packbits(weight > 0, axis=1), 0.5)
    elif kind == "bytes":
        matrix = QuantizedSpec().from_trained(torch.from_numpy(weight))
    form, numbers = form_16_bits(native, matrix), matrix.materialize().detach().numpy()
    expected = scale * (x.astype(np.float64) @ numbers.astype(np.float64).T) + bias
    # Half a unit of an input of 4,095 times all of a row, and as much of a row of 16 bits.
    near = np.abs(scale) * np.abs(x).max() * np.abs(numbers).sum(1).max() / 4095
    for threads in (1, 3):
        out = np.full((count, rows), np.nan, np.float32)
        native.Linear(form, scale=scale, bias=bias, int16=True).products(x, out, threads)
        assert (np.abs(out - expected) <= near + 1e-6).all()
        assert columns == 1 or (out != expected.astype(np.float32)).any()


@pytest.mark.parametrize("isa", native.isas())
@pytest.mark.parametrize("columns", [1, 16, 45, 64, 200])
def test_pairs_are_single_products(isa: str, columns: int) -> None:
    """However many there are beyond the last four, and whatever a row is stored as."""
    random = np.random.default_rng(3)
    x, weight = (random.normal(size=(n, columns)).astype(np.float32) for n in (9, 30))
    bias = random.normal(size=30).astype(np.float32)
    for matrix, numbers in in_every_way(weight):
        output = native.Output(matrix, bias, isa=isa)
        for count in (0, 1, 3, 4, 11):
            positions, ids = random.integers(9, size=count), random.integers(30, size=count)
            out = np.full(count, np.nan, np.float32)
            output.pairs(x, positions, ids, out)
            expected = (x[positions].astype(np.float64) * numbers[ids]).sum(1) + bias[ids]
            assert out == pytest.approx(expected, abs=2e-5)


@pytest.mark.parametrize("isa", native.isas())
@pytest.mark.parametrize("int16", [False, True])
@pytest.mark.parametrize("sources", [1, 2])
def test_words_after_the_same_words(isa: str, int16: bool, sources: int) -> None:
    """The same inputs are multiplied once: nothing of it is to be seen, in any order and on any threads."""
    if int16 and not native.has_int8(isa):
        pytest.skip("no integer products there")
    random = np.random.default_rng(4)
    cells, count, states_above = 21, 400, 300
    weight = random.normal(size=(sources, 4 * cells, cells)).astype(np.float32) * 0.3
    form = form_16_bits if int16 else exact_form
    forms = [form(native, dense(numbers)) for numbers in weight]
    kernel = native.Cells(forms, int16=int16, isa=isa)
    table = random.normal(size=(8, 4 * cells)).astype(np.float32)
    before = random.normal(size=(states_above, cells)).astype(np.float32)
    inputs = [random.normal(size=(states_above, cells)).astype(np.float32) for _ in range(sources)]
    above = np.sort(random.integers(states_above, size=count))
    below = np.repeat(random.integers(states_above, size=count // 2), 2)
    index = [above, below][:sources]
    words = random.integers(8, size=count)
    kept = np.where(np.arange(count) % 3, -1, states_above + np.arange(count))

    def run(which: np.ndarray, threads: int) -> tuple[np.ndarray, np.ndarray]:
        states = np.concatenate([before, np.zeros((count, cells), np.float32)])
        hidden = np.full((len(which), cells), np.nan, np.float32)
        rows = [one[which] for one in index]
        kernel.step(
            inputs, rows, table, words[which], states, above[which], hidden, kept[which], None, threads
        )
        return hidden, states

    together, states = run(np.arange(count), 1)
    gates = table[words] + sum(x[rows] @ w.T for x, rows, w in zip(inputs, index, weight, strict=True))
    i, f, g, o = (gates[:, part * cells : (part + 1) * cells] for part in range(4))
    c = before[above] / (1 + np.exp(-f)) + np.tanh(g) / (1 + np.exp(-i))
    expected = np.tanh(c) / (1 + np.exp(-o))
    assert together == pytest.approx(expected, abs=5e-3 if int16 else 1e-5)
    assert states[states_above:][kept >= 0] == pytest.approx(c[kept >= 0], abs=5e-3 if int16 else 1e-5)
    assert (states[states_above:][kept < 0] == 0).all()
    apart = np.concatenate([run(np.asarray([n]), 1)[0] for n in range(count)])
    assert (apart == together).all()
    mixed = random.permutation(count)  # hardly any has the same inputs as the one before it
    for threads in (1, 2, 9):
        assert (run(mixed, threads)[0] == together[mixed]).all()


@pytest.mark.parametrize("system", ["lstm", "bllm", "slim", "low-rank", "tensor-train"])
def test_rows_are_those_of_the_matrix(saved: Save, system: str) -> None:
    """Read by the kernels or, where they cannot, by torch."""
    embedding = saved(system, **SYSTEMS.get(system, {})).model.embedding
    ids = np.asarray([5, 0, 5, embedding.out_features - 1])
    expected = embedding.rows(torch.from_numpy(ids)).detach().numpy()
    with torch.inference_mode():
        assert rows_form(native, embedding)(ids) == pytest.approx(expected, abs=1e-7)


def test_rows_beyond_the_matrix_are_refused() -> None:
    matrix, out = native.Matrix.float32(np.zeros((3, 4), np.float32)), np.zeros((1, 4), np.float32)
    with pytest.raises(ValueError, match="id: 3 is not below 3"):
        matrix.read(np.asarray([3]), out)
    with pytest.raises(ValueError, match="columns of out: expected 4, got 3"):
        matrix.read(np.asarray([0]), out[:, :3].copy())


def test_linear_says_what_does_not_fit() -> None:
    linear = native.Linear(native.Matrix.float32(np.zeros((3, 4), np.float32)))
    x, out = np.zeros((2, 4), np.float32), np.zeros((2, 3), np.float32)
    with pytest.raises(ValueError, match="columns of x: expected 4, got 3"):
        linear.products(x[:, :3].copy(), out)
    with pytest.raises(ValueError, match="rows of out: expected 2, got 1"):
        linear.products(x, out[:1])
    with pytest.raises(ValueError, match="biases: expected 3, got 2"):
        native.Linear(native.Matrix.float32(np.zeros((3, 4), np.float32)), bias=np.zeros(2, np.float32))


@pytest.mark.parametrize("system", ["lstm", "belm", "bllm"])
def test_two_threads(saved: Save, threads: None, system: str) -> None:
    scorer = LanguageModelScorer(saved(system), "m", native=True)
    torch.set_num_threads(1)
    expected = scorer.score(TEXTS).nat_log_probs
    torch.set_num_threads(3)
    assert scorer.score(TEXTS).nat_log_probs == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize("system", SYSTEMS)
def test_int8_is_near(saved: Save, system: str) -> None:
    """In the mean over words; these matrices are far coarser than trained ones."""
    loaded = saved(system.split(",")[0], **SYSTEMS[system])
    exact = LanguageModelScorer(loaded, "m", native=True).score(TEXTS)
    scorer = LanguageModelScorer(loaded, "m", native=True, precision="int8")
    near = scorer.score(TEXTS)
    each = np.abs(near.nat_log_probs - exact.nat_log_probs) / exact.token_counts
    assert each.mean() < 2e-3
    assert scorer.digest == f"{loaded.digest}+int8"
    if native.has_int8() and system not in ("sparse", "tensor-train"):
        assert (near.nat_log_probs != exact.nat_log_probs).any()


def test_what_is_remembered_of_words_is_bounded(saved: Save, monkeypatch: pytest.MonkeyPatch) -> None:
    loaded = saved("lstm")
    expected = LanguageModelScorer(loaded, "m", native=False).score(TEXTS).nat_log_probs
    monkeypatch.setattr("models.scoring.native_engine.TABLE_BYTES", 5 * 16 * 20)  # five words
    scorer = LanguageModelScorer(loaded, "m", native=True, batch=3)
    assert scorer.score(TEXTS).nat_log_probs == pytest.approx(expected, abs=1e-4)


def test_words_expected_are_made_once_where_there_is_much_room(
    saved: Save, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = np.array([3, 4, 3, 5, 6])
    engine = NativeEngine(saved("lstm").model)
    roomy, narrow = engine.walk(), engine.walk()
    roomy.expect(words)
    assert roomy.table.used == 4
    made = roomy.table.table[:4].copy()
    again, rows = roomy.table.of(words, 1)
    assert roomy.table.used == 4
    assert again[rows].tolist() == made[[0, 1, 0, 2, 3]].tolist()
    monkeypatch.setattr("models.scoring.native_engine.TABLE_BYTES", 15 * 16 * 20)  # fifteen words
    narrow.expect(words)
    assert narrow.table.used == 0
    narrow.expect(words[:3])
    assert narrow.table.used == 2


def test_short_of_memory_words_are_made_as_steps_need_them(
    saved: Save, monkeypatch: pytest.MonkeyPatch
) -> None:
    loaded = saved("lstm")
    expected = LanguageModelScorer(loaded, "m", native=True).score(TEXTS).nat_log_probs
    asked = []

    def full(walk: NativeWalk, words: np.ndarray) -> None:
        asked.append(len(words))
        raise MemoryError

    monkeypatch.setattr(NativeWalk, "expect", full)
    found = LanguageModelScorer(loaded, "m", native=True).score(TEXTS).nat_log_probs
    assert asked
    assert found == pytest.approx(expected, abs=1e-4)


def test_without_the_kernels(saved: Save, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("models.scoring.scorer.kernels", lambda: None)
    monkeypatch.setattr("models.scoring.native_engine.kernels", lambda: None)
    loaded = saved("lstm")
    assert LanguageModelScorer(loaded, "m").engine.name == "torch"
    with pytest.raises(ConfigError, match="need the distribution nbest-native"):
        LanguageModelScorer(loaded, "m", native=True)
    with pytest.raises(ConfigError, match="precision int8 needs the compiled kernels"):
        LanguageModelScorer(loaded, "m", precision="int8")


@given(
    st.integers(1, 70),
    st.integers(1, 40),
    st.integers(1, 90),
    st.integers(0, 3),
    st.sampled_from(native.isas()),
)
@settings(deadline=None, max_examples=60)
def test_normalisers_of_any_size(count: int, columns: int, rows: int, seed: int, isa: str) -> None:
    """Floats and bytes, against 64-bit sums."""
    random = np.random.default_rng(seed)
    x = random.normal(size=(count, columns)).astype(np.float32)
    weight = random.normal(size=(rows, columns)).astype(np.float32)
    bias = random.normal(size=rows).astype(np.float32) if seed % 2 else None
    codes, step, low = bytes_by_row(weight)
    assert np.abs(codes * step[:, None] + low[:, None] - weight).max() <= step.max() * 0.51
    for matrix, values in (
        (native.Matrix.float32(weight), weight),
        (native.Matrix.uint8(codes, step, low), codes * step[:, None] + low[:, None]),
    ):
        logits = x.astype(np.float64) @ values.T.astype(np.float64) + (0 if bias is None else bias)
        found = np.empty(count)
        output = native.Output(matrix, bias, isa=isa)
        output.log_normalizers(x, found)
        assert found == pytest.approx(np.log(np.exp(logits).sum(1)), abs=2e-5)
        positions, ids = random.integers(0, count, 9), random.integers(0, rows, 9)
        pairs = np.empty(9, dtype=np.float32)
        output.pairs(x, positions, ids, pairs)
        assert pairs == pytest.approx(logits[positions, ids], abs=2e-5)


@pytest.mark.parametrize("size", [50.0, 5_000.0])
@pytest.mark.parametrize("isa", native.isas())
def test_sums_beyond_the_range_of_floats(size: float, isa: str) -> None:
    """Logits from -size to size, the first panel's all tiny: the plain sum in 64 bits takes over."""
    weight = np.linspace(-size, size, 200, dtype=np.float32)[:, None]
    x, found = np.asarray([[1.0], [-1.0], [0.0]], dtype=np.float32), np.empty(3)
    native.Output(native.Matrix.float32(weight), isa=isa).log_normalizers(x, found)
    logits = x.astype(np.float64) @ weight.T.astype(np.float64)
    top = logits.max(1)
    assert found == pytest.approx(top + np.log(np.exp(logits - top[:, None]).sum(1)), rel=1e-6)


@pytest.mark.parametrize("isa", native.isas())
@pytest.mark.parametrize("products", ["float", "int8", "two_bytes"])
def test_one_worth_for_all_rows(isa: str, products: str) -> None:
    """A step and a least value given once, or for each row: the same, of bytes and of bits."""
    if products != "float" and not native.has_int8(isa):
        pytest.skip("no integer products there")
    random = np.random.default_rng(5)
    x = random.normal(size=(9, 24)).astype(np.float32)
    codes = random.integers(0, 256, (77, 24)).astype(np.uint8)
    bits = random.integers(0, 256, (77, 3)).astype(np.uint8)
    once = np.full(1, 0.01, np.float32), np.full(1, -0.3, np.float32)
    each = tuple(one.repeat(77) for one in once)
    makers: list[Callable[..., Any]] = [
        lambda step, low: native.Matrix.uint8(codes, step, low),
        lambda step, low: native.Matrix.bits(bits, 24, step, low),
    ]
    for make in makers:
        found = np.empty((2, 9))
        for out, worth in zip(found, (once, each), strict=True):
            native.Output(make(*worth), products=products, isa=isa).log_normalizers(x, out)
        assert (found[0] == found[1]).all()
    with pytest.raises(ValueError, match="steps: expected 77, got 76"):
        native.Matrix.uint8(codes, each[0][:76].copy(), each[1])
    with pytest.raises(ValueError, match="lows: expected 1, got 77"):
        native.Matrix.uint8(codes, once[0], each[1])


@pytest.mark.skipif(not native.has_int8(), reason="no integer products there")
@pytest.mark.parametrize(("rows", "count"), [(4000, 50), (77, 5), (33, 7)])
def test_rows_of_little_weight_do_without_their_low_bytes(rows: int, count: int) -> None:
    """The sums stay what they are, though in a peaked distribution most rows are read as bytes."""
    random = np.random.default_rng(9)
    x = random.normal(size=(count, 64)).astype(np.float32)
    weight = random.normal(size=(rows, 64)).astype(np.float32) * 0.4
    bias = np.sort(random.normal(scale=3, size=rows))[::-1].astype(np.float32).copy()
    exact = native.Matrix.float32(weight)
    high, low = form_two_bytes(native, weight)
    expected = np.empty(count)
    native.Output(exact, bias).log_normalizers(x, expected)

    def off(**options: Any) -> float:
        found = np.empty(count)
        output = native.Output(high, bias, products="two_bytes", exact=exact, again=0.01, **options)
        output.log_normalizers(x, found)
        return float(np.abs(found - expected).max())

    assert off(low=low, coarse=1e-4) < 2e-5
    assert off(low=low, coarse=0.9) > 5 * off(low=low, coarse=0.0)  # as near as with bytes in the end
    with pytest.raises(ValueError, match="coarse is a share"):
        off(low=low, coarse=-0.1)


def test_wrong_shapes_are_named() -> None:
    output = native.Output(native.Matrix.float32(np.ones((4, 3), np.float32)))
    x = np.ones((2, 3), np.float32)
    with pytest.raises(ValueError, match="columns of x: expected 3, got 2"):
        output.log_normalizers(np.ones((2, 2), np.float32), np.empty(2))
    with pytest.raises(ValueError, match="length of out: expected 2, got 1"):
        output.log_normalizers(x, np.empty(1))
    with pytest.raises(ValueError, match="position: 2 is not below 2"):
        output.pairs(x, np.asarray([2]), np.asarray([0]), np.empty(1, np.float32))
    with pytest.raises(ValueError, match="id: -1 is not below 4"):
        output.pairs(x, np.asarray([0]), np.asarray([-1]), np.empty(1, np.float32))
    with pytest.raises(ValueError, match="8-bit products need a matrix of bytes or bits"):
        native.Output(native.Matrix.float32(np.ones((4, 3), np.float32)), products="int8")
    with pytest.raises(ValueError, match="this CPU has no kernels mmx"):
        native.Output(native.Matrix.float32(np.ones((4, 3), np.float32)), isa="mmx")


def test_kernels_of_another_version_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(native, "INTERFACE", 0)
    with pytest.raises(ConfigError, match="another version of nbest"):
        kernels()
