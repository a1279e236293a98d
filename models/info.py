"""What a model on disk weighs, part by part, and what its card says."""

from dataclasses import dataclass
from pathlib import Path

from models.checkpoint import Checkpoint, ModelCard
from models.config import LanguageModelConfig
from models.language_model import LanguageModel
from models.model_folder import CARD, CONFIG, PIECES, VOCABULARY, WEIGHTS


@dataclass(frozen=True)
class Part:
    """One slot: a matrix, or the vectors (gamma, bias) of an affine map.

    paper_bytes  as the papers count: bits at an eighth of a byte, no scales, headers or mapping tables
    extra_bytes  what the file holds beside them: scales, codes
    """

    name: str
    kind: str
    shape: tuple[int, ...]
    parameters: int
    paper_bytes: float
    extra_bytes: float
    resident_bytes: int


@dataclass(frozen=True)
class ModelInfo:
    """A model's parts, and its bytes in all.

    weights_bytes     the weight file as it lies on disk, header included
    vocabulary_bytes  the vocabulary file, and that of its pieces
    resident_bytes    weights in memory while scoring, vocabulary not counted
    """

    path: Path
    digest: str
    config: LanguageModelConfig
    card: ModelCard
    parts: tuple[Part, ...]
    weights_bytes: int
    vocabulary_bytes: int
    other_bytes: int

    @property
    def parameters(self) -> int:
        """Numbers that training sets; bits count as one each."""
        return sum(part.parameters for part in self.parts)

    @property
    def paper_bytes(self) -> float:
        """Bytes as the papers count them."""
        return sum(part.paper_bytes for part in self.parts)

    @property
    def resident_bytes(self) -> int:
        """Bytes of weights in memory while scoring."""
        return sum(part.resident_bytes for part in self.parts)


def parts_of_model(model: LanguageModel) -> tuple[Part, ...]:
    """Every matrix and every vector of a model, in the model's order."""
    parts = []
    for slot, (name, matrix) in zip(model.config.slots(), model.slots(), strict=True):
        size = slot.spec.size_of(matrix)
        shape = (matrix.out_features, matrix.in_features)
        numbers = (size.parameters, size.paper_bytes, size.extra_bytes, size.resident)
        parts.append(Part(name, slot.spec.name, shape, *numbers))
    for name, vector in model.vectors():
        count = vector.numel()
        parts.append(Part(name, "float32", tuple(vector.shape), count, 4 * count, 0, 4 * count))
    return tuple(parts)


def describe(checkpoint: Checkpoint) -> ModelInfo:
    """All that `nbest info` shows."""

    def size(name: str) -> int:
        return (checkpoint.path / name).stat().st_size

    return ModelInfo(
        checkpoint.path,
        checkpoint.digest,
        checkpoint.model.config,
        checkpoint.card,
        parts_of_model(checkpoint.model),
        size(WEIGHTS),
        size(VOCABULARY) + (size(PIECES) if checkpoint.vocabulary.segmenter is not None else 0),
        size(CONFIG) + size(CARD),
    )
