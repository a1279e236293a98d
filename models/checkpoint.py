"""A model on disk: ``config.json``, ``model.safetensors`` (bits packed), ``vocabulary.json``, ``card.json``.

A model of pieces of words has ``pieces.model`` too, SentencePiece's file, whose digest is in the vocabulary.

Written whole or not at all; read without executing anything, every tensor's shape and type checked, and
nothing made that is larger than the files allow.
"""

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from pydantic import BaseModel, ConfigDict, ValidationError
from safetensors.torch import save as save_tensors
from torch import Tensor

from models.architectures import SYSTEMS
from models.config import LanguageModelConfig, Slot
from models.invalid import first_fault
from models.language_model import LanguageModel
from models.matrices.base import Matrix, take
from models.matrices.dense import DenseMatrix
from models.model_folder import CARD, CONFIG, PIECES, VOCABULARY, WEIGHTS, read_file
from models.tensor_file import TensorFile, open_tensors
from models.vocabulary import Vocabulary
from nbest.errors import ModelFileError, NotFoundError
from nbest.files import write_whole, write_whole_directory
from nbest.signature import sha256_hex
from nbest.strict_json import StrictJson

FORMAT = "nbest-model/1"


class ModelCard(BaseModel):
    """What a user should know about a model; figures carry how they were measured."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)

    name: str
    description: str = ""
    licence: str | None = None
    attribution: list[str] = []
    corpora: list[dict[str, Any]] = []
    perplexity: dict[str, float] = {}
    oov_rate: dict[str, float] = {}
    measured: dict[str, float] = {}
    training: dict[str, Any] = {}
    limits: str = ""


@dataclass(frozen=True)
class Checkpoint:
    """A model in scoring form with all that belongs to it."""

    path: Path
    model: LanguageModel
    vocabulary: Vocabulary
    card: ModelCard
    digest: str  # sha256:HEX over configuration, weights and vocabulary


def save(
    path: str | os.PathLike[str],
    model: LanguageModel,
    vocabulary: Vocabulary,
    card: ModelCard,
    *,
    beside: Mapping[str, bytes] | None = None,
) -> None:
    """Write a model directory, whole or not at all; `beside` are further files by name, such as a log."""
    packed = model.packed()
    tensors: dict[str, Tensor] = {}
    for slot, (_, matrix) in zip(model.config.slots(), packed.slots(), strict=True):
        tensors |= {f"{slot.name}.{name}": tensor for name, tensor in slot.spec.to_file(matrix).items()}
    tensors |= {name: vector.detach() for name, vector in packed.vectors()}
    document = {"format": FORMAT, **model.config.model_dump()}
    with write_whole_directory(path) as fresh:
        (fresh / WEIGHTS).write_bytes(save_tensors({n: t.cpu().contiguous() for n, t in tensors.items()}))
        (fresh / CONFIG).write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
        (fresh / VOCABULARY).write_text(vocabulary.to_json() + "\n", encoding="utf-8")
        if vocabulary.segmenter is not None:
            (fresh / PIECES).write_bytes(vocabulary.segmenter.model)
        (fresh / CARD).write_text(_card_json(card), encoding="utf-8")
        for name, content in (beside or {}).items():
            (fresh / name).write_bytes(content)


def replace_card(path: str | os.PathLike[str], card: ModelCard) -> None:
    """Write a model's card anew; the model and its digest stay as they are."""
    with write_whole(Path(path) / CARD) as stream:
        stream.write(_card_json(card).encode())


def _card_json(card: ModelCard) -> str:
    return json.dumps(card.model_dump(), indent=1, ensure_ascii=False) + "\n"


