"""A trained model made smaller: by a plan of what each matrix becomes, or one SVD for all that a layer feeds.

Source: Sections 3.1 and 3.2 of Grachev, Ignatov and Savchenko, "Neural Networks Compression for Language
Modeling".
"""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from pydantic import ValidationError
from torch import Tensor

from models.checkpoint import Checkpoint, ModelCard
from models.config import LanguageModelConfig, Slot
from models.invalid import first_fault
from models.language_model import LanguageModel
from models.matrices.base import Matrix, MatrixSpec
from models.matrices.dense import DenseSpec
from models.matrices.in_bytes import InBytesSpec
from models.matrices.low_rank import balanced, principal_directions
from models.matrices.pruned import PackedPrunedMatrix, PrunedSpec
from models.matrices.quantized import QuantizedSpec
from models.matrices.slim import SlimSpec
from nbest.errors import ConfigError

# Of captions-lstm's output at 0.5 MB, 8 numbers and 256 choices miss 5.5% of the squares; 2 and 16 miss 3.0%,
# but take twice as long to multiply
SLIM_WIDTHS = (8, 10, 5, 4, 2)
Plan = Mapping[str, MatrixSpec]  # slot, or kind of slot (embedding, gates, ...) -> what it becomes


def compress(model: LanguageModel, plan: Plan, word_weights: Tensor | None = None) -> LanguageModel:
    """The model, in scoring form, with each matrix that the plan names made into what it says.

    word_weights  (V,) how much what a word's numbers lose counts, in the embedding and the output

    Matrices that are left are shared with the model. Raises ConfigError naming the slot where one cannot be
    made of what is there, or is named twice.
    """
    wanted = _by_slot(model.config, plan)
    dumped = {name: spec.model_dump() for name, spec in wanted.items()}
    config = _changed(model.config, overrides=model.config.model_dump()["overrides"] | dumped)
    own = dict(model.slots())

    def make(slot: Slot) -> Matrix:
        matrix = own[slot.name]
        if slot.name not in wanted:
            return matrix.packed()
        weights = word_weights if slot.place in ("embedding", "output") else None
        return slot.spec.made_of(matrix, weights)

    return _with_vectors(LanguageModel(config, make), model)


def plan_for(config: LanguageModelConfig, spec: MatrixSpec, only: Sequence[str] | None = None) -> Plan:
    """`spec` for the slots or kinds of slots in `only`; without, for every matrix it can be made from."""
    if only is not None:
        return _by_slot(config, dict.fromkeys(_named(config, only), spec))
    fitting = [
        slot for slot in config.slots() if slot.spec.kind in spec.made_from and slot.place not in spec.refused
    ]
    if not fitting:
        raise _none_fits(config, f"no matrix of the model can become {spec.kind}", spec.made_from)
    return {slot.name: spec for slot in fitting}


def int8_plan(config: LanguageModelConfig, only: Sequence[str] | None = None) -> Plan:
    """A byte a number: of dense matrices, and of what all others but binary ones are made of."""
    able = (*QuantizedSpec.made_from, *InBytesSpec.made_from)
    named = None if only is None else _named(config, only)
    slots = [
        slot for slot in config.slots() if (slot.spec.kind in able if named is None else slot.name in named)
    ]
    if not slots:
        raise _none_fits(config, "no matrix of the model has numbers of 32 bits", able)
    return {slot.name: _in_bytes(slot.spec) for slot in slots}


def _none_fits(config: LanguageModelConfig, what: str, kinds: Sequence[str]) -> ConfigError:
    there = ", ".join(sorted({slot.spec.kind for slot in config.slots()}))
    return ConfigError(what, expected=" or ".join(kinds) or "none", got=there)


def _in_bytes(spec: MatrixSpec) -> MatrixSpec:
    return InBytesSpec.model_validate({"of": spec}) if spec.kind in InBytesSpec.made_from else QuantizedSpec()


