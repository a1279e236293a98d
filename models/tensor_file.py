"""A safetensors file whose header is checked, whole, before a byte of its tensors is read.

8 bytes  the length of the header, little-endian
header   {"NAME": {"dtype": "F32", "shape": [2, 3], "data_offsets": [0, 24]}, ..., "__metadata__": {...}}
the rest the tensors one after the other: none over another, no byte between or after them
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load as load_tensors
from torch import Tensor

from models.model_folder import WEIGHTS, open_file
from nbest.errors import ModelFileError
from nbest.strict_json import StrictJson

MOST_HEADER_BYTES = 8 << 20  # some 60,000 tensors; the largest of our models has dozens
_MOST_DIMS = 8
_MOST_NUMBERS = 1 << 48
_DTYPES = {
    "BOOL": torch.bool,
    "U8": torch.uint8,
    "I8": torch.int8,
    "I16": torch.int16,
    "I32": torch.int32,
    "I64": torch.int64,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "F32": torch.float32,
    "F64": torch.float64,
}


@dataclass(frozen=True)
class TensorPlace:
    """What the header says of one tensor; `begin` and `end` are bytes behind the header."""

    dtype: torch.dtype
    shape: tuple[int, ...]
    begin: int
    end: int


@dataclass(frozen=True)
class TensorFile:
    """The weights of a model directory before they are read.

    size  of the whole file, in bytes
    """

    folder: Path
    places: Mapping[str, TensorPlace]
    size: int

    def read(self) -> tuple[bytes, dict[str, Tensor]]:
        """The file's bytes and its tensors; raises ModelFileError, also where it is not what it was."""
        with open_file(self.folder, WEIGHTS) as (stream, size):
            content = stream.read(self.size) if size == self.size else b""
        if len(content) != self.size:
            raise _corrupt(self.folder, "it changed while it was read")
        try:
            return content, load_tensors(content)
        except (SafetensorError, ValueError, KeyError, RuntimeError) as error:
            raise _corrupt(self.folder, str(error)) from None

    def check(self, name: str, shape: tuple[int, ...], dtype: torch.dtype) -> None:
        """Raises ModelFileError unless there is such a tensor."""
        place = self.places.get(name)
        where = str(self.folder / WEIGHTS)
        if place is None:
            raise ModelFileError(f"tensor {name!r} is missing", where=where)
        if (place.shape, place.dtype) != (shape, dtype):
            raise ModelFileError(
                f"tensor {name!r} does not fit the configuration",
                where=where,
                expected=f"{shape} {dtype}",
                got=f"{place.shape} {place.dtype}",
            )


def open_tensors(folder: Path) -> TensorFile:
    """The header of a model directory's weights; raises ModelFileError for one that lies."""
    with open_file(folder, WEIGHTS) as (stream, size):
        length = int.from_bytes(stream.read(8), "little")
        if size < 8 or not 2 <= length <= size - 8:
            raise _corrupt(folder, f"a header of {length} bytes in a file of {size}")
        if length > MOST_HEADER_BYTES:
            raise _corrupt(folder, f"a header of {length} bytes, above {MOST_HEADER_BYTES}")
        header = stream.read(length)
    read = StrictJson(str(folder / WEIGHTS), ModelFileError)
    places = {
        name: _place(read, name, entry)
        for name, entry in read.mapping(read.parse(header), "").items()
        if name != "__metadata__"
    }
    end = 0
    for name, place in sorted(places.items(), key=lambda item: (item[1].begin, item[1].end)):
        if place.begin != end:
            raise _corrupt(folder, f"tensor {name!r} begins at byte {place.begin}, not at {end}")
        end = place.end
    if end != size - 8 - length:
        raise _corrupt(folder, f"tensors of {end} bytes, and {size - 8 - length} are there")
    return TensorFile(folder, places, size)


def _place(read: StrictJson, name: str, entry: Any) -> TensorPlace:
    at = f"/{name}"
    block = read.mapping(entry, at, {"dtype", "shape", "data_offsets"})
    dtype = _DTYPES.get(read.string(block["dtype"], f"{at}/dtype"))
    if dtype is None:
        raise read.wrong(f"{at}/dtype", "unknown type", f"one of {', '.join(_DTYPES)}", block["dtype"])
    shape = _integers(read, block["shape"], f"{at}/shape")
    offsets = _integers(read, block["data_offsets"], f"{at}/data_offsets")
    if len(offsets) != 2 or offsets[0] > offsets[1]:
        raise read.wrong(f"{at}/data_offsets", "corrupt", "[from, to]", block["data_offsets"])
    if len(shape) > _MOST_DIMS or offsets[1] - offsets[0] != math.prod(shape) * dtype.itemsize:
        expected = f"{offsets[1] - offsets[0]} bytes of {block['dtype']}, as /data_offsets says"
        raise read.wrong(f"{at}/shape", "corrupt", expected, block["shape"])
    return TensorPlace(dtype, shape, *offsets)


def _integers(read: StrictJson, content: Any, at: str) -> tuple[int, ...]:
    numbers = tuple(read.integer(one, at) for one in read.sequence(content, at))
    if any(not 0 <= one <= _MOST_NUMBERS for one in numbers):
        raise read.wrong(at, "corrupt", f"numbers from 0 to {_MOST_NUMBERS}", content)
    return numbers


def _corrupt(folder: Path, why: str) -> ModelFileError:
    return ModelFileError(f"corrupt or truncated ({why})", where=str(folder / WEIGHTS))
