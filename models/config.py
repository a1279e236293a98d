"""Which matrix sits in which slot of a language model: everything its shape depends on, frozen."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from models.layers.windows import Window, windows
from models.matrices.base import Count, MatrixSpec, Place, Share
from models.matrices.binary import BinarySpec
from models.matrices.dense import DenseSpec
from models.matrices.frequency import FrequencySpec
from models.matrices.in_bytes import InBytesSpec
from models.matrices.low_rank import LowRankSpec
from models.matrices.pruned import PrunedSpec
from models.matrices.quantized import QuantizedSpec
from models.matrices.slim import SlimSpec
from models.matrices.tensor_train import TensorTrainSpec
from nbest.errors import ConfigError

AnySpec = Annotated[
    DenseSpec
    | BinarySpec
    | SlimSpec
    | FrequencySpec
    | LowRankSpec
    | TensorTrainSpec
    | QuantizedSpec
    | InBytesSpec
    | PrunedSpec,
    Field(discriminator="kind"),
]
# Far beyond any LSTM that was ever trained; a file that says more is not believed, nor its layers listed.
MOST_WIDTH, MOST_LAYERS, MOST_CELLS = 1 << 16, 256, 4096
Width = Annotated[int, Field(ge=1, le=MOST_WIDTH)]


def _from_list(value: object) -> object:
    """Files know lists only."""
    return tuple(value) if isinstance(value, list) else value


@dataclass(frozen=True)
class Slot:
    """One place for a matrix: its name, what it is for, what it holds, its shape."""

    name: str
    place: Place
    spec: MatrixSpec
    out_features: int
    in_features: int


class LanguageModelConfig(BaseModel):
    """Slots of an LSTM language model and what is in them; dims: V, E embedding, H cells, R projection.

    last_hidden_size   cells of the last layer, where they are not `hidden_size`
    projection_size    R: an LSTM layer puts out R numbers, a matrix (R, H) times its cells' outputs; that
                       same R-vector recurs and feeds the next layer and the output (Eqs. 12-14 of Grachev,
                       Ignatov and Savchenko)
    segments           parallel cells a layer, each with its own share of the hidden numbers (predefined
                       sparseness)
    input_shares       gamma of each layer: the share of its input that each of the segments sees
    gate_biases        bias vectors a gate row; two, as torch's and cuDNN's LSTM has them, differ from one
                       only in training
    gates_gain, linear_gain   exp(gamma), one per output row (Algorithm 1 of the binarized LSTM paper)
    embedding_linear, output_linear   extra linear layers (Eq. 9 of the same), or none
    tied               the output is the embedding: one matrix, stored and counted once
    overrides          what single slots hold, by name, where it is not what their kind of slot holds
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    system: str
    vocabulary_size: Count
    embedding_size: Width
    hidden_size: Width
    layers: Annotated[int, Field(ge=1, le=MOST_LAYERS)] = 1
    last_hidden_size: Width | None = None
    projection_size: Width | None = None
    segments: Count = 1
    input_shares: Annotated[tuple[Share, ...], BeforeValidator(_from_list)] = ()
    gate_biases: Literal[1, 2] = 1
    embedding: AnySpec
    embedding_linear: AnySpec | None = None
    gates: AnySpec
    gates_gain: bool = False
    projection: AnySpec | None = None
    output_linear: AnySpec | None = None
    linear_gain: bool = False
    output: AnySpec
    output_bias: bool = False
    tied: bool = False
    overrides: dict[str, AnySpec] = {}

    def cells(self, layer: int) -> int:
        """H of a layer."""
        last = layer == self.layers - 1
        return self.last_hidden_size if last and self.last_hidden_size is not None else self.hidden_size

    def outputs(self, layer: int) -> int:
        """How many numbers a layer puts out: R, or H."""
        return self.projection_size or self.cells(layer)

    def inputs(self, layer: int) -> int:
        """How many numbers a layer reads."""
        return self.embedding_size if layer == 0 else self.outputs(layer - 1)

    def windows(self, layer: int) -> tuple[Window, ...]:
        """The segments of a layer: which hidden numbers each makes, which inputs each sees."""
        share = self.input_shares[layer] if self.input_shares else 1.0
        return windows(self.cells(layer), self.inputs(layer), self.segments, share)

    def slots(self) -> Iterator[Slot]:
        """Every matrix of the model, in the order of the file; a tied output is no slot of its own."""
        e, last = self.embedding_size, self.outputs(self.layers - 1)
        yield self._slot("embedding", "embedding", self.embedding, self.vocabulary_size, e)
        if self.embedding_linear is not None:
            yield self._slot("embedding_linear", "linear", self.embedding_linear, e, e)
        for layer in range(self.layers):
            for name, window in zip(self.cell_names(layer), self.windows(layer), strict=True):
                recurrent = self.projection_size or window.cells
                yield self._slot(f"{name}.recurrent", "gates", self.gates, 4 * window.cells, recurrent)
                yield self._slot(f"{name}.input", "gates", self.gates, 4 * window.cells, window.width)
                if self.projection is not None and self.projection_size is not None:
                    yield self._slot(
                        f"{name}.projection", "projection", self.projection, recurrent, window.cells
                    )
        if self.output_linear is not None:
            yield self._slot("output_linear", "linear", self.output_linear, last, last)
        if not self.tied:
            yield self._slot("output", "output", self.output, self.vocabulary_size, last)

    def cell_names(self, layer: int) -> list[str]:
        """What the parallel cells of a layer are called in slots and vectors."""
        name = f"layer{layer}"
        return [name] if self.segments == 1 else [f"{name}.cell{n}" for n in range(self.segments)]

    def _slot(self, name: str, place: Place, spec: MatrixSpec, out_features: int, in_features: int) -> Slot:
        return Slot(name, place, self.overrides.get(name, spec), out_features, in_features)

    @model_validator(mode="after")
    def _fits(self) -> "LanguageModelConfig":
        if self.layers * self.segments > MOST_CELLS:
            raise ValueError(f"segments: {self.layers * self.segments} parallel cells, above {MOST_CELLS}")
        if (self.projection is None) != (self.projection_size is None):
            raise ValueError("projection and projection_size go together")
        if self.projection_size is not None and self.segments > 1:
            raise ValueError("segments: parallel cells have no projection")
        if self.input_shares and len(self.input_shares) != self.layers:
            raise ValueError(f"input_shares: {len(self.input_shares)} of them for {self.layers} layers")
        try:
            slots = list(self.slots())
        except ConfigError as error:
            raise ValueError(str(error)) from None
        unknown = set(self.overrides) - {slot.name for slot in slots}
        if unknown:
            raise ValueError(f"overrides: the model has no slot {min(unknown)!r}")
        for slot in slots:
            try:
                slot.spec.check(slot.place, slot.out_features, slot.in_features)
            except ConfigError as error:
                raise ValueError(f"{slot.name}: {error}") from None
        self._check_tied(slots[0])
        return self

    def _check_tied(self, embedding: Slot) -> None:
        if not self.tied:
            return
        wanted = self.outputs(self.layers - 1)
        if embedding.in_features != wanted:
            raise ValueError(
                f"tied: the output reads {wanted} numbers, the embedding has {embedding.in_features}"
            )
        try:
            embedding.spec.check("output", embedding.out_features, embedding.in_features)
        except ConfigError as error:
            raise ValueError(f"tied: {error}") from None
