"""The table of named systems: what each puts into the slots of a language model."""

from collections.abc import Callable, Sequence
from typing import Any, Literal

from pydantic import ValidationError

from models.config import LanguageModelConfig
from models.matrices.binary import BinarySpec
from models.matrices.dense import DenseSpec
from models.matrices.frequency import FrequencySpec
from models.matrices.low_rank import LowRankSpec
from models.matrices.slim import SlimSpec
from models.matrices.tensor_train import TensorTrainSpec
from nbest.errors import ConfigError


def _common(
    system: str, vocabulary_size: int, hidden_size: int, layers: int, embedding_size: int | None = None
) -> dict[str, Any]:
    return {
        "system": system,
        "vocabulary_size": vocabulary_size,
        "embedding_size": embedding_size or hidden_size,
        "hidden_size": hidden_size,
        "layers": layers,
    }


def lstm(
    vocabulary_size: int,
    hidden_size: int,
    layers: int,
    *,
    embedding_size: int | None = None,
    tied: bool = False,
    **options: Any,
) -> LanguageModelConfig:
    """Every matrix dense; one bias per gate row, no output bias (Table 1: 8VH + 32H^2 + 16H bytes).

    tied   the output is the embedding; the last layer then has as many cells as the embedding has numbers
    """
    return LanguageModelConfig(
        **_common("lstm", vocabulary_size, hidden_size, layers, embedding_size),
        embedding=DenseSpec(),
        gates=DenseSpec(),
        output=DenseSpec(),
        tied=tied,
        last_hidden_size=embedding_size if tied else None,
        **options,
    )


def belm(
    vocabulary_size: int,
    hidden_size: int,
    layers: int,
    *,
    input_linear: bool = True,
    output_linear: bool = True,
    scale: float | Literal["mean"] | None = None,
    **options: Any,
) -> LanguageModelConfig:
    """Binary embeddings with dense linear layers, dense gates (Table 1: 0.25VH + 40H^2 + 24H bytes).

    input_linear, output_linear   whether the extra linear layers are there (Table 5: no-i, no-o, no-io)
    scale                         of the binary matrices: sqrt(1/H) (Eq. 8), or "mean", that is mean |W|
    """
    binary = BinarySpec(scale=hidden_size**-0.5 if scale is None else scale)
    linear = DenseSpec(scale=hidden_size**-0.5)
    return LanguageModelConfig(
        **_common("belm", vocabulary_size, hidden_size, layers),
        embedding=binary,
        embedding_linear=linear if input_linear else None,
        gates=DenseSpec(),
        output_linear=linear if output_linear else None,
        output=binary,
        **options,
    )


def bllm(
    vocabulary_size: int,
    hidden_size: int,
    layers: int,
    *,
    input_linear: bool = True,
    output_linear: bool = True,
    scale: float | Literal["mean"] | None = None,
    **options: Any,
) -> LanguageModelConfig:
    """Every matrix binary, exp(gamma) and bias per row (Table 1: 0.25VH + 1.25H^2 + 48H bytes).

    Options as for `belm`.
    """
    binary = BinarySpec(scale=hidden_size**-0.5 if scale is None else scale)
    return LanguageModelConfig(
        **_common("bllm", vocabulary_size, hidden_size, layers),
        embedding=binary,
        embedding_linear=binary if input_linear else None,
        gates=binary,
        gates_gain=True,
        output_linear=binary if output_linear else None,
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
    assignment: Literal["balanced", "hash"] = "balanced",
    tied: bool = False,
    seed: int = 1,
    **options: Any,
) -> LanguageModelConfig:
    """Slim embedding (pool) and output (by position), dense gates.

    ratio   stored numbers over those of the dense matrix, M/(V*K); `output_ratio` for the output, where 1
            is a dense output (Tables 2 and 3 of the slim paper)
    parts   K; by default the first of 10, 8, 5, 4 that divides the hidden size
    tied    one matrix by position is embedding and output
    """
    if parts is None:
        parts = next((k for k in (10, 8, 5, 4) if hidden_size % k == 0), 1)
    output_ratio = ratio if output_ratio is None else output_ratio
    for name, value in (("ratio", ratio), ("output ratio", output_ratio)):
        if not 0 < value <= 1:
            raise ConfigError(f"slim: {name} out of range", expected="above 0, at most 1", got=str(value))

    def by_position(share: float) -> SlimSpec:
        count = max(1, round(vocabulary_size * share)) * parts
        return SlimSpec(
            parts=parts, sub_vectors=count, by_position=True, assignment=assignment, seed=seed + 1
        )

    pool = SlimSpec(
        parts=parts,
        sub_vectors=max(parts, round(vocabulary_size * parts * ratio)),
        by_position=False,
        assignment=assignment,
        seed=seed,
    )
    return LanguageModelConfig(
        **_common("slim", vocabulary_size, hidden_size, layers),
        embedding=by_position(ratio) if tied else pool,
        gates=DenseSpec(),
        output=DenseSpec() if output_ratio == 1 else by_position(output_ratio),
        tied=tied,
        **options,
    )