def load(path: str | os.PathLike[str], device: str = "cpu") -> Checkpoint:
    """The model of a directory; raises NotFoundError or ModelFileError naming the file."""
    folder = Path(path)
    if not folder.is_dir():
        raise NotFoundError("no such model directory", where=str(folder))
    contents = {name: read_file(folder, name) for name in (CONFIG, VOCABULARY, CARD)}
    config = _config(contents[CONFIG], str(folder / CONFIG))
    card = _card(contents[CARD], str(folder / CARD))
    vocabulary = _vocabulary(contents[VOCABULARY], folder)
    if len(vocabulary) != config.vocabulary_size:
        raise ModelFileError(
            "vocabulary and configuration disagree",
            where=str(folder),
            expected=f"{config.vocabulary_size} words",
            got=str(len(vocabulary)),
        )
    file = open_tensors(folder)
    _check_vectors(config, file)
    weights, tensors = file.read()
    model = _build(config, tensors, str(folder / WEIGHTS))
    digest = sha256_hex(contents[CONFIG], weights, contents[VOCABULARY])
    return Checkpoint(folder, model.to(device), vocabulary, card, f"sha256:{digest}")


def _config(content: bytes, where: str) -> LanguageModelConfig:
    read = StrictJson(where, ModelFileError)
    document = read.mapping(read.parse(content), "")
    kind = document.pop("format", None)
    if kind != FORMAT:
        raise read.wrong("/format", "not a model configuration", FORMAT, kind)
    try:
        config = LanguageModelConfig.model_validate(document, strict=True)
    except ValidationError as error:
        raise _invalid(error, where) from None
    if config.system not in SYSTEMS:
        raise read.wrong("/system", "unknown system", f"one of {', '.join(SYSTEMS)}", config.system)
    return config


def _card(content: bytes, where: str) -> ModelCard:
    read = StrictJson(where, ModelFileError)
    try:
        return ModelCard.model_validate(read.mapping(read.parse(content), ""), strict=True)
    except ValidationError as error:
        raise _invalid(error, where) from None


def _vocabulary(content: bytes, folder: Path) -> Vocabulary:
    try:
        return Vocabulary.from_json(content, str(folder / VOCABULARY), lambda: read_file(folder, PIECES))
    except ModelFileError as error:
        if error.where is not None:
            raise
        # What is wrong with the pieces is said by who has them only as bytes.
        raise ModelFileError(
            error.message, where=str(folder / PIECES), expected=error.expected, got=error.got
        ) from None


def _invalid(error: ValidationError, where: str) -> ModelFileError:
    """The first thing that is wrong, with its JSON pointer."""
    fault = first_fault(error)
    place = "".join(f"/{part}" for part in fault.place)
    return ModelFileError(fault.message, where=f"{where}:{place or '/'}", got=fault.value)


def _check_vectors(config: LanguageModelConfig, file: TensorFile) -> None:
    """Raises ModelFileError unless the file has every gamma and bias as large as the configuration says.

    So a layer has as many cells as it says, whatever little its matrices are made of: what is made of them
    is bounded by the file.
    """
    with torch.device("meta"):  # shapes without numbers
        shapes = LanguageModel(config, lambda slot: DenseMatrix(slot.out_features, slot.in_features))
    for name, vector in shapes.vectors():
        file.check(name, tuple(vector.shape), torch.float32)


def _build(config: LanguageModelConfig, tensors: Mapping[str, Tensor], where: str) -> LanguageModel:
    used: set[str] = set()

    def of_slot(slot: str) -> dict[str, Tensor]:
        prefix = f"{slot}."
        found = {name: tensor for name, tensor in tensors.items() if name.startswith(prefix)}
        used.update(found)
        return {name.removeprefix(prefix): tensor for name, tensor in found.items()}

    def make(slot: Slot) -> Matrix:
        try:
            return slot.spec.read(of_slot(slot.name), slot.out_features, slot.in_features)
        except ModelFileError as error:
            raise ModelFileError(f"{slot.name}: {error}", where=where) from None

    model = LanguageModel(config, make).eval()
    vectors: dict[str, Tensor] = {}
    for name, vector in model.vectors():
        try:
            vectors[name] = take(tensors, name, tuple(vector.shape), torch.float32)
        except ModelFileError as error:
            raise ModelFileError(str(error), where=where) from None
    unknown = sorted(set(tensors) - used - set(vectors))
    if unknown:
        raise ModelFileError("tensors that the configuration has no place for", where=where, got=str(unknown))
    model.set_vectors(vectors)
    return model
