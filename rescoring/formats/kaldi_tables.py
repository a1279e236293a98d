"""Kaldi tables (``key value`` archives) as n-best directories hold them: texts, costs, integer vectors.

Texts and costs are text archives; integer vectors may be binary too: ``key \\0B \\4 <int32 n>`` and n times
``\\4 <int32>``, little-endian (kaldi-holder-inl.h, BasicVectorHolder).
"""

import os
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from nbest.errors import FormatError, InputError, shorten
from nbest.files import read_lines
from rescoring.formats.numbers import finite, finite_array
from rescoring.text import squeeze, words

BINARY = b"\0B"
_INT32 = 5  # bytes of one binary integer: its size (4) and itself


def read_texts(path: str | os.PathLike[str]) -> list[tuple[str, str]]:
    """Pairs (key, text with one space between words); space or TAB ends the key, the text may be empty."""
    return parse_texts(read_lines(path), os.fspath(path))


def parse_texts(lines: Iterable[tuple[int, str]], name: str) -> list[tuple[str, str]]:
    """As `read_texts`, from numbered lines; `name` stands in errors."""
    pairs: list[tuple[str, str]] = []
    for number, line in lines:
        line = line.replace("\t", " ")
        key, _, text = line.lstrip(" ").partition(" ")
        if not key:
            raise FormatError("line without a key", where=f"{name}:{number}", expected="'key words'")
        pairs.append((key, squeeze(text)))
    return pairs


def read_costs(
    path: str | os.PathLike[str], faults: dict[str, InputError] | None = None
) -> tuple[list[str], NDArray[np.float64]]:
    """The keys, and (n,) values as they stand; one number a line.

    Raises FormatError or NonFiniteFeatureError with ``file:line``; or adds it to `faults`, by key, and the
    value is NaN.
    """
    name = os.fspath(path)
    with open(path, "rb") as stream:
        if b" " + BINARY in stream.read(4096):
            raise FormatError("binary archive of numbers", where=name, expected="a text archive (ark,t)")
    keys: list[str] = []
    tokens: list[str] = []
    for number, line in read_lines(path):
        parts = words(line.replace("\t", " "))
        if len(parts) != 2 and (faults is None or not parts):
            raise FormatError(
                "not a key and a number",
                where=f"{name}:{number}",
                expected="'key number'",
                got=shorten(line),
            )
        keys.append(parts[0])
        tokens.append(" ".join(parts[1:]))
    values = finite_array(tokens)
    if values is None:
        what = f"the value in {Path(path).name}"
        values = np.full(len(tokens), np.nan)
        for row, token in enumerate(tokens):
            try:
                values[row] = finite(token, what, f"{name}:{row + 1}")
            except InputError as error:
                if faults is None:
                    raise
                faults.setdefault(keys[row], error)
    return keys, values


def entries(data: bytes, source: str) -> Iterator[tuple[str, bytes, bytes]]:
    """Triples (key, raw value, whole entry) of an archive, text and binary integer vectors mixed at will."""
    at = 0
    while at < len(data):
        newline = data.find(b"\n", at)
        space = data.find(b" ", at, newline if newline >= 0 else len(data))
        if space >= 0 and data[space + 1 : space + 3] == BINARY:
            end = _end_of_vector(data, space + 1, source)
            value = data[space + 1 : end]
        else:
            end = len(data) if newline < 0 else newline + 1
            tab = data.find(b"\t", at, end)
            space = min((x for x in (space, tab) if x >= 0), default=-1)
            value = data[space + 1 : end] if space >= 0 else b""
        try:
            key = (data[at:space] if space >= 0 else data[at:end]).decode("utf-8").strip("\r\n")
        except UnicodeDecodeError:
            raise FormatError("the key is no UTF-8", where=f"{source}, byte {at}", expected="a key") from None
        if not key:
            raise FormatError("entry without a key", where=f"{source}, byte {at}", expected="'key value'")
        yield key, value, data[at:end]
        at = end


def _end_of_vector(data: bytes, start: int, source: str) -> int:
    """Where the binary integer vector at `start` (its ``\\0B``) ends."""
    where = f"{source}, byte {start}"
    head = data[start + 2 : start + 2 + _INT32]
    if len(head) < _INT32 or head[0] != 4:
        raise FormatError("binary entry of an unknown kind", where=where, expected="a vector of int32")
    length = int.from_bytes(head[1:], "little", signed=True)
    end = start + 2 + _INT32 * (1 + length)
    if length < 0 or end > len(data):
        raise FormatError(
            "truncated binary vector",
            where=where,
            expected=f"{length} integers",
            got=f"{len(data) - start} bytes",
        )
    return end


def read_int_vectors(path: Path) -> list[tuple[str, list[int]]]:
    """Pairs (key, integers) of a text or binary archive of integer vectors."""
    found: list[tuple[str, list[int]]] = []
    for key, value, _ in entries(path.read_bytes(), str(path)):
        if value.startswith(BINARY):
            cells = np.frombuffer(value, dtype=np.uint8, offset=2 + _INT32).reshape(-1, _INT32)
            if (cells[:, 0] != 4).any():
                raise FormatError(f"{key}: corrupt binary vector", where=str(path), expected="int32 values")
            found.append((key, np.ascontiguousarray(cells[:, 1:]).view("<i4").reshape(-1).tolist()))
            continue
        tokens = value.split()
        if not all(token.isdigit() and len(token) <= 10 for token in tokens):
            raise FormatError(
                f"{key}: not a vector of integers",
                where=str(path),
                expected="'key id id ...'",
                got=shorten(value.decode("utf-8", "replace")),
            )
        found.append((key, [int(token) for token in tokens]))
    return found


def read_symbols(path: str | os.PathLike[str]) -> dict[int, str]:
    """Words by id, from Kaldi's ``words.txt`` (``word id`` a line)."""
    symbols: dict[int, str] = {}
    for number, line in read_lines(path):
        parts = words(line.replace("\t", " "))
        if len(parts) != 2 or not (parts[1].isascii() and parts[1].isdigit()):
            raise FormatError(
                "not a word and its id",
                where=f"{os.fspath(path)}:{number}",
                expected="'word id'",
                got=shorten(line),
            )
        symbols[int(parts[1])] = parts[0]
    return symbols
