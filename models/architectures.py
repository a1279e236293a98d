"""The table of named systems: what each puts into the slots of a language model."""

from collections.abc import Callable, Sequence
from functools import cache
from inspect import Parameter, signature
from typing import Any, Literal, TypedDict, Unpack, get_args, get_type_hints

from pydantic import BaseModel, ConfigDict, ValidationError, create_model

from models.config import AnySpec, LanguageModelConfig, Width
from models.invalid import first_fault
from models.matrices.base import Count, Positive, Seed, Share
from models.matrices.binary import BinarySpec
from models.matrices.dense import DenseSpec
from models.matrices.frequency import FrequencySpec
from models.matrices.low_rank import LowRankSpec
from models.matrices.slim import SlimSpec
from models.matrices.tensor_train import Cores, TensorTrainSpec
from nbest.errors import ConfigError, shorten


class Options(TypedDict, total=False):
    """Options of every system.

    gate_biases   bias vectors a gate row, 1 or 2; two, as torch and cuDNN have them, differ in training only
    output_bias   whether a number is added to each word's logit
    overrides     what single slots hold, by name (those of `nbest info`), such as
                  ``{output = {kind = "low_rank", rank = 64}}`` in a recipe; the kinds, and what belongs to
                  each, are the specs of models/matrices
    """

    gate_biases: Literal[1, 2]
    output_bias: bool
    overrides: dict[str, AnySpec]


