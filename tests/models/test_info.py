"""Bytes, exactly: Table 1 of "Binarized LSTM Language Model"."""

from collections.abc import Callable

import pytest

from models import info
from models.architectures import architecture
from models.checkpoint import Checkpoint
from models.language_model import LanguageModel


def _parts(system: str, v: int, h: int, **options: object) -> dict[str, info.Part]:
    model = LanguageModel(architecture(system, v, h, **options)).packed()
    return {part.name: part for part in info.parts_of_model(model)}


@pytest.mark.parametrize(
    ("system", "total"),
    [
        ("lstm", 48_008_000),  # 8VH + 32H^2 + 16H
        ("belm", 11_262_000),  # 0.25VH + 40H^2 + 24H
        ("bllm", 1_586_500),  # 0.25VH + 1.25H^2 + 48H
    ],
)
def test_table_1_at_v_10000_h_500(system: str, total: int) -> None:
    assert sum(part.paper_bytes for part in _parts(system, 10_000, 500).values()) == total


def test_bllm_part_by_part() -> None:
    """V=10,000, H=500: bits / 8 for matrices; 4 bytes each for one gamma and one bias per gate row."""
    parts = _parts("bllm", 10_000, 500)
    assert {name: part.paper_bytes for name, part in parts.items()} == {
        "embedding": 625_000,
        "embedding_linear": 31_250,
        "layer0.recurrent": 125_000,
        "layer0.input": 125_000,
        "output_linear": 31_250,
        "output": 625_000,
        "embedding_linear.gamma": 2_000,
        "embedding_linear.bias": 2_000,
        "layer0.gamma": 8_000,
        "layer0.bias": 8_000,
        "output_linear.gamma": 2_000,
        "output_linear.bias": 2_000,
    }


def test_lstm_and_belm_have_one_bias_per_gate_row_and_none_at_the_output() -> None:
    assert set(_parts("lstm", 100, 20)) == {
        "embedding",
        "layer0.recurrent",
        "layer0.input",
        "output",
        "layer0.bias",
    }
    assert set(_parts("belm", 100, 20)) == {
        "embedding", "embedding_linear", "layer0.recurrent", "layer0.input", "output_linear", "output",
        "embedding_linear.bias", "layer0.bias", "output_linear.bias",
    }  # fmt: skip
    assert "output.bias" in _parts("lstm", 100, 20, output_bias=True)


def test_slim_counts_its_codes_apart() -> None:
    """V=8,000, H=320, K=10, ratio 1/8: M = VK/8 sub-vectors of 32 numbers; codes of 14 and 10 bits."""
    parts = _parts("slim", 8_000, 320, parts=10, ratio=1 / 8)
    assert parts["embedding"].paper_bytes == parts["output"].paper_bytes == 8_000 * 320 * 4 / 8
    assert parts["embedding"].extra_bytes == 8_000 * 10 * 14 / 8
    assert parts["output"].extra_bytes == 8_000 * 10 * 10 / 8


@pytest.mark.parametrize("system", ["lstm", "belm", "bllm", "slim"])
def test_file_holds_what_the_parts_say(saved: Callable[..., Checkpoint], system: str) -> None:
    """The weight file is the parts plus its header, to the byte (each matrix's bits end at a byte)."""
    described = info.describe(saved(system))
    header = int.from_bytes((described.path / "model.safetensors").read_bytes()[:8], "little") + 8
    bodies = sum(
        -(-part.paper_bytes // 1) if part.extra_bytes < 5 else part.paper_bytes for part in described.parts
    )
    extras = sum(-(-part.extra_bytes // 1) for part in described.parts)
    assert described.weights_bytes == header + bodies + extras
    assert described.vocabulary_bytes == (described.path / "vocabulary.json").stat().st_size


@pytest.mark.parametrize("system", ["low-rank", "projected"])
@pytest.mark.parametrize("cells", [16, 64, 512])
def test_models_of_low_rank_are_smaller_by_default(system: str, cells: int) -> None:
    def numbers(of: str) -> int:
        return sum(part.parameters for part in _parts(of, 10_000, cells).values())

    assert numbers(system) < 0.7 * numbers("lstm")
