"""A slim output by its compiled kernels: against 64-bit sums, every kind of CPU, odd sizes, more threads."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from models.matrices.slim import SlimSpec
from models.scoring.native_forms import slim_form

native = pytest.importorskip("nbest_native", reason="the compiled kernels are not installed: make native")


@dataclass(frozen=True)
class Slim:
    """Codes (V, K), sub-vectors (K, M/K, H/K), biases (V,) or none; `logits` the slow way."""

    codes: NDArray[Any]
    vectors: NDArray[np.float32]
    bias: NDArray[np.float32] | None

    def output(self, isa: str | None = None) -> Any:
        return native.Output(native.Matrix.slim(self.codes, self.vectors), self.bias, isa=isa)

    def logits(self, x: NDArray[np.float32]) -> NDArray[np.float64]:
        """(N, V): whole rows, 64 bits."""
        rows = np.concatenate([own[code] for own, code in zip(self.vectors, self.codes.T, strict=True)], 1)
        return x.astype(np.float64) @ rows.T.astype(np.float64) + (0 if self.bias is None else self.bias)


def made(
    seed: int, words: int, parts: int, values: int, width: int, *, wide: bool = False, size: float = 1.0
) -> Slim:
    random = np.random.default_rng(seed)
    return Slim(
        random.integers(0, values, (words, parts)).astype(np.int32 if wide else np.uint16),
        random.normal(scale=size, size=(parts, values, width)).astype(np.float32),
        random.normal(size=words).astype(np.float32) if seed % 2 else None,
    )


def check(slim: Slim, count: int, isa: str | None, threads: int, seed: int = 1) -> None:
    """Logits, pairs and normalisers of `count` inputs."""
    random = np.random.default_rng(seed)
    words, parts = slim.codes.shape
    x = random.normal(size=(count, parts * slim.vectors.shape[2])).astype(np.float32)
    expected, output = slim.logits(x), slim.output(isa)
    logits = np.empty((words, count), dtype=np.float32)
    output.logits(x, logits, threads)
    assert np.abs(logits.T - expected).max() < 2e-5
    positions, ids = random.integers(0, count, 9), random.integers(0, words, 9)
    pairs = np.empty(9, dtype=np.float32)
    output.pairs(x, positions, ids, pairs)
    assert pairs == pytest.approx(expected[positions, ids], abs=2e-5)
    normalizers = np.empty(count)
    output.log_normalizers(x, normalizers, threads)
    top = expected.max(1)
    assert normalizers == pytest.approx(top + np.log(np.exp(expected - top[:, None]).sum(1)), abs=2e-5)


@given(
    seed=st.integers(0, 9),
    count=st.integers(1, 150),
    words=st.integers(1, 200),
    parts=st.integers(1, 9),
    values=st.integers(1, 30),
    width=st.integers(1, 11),
    wide=st.booleans(),
    isa=st.sampled_from(native.isas()),
    threads=st.integers(1, 3),
)
@settings(deadline=None, max_examples=150)
def test_any_size(
    seed: int,
    count: int,
    words: int,
    parts: int,
    values: int,
    width: int,
    wide: bool,
    isa: str,
    threads: int,
) -> None:
    check(made(seed, words, parts, values, width, wide=wide), count, isa, threads, seed)


@pytest.mark.parametrize("isa", native.isas())
@pytest.mark.parametrize(
    ("words", "parts", "values", "width"),
    [
        (5_003, 2, 10, 40),  # a narrow table: all registers of tokens that there are
        (5_003, 3, 2_500, 20),  # 480 KB for one register of the widest kind
        (40_009, 2, 17_000, 24),  # 2.2 MB: one register of tokens a table
        (9_001, 2, 70_000, 8),  # codes of four bytes, more sub-vectors than words: whole rows
        (3_001, 64, 300, 1),  # HashNet's single numbers: whole rows
    ],
)
def test_tables_of_every_width(isa: str, words: int, parts: int, values: int, width: int) -> None:
    slim = made(1, words, parts, values, width, wide=values > 65_536, size=0.2)
    for count, threads in ((1, 1), (67, 1), (131, 2)):
        check(slim, count, isa, threads)


@pytest.mark.parametrize("size", [50.0, 5_000.0])
@pytest.mark.parametrize("isa", native.isas())
def test_sums_beyond_the_range_of_floats(size: float, isa: str) -> None:
    """Logits from -size to size, the first words' all tiny: the plain sum in 64 bits takes over."""
    vectors = np.stack([np.linspace(-size, size, 40), np.linspace(0, 1, 40)]).astype(np.float32)
    vectors = np.concatenate([vectors[:, :, None], np.zeros((2, 40, 19), np.float32)], axis=2)  # wide rows
    codes = np.stack([np.arange(400) // 10, np.arange(400) % 40], axis=1).astype(np.uint16)
    slim = Slim(codes, np.ascontiguousarray(vectors), None)
    x = np.zeros((3, 40), dtype=np.float32)
    x[:, 0] = 1, -1, 0
    x[:, 20] = 1
    expected, found = slim.logits(x), np.empty(3)
    slim.output(isa).log_normalizers(x, found)
    top = expected.max(1)
    assert found == pytest.approx(top + np.log(np.exp(expected - top[:, None]).sum(1)), rel=1e-6)


def test_a_token_is_scored_the_same_whoever_is_beside_it() -> None:
    slim = made(3, 2_000, 8, 250, 16)
    x = np.random.default_rng(3).normal(size=(100, 128)).astype(np.float32)
    together, alone = np.empty(100), np.empty(1)
    slim.output().log_normalizers(x, together)
    for n in (0, 15, 16, 63, 64, 99):
        slim.output().log_normalizers(x[n : n + 1].copy(), alone)
        assert alone[0] == pytest.approx(together[n], abs=1e-6)


def test_what_does_not_fit_is_named() -> None:
    codes, vectors = np.zeros((5, 2), np.uint16), np.ones((2, 3, 4), np.float32)
    with pytest.raises(ValueError, match="codes a row: expected 3, got 2"):
        native.Matrix.slim(codes, np.ones((3, 3, 4), np.float32))
    with pytest.raises(ValueError, match="code: 3 is not below 3"):
        native.Matrix.slim(codes + np.uint16(3), vectors)
    with pytest.raises(ValueError, match="code: -1 is not below 3"):
        native.Matrix.slim(codes.astype(np.int32) - 1, vectors)
    output = native.Output(native.Matrix.slim(codes, vectors))
    with pytest.raises(ValueError, match="rows of out: expected 5, got 4"):
        output.logits(np.ones((2, 8), np.float32), np.empty((4, 2), np.float32))
    with pytest.raises(ValueError, match="8-bit products need a matrix of bytes or bits"):
        native.Output(native.Matrix.slim(codes, vectors), products="int8")
    dense = native.Output(native.Matrix.float32(np.ones((5, 8), np.float32)))
    with pytest.raises(ValueError, match="only a slim matrix has logits"):
        dense.logits(np.ones((2, 8), np.float32), np.empty((5, 2), np.float32))


def test_codes_of_two_bytes_or_four() -> None:
    """As the engine hands them over, for a matrix of few and of many sub-vectors."""
    for values in (9, 70_000):
        spec = SlimSpec(parts=2, sub_vectors=2 * values, by_position=True)
        matrix = spec.build(50, 6)
        output = native.Output(slim_form(native, matrix))
        x = np.random.default_rng(1).normal(size=(4, 6)).astype(np.float32)
        found = np.empty((50, 4), dtype=np.float32)
        output.logits(x, found)
        assert np.abs(found.T - x @ matrix.materialize().numpy().T).max() < 1e-6