def pruning_plan(
    model: LanguageModel, share: float, only: Sequence[str] | None = None, *, one_threshold: bool = False
) -> Plan:
    """The share of numbers of least magnitude becomes zero: in each matrix, or in all of them together."""
    if not 0 < share < 1:
        raise ConfigError("share to prune out of range", expected="above 0, below 1", got=str(share))
    plan = plan_for(model.config, PrunedSpec(share=share), only)
    if not one_threshold:
        return plan
    own = dict(model.slots())
    magnitudes = [own[name].materialize().abs().flatten() for name in plan]
    counts = torch.tensor([len(one) for one in magnitudes])
    total = int(counts.sum())
    kept = torch.cat(magnitudes).argsort(descending=True, stable=True)[: total - round(share * total)]
    matrix_of = torch.bucketize(kept, counts.cumsum(0), right=True)
    kept_of_each = torch.bincount(matrix_of, minlength=len(counts))
    shares = ((counts - kept_of_each).double() / counts).tolist()
    return {name: PrunedSpec(share=one) for name, one in zip(plan, shares, strict=True)}


def emptied(model: LanguageModel) -> list[str]:
    """A line on each pruned matrix that has empty rows: words, or cells, that it cannot tell apart."""
    notes = []
    for name, matrix in model.slots():
        packed = matrix.packed()
        if isinstance(packed, PackedPrunedMatrix) and (empty := int((packed.offsets.diff() == 0).sum())):
            notes.append(
                f"{name}: {empty:,} of its {matrix.out_features:,} rows are empty, "
                f"{packed.values.numel():,} of {matrix.out_features * matrix.in_features:,} numbers are left"
            )
    return notes


