"""A model that starts from a trained one: the same slots in training form, the others fresh and named.

A binary matrix may start from a dense one (Table 5 of Liu, Cao and Yu, "Binarized LSTM Language Model"), and
any kind that can be made from a trained matrix from that.
"""

from copy import deepcopy

from models.checkpoint import Checkpoint
from models.config import LanguageModelConfig, Slot
from models.language_model import LanguageModel
from models.matrices.base import Matrix, MatrixSpec
from models.matrices.binary import BinarySpec
from models.matrices.dense import DenseMatrix
from models.matrices.in_bytes import InBytesSpec
from nbest.errors import ConfigError


def start_from(source: Checkpoint, config: LanguageModelConfig) -> tuple[LanguageModel, list[str]]:
    """(a model of `config` in training form, one line on each matrix or vector that is not the source's).

    Raises ConfigError where a slot holds the same kind of matrix in another shape or stored in another way,
    or one that cannot be trained.
    """
    slots = {slot.name: slot for slot in source.model.config.slots()}
    matrices = dict(source.model.slots())
    notes: list[str] = []

    def make(slot: Slot) -> Matrix:
        theirs = slots.get(slot.name)
        if theirs is None:
            notes.append(f"{slot.name}: fresh, {source.path} has none")
            return slot.spec.build(slot.out_features, slot.in_features)
        if isinstance(theirs.spec, InBytesSpec):
            raise ConfigError(
                f"{slot.name}: a matrix in bytes cannot be trained: take the model that it was made from",
                where=str(source.path),
            )
        if theirs.spec.kind == slot.spec.kind:
            _check_same(source, theirs, slot)
            return deepcopy(matrices[slot.name].trainable())  # training must not change the source
        made = _converted(matrices[slot.name], theirs, slot)
        how = "fresh" if made is None else "made from what is"
        notes.append(f"{slot.name}: {how}, {theirs.spec.kind} there and {slot.spec.kind} here")
        return made or slot.spec.build(slot.out_features, slot.in_features)

    model = LanguageModel(config, make)
    theirs = dict(source.model.vectors())
    for name, vector in model.vectors():
        if name in theirs and theirs[name].shape == vector.shape:
            vector.data.copy_(theirs[name].data)
        else:
            notes.append(f"{name}: fresh, {source.path} has none of this length")
    return model, notes


def _check_same(source: Checkpoint, theirs: Slot, mine: Slot) -> None:
    if (theirs.out_features, theirs.in_features) != (mine.out_features, mine.in_features):
        raise ConfigError(
            f"{mine.name}: a matrix of another shape cannot be started from",
            where=str(source.path),
            expected=f"{mine.out_features} x {mine.in_features}, as the recipe has it",
            got=f"{theirs.out_features} x {theirs.in_features}",
        )
    if _storage(theirs.spec) != _storage(mine.spec):
        raise ConfigError(
            f"{mine.name}: a matrix stored in another way cannot be started from",
            where=str(source.path),
            expected=str(_storage(mine.spec)),
            got=str(_storage(theirs.spec)),
        )


def _storage(spec: MatrixSpec) -> dict[str, object]:
    """What a matrix that is there depends on; `scale` is, but for binary ones, that of fresh numbers."""
    return spec.model_dump(exclude=set() if isinstance(spec, BinarySpec) else {"scale"})


def _converted(matrix: Matrix, theirs: Slot, mine: Slot) -> Matrix | None:
    """The matrix in another kind, or None where it cannot be had."""
    if (theirs.out_features, theirs.in_features) != (mine.out_features, mine.in_features):
        return None
    if isinstance(mine.spec, BinarySpec) and isinstance(matrix, DenseMatrix):
        binary = mine.spec.build(mine.out_features, mine.in_features)
        binary.weight.data.copy_(matrix.weight.data)
        binary.after_step()
        return binary
    if theirs.spec.kind in mine.spec.made_from:
        return mine.spec.from_trained(matrix.materialize()).trainable()
    return None