class MoreOptions(Options, total=False):
    """Options of systems whose word vectors are as long as what their output reads.

    tied   whether the output is the embedding: one matrix, stored once
    """

    tied: bool


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
    embedding_size: Width | None = None,
    tied: bool = False,
    **options: Unpack[Options],
) -> LanguageModelConfig:
    """Every matrix dense; one bias per gate row, no output bias (Table 1: 8VH + 32H^2 + 16H bytes).

    embedding_size   E; by default as many numbers a word as there are cells
    tied             the output is the embedding; the last layer then has as many cells as that has numbers
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
    scale: Positive | Literal["mean"] | None = None,
    **options: Unpack[MoreOptions],
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
    scale: Positive | Literal["mean"] | None = None,
    **options: Unpack[MoreOptions],
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
    parts: Count | None = None,
    ratio: Share = 1 / 8,
    output_ratio: Share | None = None,
    assignment: Literal["balanced", "hash", "clusters"] = "balanced",
    tied: bool = False,
    seed: Seed = 1,
    **options: Unpack[Options],
) -> LanguageModelConfig:
    """Slim embedding (pool) and output (by position), dense gates.

    parts          K; by default the first of 10, 8, 5, 4 that divides the hidden size
    ratio          stored numbers over those of the dense matrix, M/(V*K)
    output_ratio   the same of the output, by default `ratio`; 1 is a dense output (Tables 2 and 3 of the slim
                   paper)
    assignment     of sub-vectors to words: random, each as often as any other; by a hash; or the clusters of
                   a trained model (`--init`)
    tied           one matrix by position is embedding and output
    seed           of the assignment
    """
    if parts is None:
        parts = next((k for k in (10, 8, 5, 4) if hidden_size % k == 0), 1)
    output_ratio = ratio if output_ratio is None else output_ratio

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
    vocabulary_size: int,
    hidden_size: int,
    layers: int,
    *,
    ratio: Share = 1 / 8,
    output_ratio: Share | None = None,
    tied: bool = False,
    seed: Seed = 1,
    **options: Unpack[Options],
) -> LanguageModelConfig:
    """Single numbers shared by a hash of word and position: the slim matrix with K = H; options as there."""
    config = slim(
        vocabulary_size,
        hidden_size,
        layers,
        parts=hidden_size,
        ratio=ratio,
        output_ratio=output_ratio,
        assignment="hash",
        tied=tied,
        seed=seed,
        **options,
    )
    return config.model_copy(update={"system": "hashnet"})


def sparse(
    vocabulary_size: int,
    hidden_size: int,
    layers: int,
    *,
    embedding_size: Width | None = None,
    segments: Count = 3,
    dense_hidden_size: Width | None = None,
    input_shares: Sequence[Share] | None = None,
    embedding_density: Share | None = None,
    tied: bool = True,
    **options: Unpack[Options],
) -> LanguageModelConfig:
    """Layers of parallel cells, each over a window of the input; embedding and output tied.

    embedding_size      E; by default as many numbers a word as there are cells
    segments            N, cells that work in parallel
    dense_hidden_size   gamma of each layer is chosen so that the layer has the parameters of a dense one of
                        this size (Section 3.2 of "Predefined Sparseness in Recurrent Sequence Models"), as
                        nearly as 1/N <= gamma <= 1 allows
    input_shares        gamma of each layer, where it is given
    embedding_density   the share of numbers that are there, fewer for rarer words (Section 4.1); else dense
    tied                the output is the embedding
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
    vocabulary_size: int,
    hidden_size: int,
    layers: int,
    *,
    rank: Width | None = None,
    **options: Unpack[MoreOptions],
) -> LanguageModelConfig:
    """An LSTM with projection: one factor of rank r serves recurrence, next layer and output (Eqs. 12-14).

    Embedding and output are (V, r), as LR LSTM 650-650 of Grachev, Ignatov and Savchenko has them.

    rank   r; by default 128, or half the hidden size where that is less
    """
    rank = rank or min(128, max(1, hidden_size // 2))
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
    vocabulary_size: int,
    hidden_size: int,
    layers: int,
    *,
    rank: Width | None = None,
    **options: Unpack[MoreOptions],
) -> LanguageModelConfig:
    """Embedding and output of rank r: the baseline PM of the slim paper.

    rank   r; by default 64, or half the hidden size where that is less
    """
    rank = rank or min(64, max(1, hidden_size // 2))
    return LanguageModelConfig(
        **_common("projected", vocabulary_size, hidden_size, layers),
        embedding=LowRankSpec(rank=rank),
        gates=DenseSpec(),
        output=LowRankSpec(rank=rank),
        **options,
    )


def tensor_train(
    vocabulary_size: int,
    hidden_size: int,
    layers: int,
    *,
    rank: Width = 8,
    cores: Cores = 4,
    **options: Unpack[MoreOptions],
) -> LanguageModelConfig:
    """A tensor train for each gate matrix (Eq. 15 of Grachev, Ignatov and Savchenko); the rest dense.

    rank    between any two cores
    cores   how many numbers a matrix's rows, and its columns, are cut into
    """
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
    system: str, vocabulary_size: int, hidden_size: int, layers: int = 1, /, **options: Any
) -> LanguageModelConfig:
    """The configuration of a named system; raises ConfigError for an unknown name or bad options."""
    check_options(system, options)
    try:
        return SYSTEMS[system](vocabulary_size, hidden_size, layers, **options)
    except ValidationError as error:
        raise ConfigError(f"system {system!r}: {first_fault(error)}") from None


def check_options(system: str, options: dict[str, Any], where: str | None = None) -> None:
    """Raises ConfigError for an unknown system, an option that it does not have, or a wrong value of one."""
    if system not in SYSTEMS:
        raise ConfigError("unknown system", expected=f"one of {', '.join(SYSTEMS)}", got=repr(system))
    model = _options_of(system)
    for name in options:
        if name not in model.model_fields:
            known = ", ".join(sorted(model.model_fields))
            what = f"no such option of the system {system}"
            raise ConfigError(what, where=where, expected=f"one of {known}", got=shorten(name))
    try:
        model.model_validate(options)
    except ValidationError as error:
        fault = first_fault(error)
        what = f"option {fault.place[0]} of the system {system}: {fault.message}"
        raise ConfigError(what, where=where, got=fault.value) from None


@cache
def _options_of(system: str) -> type[BaseModel]:
    """Keyword arguments of the function of a system, by their types."""
    maker = SYSTEMS[system]
    hints = get_type_hints(maker, include_extras=True)
    parameters = signature(maker).parameters.values()
    own = {one.name: hints[one.name] for one in parameters if one.kind == Parameter.KEYWORD_ONLY}
    (more,) = get_args(hints["options"])
    kinds = own | get_type_hints(more, include_extras=True)
    fields: dict[str, Any] = {name: (kind, None) for name, kind in kinds.items()}
    return create_model(system, __config__=ConfigDict(strict=True, extra="forbid"), **fields)
