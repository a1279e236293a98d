"""One logical (out, in) matrix: the unit every language model here is made of.

What differs between the systems is only how a matrix is stored, so each way of storing is one file: a spec
that says so in a configuration, and the matrix itself. A matrix has a form for training (differentiable)
and, from `packed`, a form for scoring whose resident bytes are close to those on disk.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

import torch
from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field
from torch import Tensor, nn

from models.matrices.products import linear
from nbest.errors import ConfigError, ModelFileError


def _as_float32(value: float) -> float:
    """A number that 32 bits hold, as it is."""
    if not 1e-38 < value < 3e38:
        raise ValueError("beyond the numbers of 32 bits")
    return value


Count = Annotated[int, Field(ge=1, le=1 << 31)]
Seed = Annotated[int, Field(ge=0, lt=1 << 63)]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False), AfterValidator(_as_float32)]
Share = Annotated[float, Field(gt=0, le=1, allow_inf_nan=False)]
Counts = Annotated[tuple[Count, ...], BeforeValidator(lambda v: tuple(v) if isinstance(v, list) else v)]
Place = Literal["embedding", "gates", "linear", "projection", "output"]  # what a slot of a model is for

_no_materialize: ContextVar[bool] = ContextVar("no_materialize", default=False)


@contextmanager
def forbid_materialize() -> Iterator[None]:
    """Within this block no matrix may be expanded to its dense form: RuntimeError instead."""
    token = _no_materialize.set(True)
    try:
        yield
    finally:
        _no_materialize.reset(token)


@dataclass(frozen=True)
class Size:
    """How large a stored matrix is.

    parameters   trained numbers (bits count as one each)
    paper_bytes  bytes as the papers count them: no scales, headers, or mapping tables
    extra_bytes  what the file holds beside them: scales, codes
    resident     bytes in memory while scoring
    """

    parameters: int
    paper_bytes: float
    extra_bytes: float
    resident: int


class MatrixSpec(BaseModel, ABC):
    """How one matrix is stored; in a configuration `kind` names the class.

    refused    places where such a matrix may not stand, and why
    made_from  kinds of trained matrices that `from_trained` can make such a matrix of
    """

    model_config = ConfigDict(frozen=True, extra="forbid")
    kind: str
    refused: ClassVar[Mapping[Place, str]] = {}
    made_from: ClassVar[tuple[str, ...]] = ()

    @abstractmethod
    def build(self, out_features: int, in_features: int) -> "Matrix":
        """A freshly initialised matrix in training form; raises ConfigError where it is only made of one."""

    @property
    def name(self) -> str:
        """What such a matrix is called."""
        return self.kind

    def made_of(self, matrix: "Matrix", row_weights: Tensor | None = None) -> "Matrix":
        """The matrix nearest to a trained one, as `from_trained` finds it."""
        return self.from_trained(matrix.materialize(), row_weights)

    def to_file(self, matrix: "Matrix") -> dict[str, Tensor]:
        """What `read` reads, of such a matrix in scoring form."""
        return matrix.stored()

    def size_of(self, matrix: "Matrix") -> "Size":
        """Parameters and bytes of such a matrix."""
        return matrix.size()

    def from_trained(self, weight: Tensor, row_weights: Tensor | None = None) -> "Matrix":
        """The matrix nearest to a trained (out, in) one, in scoring form.

        row_weights  (out,) positive: how much what a row loses counts, for the kinds that can weigh
        """
        raise ConfigError("such a matrix is trained, not made from a trained one")

    @abstractmethod
    def read(self, tensors: Mapping[str, Tensor], out_features: int, in_features: int) -> "Matrix":
        """The matrix of a file, in scoring form; raises ModelFileError where they do not fit."""

    def check(self, place: Place, out_features: int, in_features: int) -> None:
        """Raise ConfigError where such a matrix cannot stand there, or cannot have that shape."""
        if place in self.refused:
            raise ConfigError(self.refused[place])


@dataclass(frozen=True)
class Prepared:
    """What a matrix makes of a batch of inputs once, before any of its outputs is asked for.

    values    x itself (N, in), or partial dot products (M, N)
    """

    values: Tensor


class Matrix(nn.Module, ABC):
    """A logical (out_features, in_features) matrix."""

    def __init__(self, out_features: int, in_features: int) -> None:
        super().__init__()
        self.out_features = out_features
        self.in_features = in_features

    @abstractmethod
    def prepare(self, x: Tensor) -> Prepared:
        """Work done once for inputs x (N, in)."""

    @abstractmethod
    def logits(self, prepared: Prepared, rows: slice) -> Tensor:
        """(N, |rows|) products of the inputs with these rows."""

    @abstractmethod
    def pairs(self, prepared: Prepared, positions: Tensor, ids: Tensor) -> Tensor:
        """(P,) products of input `positions[p]` with row `ids[p]`; both (P,) int64."""

    @abstractmethod
    def rows(self, ids: Tensor) -> Tensor:
        """(*ids.shape, in) rows; differentiable in training form."""

    @abstractmethod
    def _dense(self) -> Tensor:
        """The (out, in) matrix, for `materialize`."""

    @abstractmethod
    def size(self) -> Size:
        """Parameters and bytes."""

    @abstractmethod
    def multiply_adds(self) -> int:
        """Multiplications, each with an addition, for the products of one input with every row."""

    @abstractmethod
    def stored(self) -> dict[str, Tensor]:
        """The tensors that go to disk, by short name."""

    @abstractmethod
    def packed(self) -> "Matrix":
        """The form for scoring."""

    def forward(self, x: Tensor) -> Tensor:
        """(..., out) products of x (..., in) with every row."""
        flat = x.reshape(-1, self.in_features)
        product = self.logits(self.prepare(flat), slice(0, self.out_features))
        return product.reshape(*x.shape[:-1], self.out_features)

    def weight_for_training(self) -> Tensor | None:
        """The (out, in) matrix as autograd sees it, where training holds one anyway; else None."""
        return None

    def materialize(self) -> Tensor:
        """The dense (out, in) matrix: the reference for tests, never for scoring."""
        if _no_materialize.get():
            raise RuntimeError(f"{type(self).__name__} must not be expanded while scoring")
        return self._dense()

    def trainable(self) -> "Matrix":
        """The form for training of what `packed` gave; raises ConfigError where there is no way back."""
        return self

    def after_step(self) -> None:
        """Called after each optimiser step: clamp, re-apply a mask."""


def product_of_rows(
    rows: Callable[[Tensor], Tensor], x: Tensor, positions: Tensor, ids: Tensor, block: int = 4096
) -> Tensor:
    """(P,) products by gathering rows, `block` pairs at a time: bounded memory."""
    out = x.new_empty(len(ids))
    for start in range(0, len(ids), block):
        part = slice(start, start + block)
        out[part] = torch.linalg.vecdot(x.index_select(0, positions[part]), rows(ids[part]))
    return out


def products_by_tile(
    rows_of: Callable[[int, int], Tensor], x: Tensor, start: int, stop: int, tile_rows: int
) -> Tensor:
    """(N, stop-start) products of x (N, in) with rows, a tile of which is unpacked at a time and thrown away.

    rows_of  rows [a, b) as numbers (b-a, in)
    """
    if stop - start <= tile_rows:
        return linear(x, rows_of(start, stop))
    out = x.new_empty(len(x), stop - start)
    for tile in range(start, stop, tile_rows):
        end = min(stop, tile + tile_rows)
        out[:, tile - start : end - start] = linear(x, rows_of(tile, end))
    return out


def take(tensors: Mapping[str, Tensor], name: str, shape: tuple[int, ...], dtype: torch.dtype) -> Tensor:
    """Tensor `name` of a stored matrix, its shape and type checked; raises ModelFileError."""
    if name not in tensors:
        raise ModelFileError(f"tensor {name!r} is missing")
    tensor = tensors[name]
    if tuple(tensor.shape) != shape or tensor.dtype != dtype:
        raise ModelFileError(
            f"tensor {name!r} does not fit the configuration",
            expected=f"{shape} {dtype}",
            got=f"{tuple(tensor.shape)} {tensor.dtype}",
        )
    if tensor.is_floating_point() and not bool(torch.isfinite(tensor).all()):
        raise ModelFileError(f"tensor {name!r} holds numbers that are not finite")
    return tensor
