"""Which matrix sits in which slot of a language model: everything its shape depends on, frozen."""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from models.matrices.base import Matrix
from models.matrices.binary import BinaryMatrix
from models.matrices.dense import DenseMatrix
from models.matrices.slim import SlimMatrix, check_slim
from nbest.errors import ConfigError

Count = Annotated[int, Field(ge=1, le=1 << 31)]


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class DenseSpec(_Frozen):
    """32-bit floats; initialised uniformly in [-scale, scale]."""

    kind: Literal["dense"] = "dense"
    scale: float = Field(default=0.05, gt=0, allow_inf_nan=False)


class BinarySpec(_Frozen):
    """One bit a number, worth +scale or -scale; float weights clamped to [-clamp, clamp] in training."""

    kind: Literal["binary"] = "binary"
    scale: float = Field(gt=0, allow_inf_nan=False)
    clamp: float = Field(default=1.0, gt=0, allow_inf_nan=False)


class SlimSpec(_Frozen):
    """Rows made of `parts` (K) sub-vectors out of `sub_vectors` (M)."""

    kind: Literal["slim"] = "slim"
    parts: Count
    sub_vectors: Count
    by_position: bool
    seed: int = 1
    scale: float = Field(default=0.05, gt=0, allow_inf_nan=False)


MatrixSpec = Annotated[DenseSpec | BinarySpec | SlimSpec, Field(discriminator="kind")]


class LanguageModelConfig(_Frozen):
    """Slots of an LSTM language model and what is in them.

    gates_gain, linear_gain   exp(gamma), one per output row (Algorithm 1 of the binarized LSTM paper)
    embedding_linear, output_linear   extra linear layers (Eq. 9 of the same), or none
    """

    system: str
    vocabulary_size: Count
    embedding_size: Count
    hidden_size: Count
    layers: Count = 1
    embedding: MatrixSpec
    embedding_linear: MatrixSpec | None = None
    gates: MatrixSpec
    gates_gain: bool = False
    output_linear: MatrixSpec | None = None
    linear_gain: bool = False
    output: MatrixSpec
    output_bias: bool = False

    @model_validator(mode="after")
    def _fits(self) -> "LanguageModelConfig":
        for slot in ("embedding_linear", "gates", "output_linear"):
            if getattr(self, slot) is not None and getattr(self, slot).kind == "slim":
                raise ValueError(f"{slot}: a slim matrix holds word vectors, only embedding and output may")
        try:
            for slot, width in (("embedding", self.embedding_size), ("output", self.hidden_size)):
                spec = getattr(self, slot)
                if spec.kind == "slim":
                    check_slim(width, spec.parts, spec.sub_vectors, spec.by_position)
        except ConfigError as error:
            raise ValueError(f"{slot}: {error}") from None
        if self.output.kind == "slim" and not self.output.by_position:
            raise ValueError("output: a slim output is assigned by position (partial dot products need it)")
        return self


def build_matrix(spec: DenseSpec | BinarySpec | SlimSpec, out_features: int, in_features: int) -> Matrix:
    """A freshly initialised matrix in training form."""
    match spec:
        case DenseSpec():
            return DenseMatrix(out_features, in_features, scale=spec.scale)
        case BinarySpec():
            return BinaryMatrix(out_features, in_features, scale=spec.scale, clamp=spec.clamp)
        case SlimSpec():
            return SlimMatrix(
                out_features,
                in_features,
                parts=spec.parts,
                sub_vectors=spec.sub_vectors,
                by_position=spec.by_position,
                seed=spec.seed,
                scale=spec.scale,
            )