def slim_plan(
    config: LanguageModelConfig, choices: int, parts: int | None = None, only: Sequence[str] | None = None
) -> Plan:
    """Word vectors as strings of sub-vectors, at each position one of `choices` found by clustering.

    parts   how many a vector; by default sub-vectors have 8 numbers, or the first of 10, 5, 4, 2 that divides

    Source: the Conclusion of Li et al., "Slim Embedding Layers for Recurrent Neural Language Models".
    """
    if not 1 <= choices <= config.vocabulary_size:
        raise ConfigError(
            "slim: number of sub-vectors to choose from out of range",
            expected=f"from 1 to {config.vocabulary_size}, the words there are",
            got=str(choices),
        )
    chosen = plan_for(config, _clusters(choices, 1), only)
    widths = {slot.name: slot.in_features for slot in config.slots() if slot.name in chosen}
    for name, width in widths.items():
        if parts is not None and width % parts:
            what = f"{name}: slim: the number of parts does not divide the vector size"
            raise ConfigError(what, expected=f"a divisor of {width}", got=str(parts))
    return {name: _clusters(choices, parts or width // _width(width)) for name, width in widths.items()}


def _clusters(choices: int, parts: int) -> SlimSpec:
    return SlimSpec(parts=parts, sub_vectors=parts * choices, by_position=True, assignment="clusters")


def _width(features: int) -> int:
    return next((width for width in SLIM_WIDTHS if features % width == 0), 1)


def joint_low_rank(model: LanguageModel, rank: int, *, embedding: bool = True) -> LanguageModel:
    """Every layer with a projection to `rank` numbers, from the truncated SVD of all that reads its output.

    Of layer l that is [U_l; W_(l+1)]: its recurrent matrix and the next layer's input, or the output. The
    right factor is the projection, left ones the new matrices (Eqs. 12-14): nearest by least squares for each
    stack. With `embedding`, the embedding E becomes (V, rank) too, where that is smaller: E W_1^T, which is
    all that the first layer sees, by its own truncated SVD; or by the output's, where both are one matrix
    (which is then always so). Raises ConfigError for a model that is not made of dense matrices and plain
    layers.
    """
    config = model.config
    _check_joint(config, rank)
    old = {name: matrix.materialize().double() for name, matrix in model.slots()}
    output = "embedding" if config.tied else "output"
    new = dict(old)
    directions = torch.empty(0)
    for layer in range(config.layers):
        recurrent = f"layer{layer}.recurrent"
        following = f"layer{layer + 1}.input" if layer + 1 < config.layers else output
        directions = principal_directions(torch.cat([old[recurrent], old[following]]), rank)
        new[f"layer{layer}.projection"] = directions
        new[recurrent] = old[recurrent] @ directions.t()
        new[following] = old[following] @ directions.t()
    size = config.embedding_size
    if config.tied:
        size, new["layer0.input"] = rank, old["layer0.input"] @ directions.t()
    elif embedding and rank < size:
        size = rank
        new["embedding"], new["layer0.input"] = _short_embedding(old["embedding"], old["layer0.input"], rank)
    made = _changed(
        config,
        system="low-rank",
        embedding_size=size,
        projection=DenseSpec().model_dump(),
        projection_size=rank,
    )
    dense = {name: {"weight": weight.float()} for name, weight in new.items()}

    def make(slot: Slot) -> Matrix:
        return slot.spec.read(dense[slot.name], slot.out_features, slot.in_features)

    return _with_vectors(LanguageModel(made, make), model)


def derived_card(source: Checkpoint, name: str, done: Mapping[str, Any]) -> ModelCard:
    """The source's card under a new name, and what was done to which model; its perplexities go there too.

    They are the source's, not those of the model made from it.
    """
    entry = {"source": source.card.name, "source_digest": source.digest, **done}
    if source.card.perplexity:
        entry["source_perplexity"] = source.card.perplexity
    before = source.card.training.get("compression", [])
    return source.card.model_copy(
        update={
            "name": name,
            "perplexity": {},
            "measured": {},
            "training": source.card.training | {"compression": [*before, entry]},
        }
    )


def _by_slot(config: LanguageModelConfig, plan: Plan) -> dict[str, MatrixSpec]:
    """The plan with every kind of slot replaced by its slots."""
    slots = {slot.name: slot for slot in config.slots()}
    found = {name: plan[key] for name, key in _named(config, list(plan)).items()}
    for name, spec in found.items():
        _check_made_from(slots[name], spec)
    return found


def _named(config: LanguageModelConfig, keys: Sequence[str]) -> dict[str, str]:
    """The slots that these names and kinds of slots mean, none twice, each with its key."""
    slots = {slot.name: slot for slot in config.slots()}
    found: dict[str, str] = {}
    for key in keys:
        names = [slot.name for slot in slots.values() if key in (slot.name, slot.place)]
        if not names:
            places = sorted({slot.place for slot in slots.values()} - set(slots))
            raise ConfigError("no such matrix", expected=f"one of {', '.join([*slots, *places])}", got=key)
        for name in names:
            if name in found:
                raise ConfigError("a matrix is named twice", got=f"{name}, by {key} too")
            found[name] = key
    return found


def _check_made_from(slot: Slot, spec: MatrixSpec) -> None:
    if slot.spec.kind not in spec.made_from:
        raise ConfigError(
            f"{slot.name}: cannot become {spec.kind}",
            expected=f"a matrix that is {' or '.join(spec.made_from)}" if spec.made_from else None,
            got=slot.spec.kind,
        )
    if isinstance(spec, InBytesSpec) and spec.of != slot.spec:
        raise ConfigError(
            f"{slot.name}: bytes of another matrix", expected=str(slot.spec.model_dump()), got=str(spec.of)
        )


def _check_joint(config: LanguageModelConfig, rank: int) -> None:
    for slot in config.slots():
        if slot.spec.kind != "dense":
            raise ConfigError(
                f"{slot.name}: a joint SVD needs dense matrices", expected="dense", got=slot.spec.kind
            )
    for there, what in (
        (config.projection_size is not None, "layers that have a projection already"),
        (config.segments > 1, "layers of parallel cells"),
        (config.embedding_linear is not None or config.output_linear is not None, "extra linear layers"),
    ):
        if there:
            raise ConfigError("a joint SVD is for plain LSTM layers", got=what)
    most = min(config.cells(layer) for layer in range(config.layers))
    if not 1 <= rank <= most:
        raise ConfigError("rank out of range", expected=f"from 1 to {most}", got=str(rank))


def _short_embedding(embedding: Tensor, inputs: Tensor, rank: int) -> tuple[Tensor, Tensor]:
    """A (V, r) and C (4H, r) for which A C^T is nearest to E W^T (V, 4H), whose SVD E^T E makes small."""
    values, vectors = torch.linalg.eigh(embedding.t() @ embedding)
    root = vectors * values.clamp_min(0).sqrt()  # (E, E): E^T E = root root^T
    _, _, right = torch.linalg.svd(root.t() @ inputs.t(), full_matrices=False)  # of (E, 4H)
    directions = right[:rank]
    left, short = balanced(embedding @ (inputs.t() @ directions.t()), directions)
    return left, short.t().contiguous()


def _changed(config: LanguageModelConfig, **changes: Any) -> LanguageModelConfig:
    try:
        return LanguageModelConfig.model_validate(config.model_dump() | changes)
    except ValidationError as error:
        raise ConfigError(str(first_fault(error))) from None


def _with_vectors(made: LanguageModel, model: LanguageModel) -> LanguageModel:
    made.set_vectors(dict(model.vectors()))
    return made.eval()
