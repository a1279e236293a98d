"""The table of named systems: what each puts into the slots of a language model."""

from collections.abc import Callable
from typing import Any

from pydantic import ValidationError

from models.config import LanguageModelConfig
from models.matrices.binary import BinarySpec
from models.matrices.dense import DenseSpec
from models.matrices.slim import SlimSpec
from nbest.errors import ConfigError


def _common(system: str, vocabulary_size: int, hidden_size: int, layers: int) -> dict[str, Any]:
    return {
        "system": system,
        "vocabulary_size": vocabulary_size,
        "embedding_size": hidden_size,
        "hidden_size": hidden_size,
        "layers": layers,
    }


def lstm(vocabulary_size: int, hidden_size: int, layers: int, **options: Any) -> LanguageModelConfig:
    """Every matrix dense; one bias per gate row, no output bias (Table 1: 8VH + 32H^2 + 16H bytes)."""
    return LanguageModelConfig(
        **_common("lstm", vocabulary_size, hidden_size, layers),
        embedding=DenseSpec(),
        gates=DenseSpec(),
        output=DenseSpec(),
        **options,
    )


def belm(vocabulary_size: int, hidden_size: int, layers: int, **options: Any) -> LanguageModelConfig:
    """Binary embeddings with dense linear layers, dense gates (Table 1: 0.25VH + 40H^2 + 24H bytes)."""
    binary = BinarySpec(scale=hidden_size**-0.5)
    linear = DenseSpec(scale=hidden_size**-0.5)
    return LanguageModelConfig(
        **_common("belm", vocabulary_size, hidden_size, layers),
        embedding=binary,
        embedding_linear=linear,
        gates=DenseSpec(),
        output_linear=linear,
        output=binary,
        **options,
    )


def bllm(vocabulary_size: int, hidden_size: int, layers: int, **options: Any) -> LanguageModelConfig:
    """Every matrix binary, exp(gamma) and bias per row (Table 1: 0.25VH + 1.25H^2 + 48H bytes)."""
    binary = BinarySpec(scale=hidden_size**-0.5)
    return LanguageModelConfig(
        **_common("bllm", vocabulary_size, hidden_size, layers),
        embedding=binary,
        embedding_linear=binary,
        gates=binary,
        gates_gain=True,
        output_linear=binary,
        linear_gain=True,
        output=binary,
        **options,
    )


def slim(
    vocabulary_size: int,
    hidden_size: int,
    layers: int,
    *,
    parts: int | None = None,
    ratio: float = 1 / 8,
    output_ratio: float | None = None,
    seed: int = 1,
    **options: Any,
) -> LanguageModelConfig:
    """Slim embedding (pool) and output (by position), dense gates.

    ratio   stored numbers over those of the dense matrix, M/(V*K); `output_ratio` for the output
    parts   K; by default the first of 10, 8, 5, 4 that divides the hidden size
    """
    if parts is None:
        parts = next((k for k in (10, 8, 5, 4) if hidden_size % k == 0), 1)
    for name, value in (("ratio", ratio), ("output ratio", output_ratio or ratio)):
        if not 0 < value <= 1:
            raise ConfigError(f"slim: {name} out of range", expected="above 0, at most 1", got=str(value))
    per_position = max(1, round(vocabulary_size * (output_ratio or ratio)))
    pool = max(parts, round(vocabulary_size * parts * ratio))
    return LanguageModelConfig(
        **_common("slim", vocabulary_size, hidden_size, layers),
        embedding=SlimSpec(parts=parts, sub_vectors=pool, by_position=False, seed=seed),
        gates=DenseSpec(),
        output=SlimSpec(parts=parts, sub_vectors=per_position * parts, by_position=True, seed=seed + 1),
        **options,
    )


SYSTEMS: dict[str, Callable[..., LanguageModelConfig]] = {
    "lstm": lstm,
    "belm": belm,
    "bllm": bllm,
    "slim": slim,
}


def architecture(
    system: str, vocabulary_size: int, hidden_size: int, layers: int = 1, **options: Any
) -> LanguageModelConfig:
    """The configuration of a named system; raises ConfigError for an unknown name or bad options."""
    if system not in SYSTEMS:
        raise ConfigError("unknown system", expected=f"one of {', '.join(SYSTEMS)}", got=repr(system))
    try:
        return SYSTEMS[system](vocabulary_size, hidden_size, layers, **options)
    except TypeError as error:
        raise ConfigError(f"system {system!r} has no such option ({error})") from None
    except ValidationError as error:
        first = error.errors()[0]
        raise ConfigError(f"system {system!r}: {first['msg']}", got=str(first.get("input"))[:80]) from None