def hashnet(
    vocabulary_size: int, hidden_size: int, layers: int, *, ratio: float = 1 / 8, **options: Any
) -> LanguageModelConfig:
    """Single numbers shared by a hash of word and position: the slim matrix with K = H."""
    config = slim(
        vocabulary_size, hidden_size, layers, parts=hidden_size, ratio=ratio, assignment="hash", **options
    )
    return config.model_copy(update={"system": "hashnet"})


def sparse(
    vocabulary_size: int,
    hidden_size: int,
    layers: int,
    *,
    embedding_size: int | None = None,
    segments: int = 3,
    dense_hidden_size: int | None = None,
    input_shares: Sequence[float] | None = None,
    embedding_density: float | None = None,
    tied: bool = True,
    **options: Any,
) -> LanguageModelConfig:
    """Layers of parallel cells, each over a window of the input; embedding and output tied.

    embedding_density   the share of numbers that are there, fewer for rarer words (Section 4.1); else dense

    dense_hidden_size   gamma of each layer is chosen so that the layer has the parameters of a dense one of
                        this size (Section 3.2 of "Predefined Sparseness in Recurrent Sequence Models"), as
                        nearly as 1/N <= gamma <= 1 allows
    input_shares        gamma of each layer, where it is given
    """
    e = embedding_size or hidden_size
    words = DenseSpec() if embedding_density is None else FrequencySpec(density=embedding_density)
    shape = _common("sparse", vocabulary_size, hidden_size, layers, e) | {
        "tied": tied,
        "last_hidden_size": e if tied else None,
        "segments": segments,
        "embedding": words,
        "gates": DenseSpec(),
        "output": words,
    }
    if input_shares is None and dense_hidden_size is not None:
        input_shares = _equal_parameters(shape, dense_hidden_size)
    return LanguageModelConfig(**shape, input_shares=tuple(input_shares or ()), **options)


def _equal_parameters(shape: dict[str, Any], dense_hidden_size: int) -> list[float]:
    """gamma of each layer from h_d i_d + h_d^2 + 2 h_d = h_s gamma i_s + h_s^2/N + 2 h_s."""
    n, layers, e = shape["segments"], shape["layers"], shape["embedding_size"]
    last = shape["last_hidden_size"]
    shares = []
    for layer in range(layers):
        is_last = layer == layers - 1
        h_d, h_s = (last or h if is_last else h for h in (dense_hidden_size, shape["hidden_size"]))
        i_d, i_s = (e if layer == 0 else h for h in (dense_hidden_size, shape["hidden_size"]))
        share = (h_d * i_d + h_d**2 + 2 * h_d - h_s**2 / n - 2 * h_s) / (h_s * i_s)
        shares.append(min(1.0, max(1 / n, share)))
    return shares


def low_rank(
    vocabulary_size: int, hidden_size: int, layers: int, *, rank: int = 128, **options: Any
) -> LanguageModelConfig:
    """An LSTM with projection: one factor of rank r serves recurrence, next layer and output (Eqs. 12-14).

    Embedding and output are (V, r), as LR LSTM 650-650 of Grachev, Ignatov and Savchenko has them.
    """
    return LanguageModelConfig(
        **_common("low-rank", vocabulary_size, hidden_size, layers, rank),
        projection_size=rank,
        embedding=DenseSpec(),
        gates=DenseSpec(),
        projection=DenseSpec(),
        output=DenseSpec(),
        **options,
    )


def projected(
    vocabulary_size: int, hidden_size: int, layers: int, *, rank: int = 64, **options: Any
) -> LanguageModelConfig:
    """Embedding and output of rank r: the baseline PM of the slim paper."""
    return LanguageModelConfig(
        **_common("projected", vocabulary_size, hidden_size, layers),
        embedding=LowRankSpec(rank=rank),
        gates=DenseSpec(),
        output=LowRankSpec(rank=rank),
        **options,
    )


def tensor_train(
    vocabulary_size: int, hidden_size: int, layers: int, *, rank: int = 8, cores: int = 4, **options: Any
) -> LanguageModelConfig:
    """A tensor train for each gate matrix (Eq. 15 of Grachev, Ignatov and Savchenko); the rest dense."""
    return LanguageModelConfig(
        **_common("tensor-train", vocabulary_size, hidden_size, layers),
        embedding=DenseSpec(),
        gates=TensorTrainSpec(rank=(rank,), cores=cores, blocks=4),
        output=DenseSpec(),
        **options,
    )


SYSTEMS: dict[str, Callable[..., LanguageModelConfig]] = {
    "lstm": lstm,
    "belm": belm,
    "bllm": bllm,
    "slim": slim,
    "hashnet": hashnet,
    "sparse": sparse,
    "low-rank": low_rank,
    "projected": projected,
    "tensor-train": tensor_train,
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
