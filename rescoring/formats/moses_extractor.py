"""The two files of Moses' `extractor`, that `mert` and `kbmira` take: features, and counts for the metric.

    FEATURES_TXT_BEGIN_0 ID N F LM0_0 TM0_0 TM0_1       N rows of F numbers; sparse ones behind, NAME=VALUE
    FEATURES_TXT_END_0
    SCORES_TXT_BEGIN_0 ID N K BLEU                      N rows of K counts
    SCORES_TXT_END_0

BLEU's counts are matches and n-grams of order 1 to 4 in turn, then the closest reference length. Feature
files may be binary (``FEATURES_BIN_BEGIN_0``: float32); a block whose id came before joins that list. These
files hold no texts. (mosesdecoder, mert/FeatureArray.cpp, FeatureStats.cpp, ScoreArray.cpp.)
"""

import os
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from typing import IO, NamedTuple

import numpy as np
from numpy.typing import NDArray

from nbest.errors import FormatError, shorten
from nbest.files import open_bytes, write_whole
from rescoring.formats.base import AnyPath, offsets_of
from rescoring.formats.columns import Piece, assemble
from rescoring.formats.numbers import decimal, finite, finite_array
from rescoring.nbest import Feature, NbestLists
from rescoring.text import words

FEATURES, SCORES = "FEATURES", "SCORES"
BLEU = "BLEU"


class Extracted(NamedTuple):
    """One of the files: lists without texts.

    ids      S ids
    offsets  (S+1,) where each list begins
    schema   the features; of scores one, called by the metric
    values   (N, F)
    """

    ids: tuple[str, ...]
    offsets: NDArray[np.int64]
    schema: tuple[Feature, ...]
    values: NDArray[np.float64]


class _Block(NamedTuple):
    id: str
    names: list[str]
    rows: NDArray[np.float64]  # (n, F)
    sparse: list[dict[str, float]]  # of each row
    line: int


def read_features(path: AnyPath) -> Extracted:
    """A feature file; raises FormatError or FeatureError naming file and line."""
    source = os.fspath(path)
    blocks = list(_blocks(path, FEATURES))
    pieces: list[Piece] = []
    places: list[int] = []
    for block in _in_order(blocks):
        dense = tuple(_features(block.names))
        for row, more in zip(block.rows, block.sparse, strict=True):
            schema = (*dense, *(Feature(name) for name in more))
            pieces.append(Piece(schema, np.array([[*row.tolist(), *more.values()]])))
            places.append(block.line)
    schema, values = assemble(pieces, places, source)
    return Extracted(*_lists(blocks), schema, values)


def read_scores(path: AnyPath) -> Extracted:
    """A file of counts."""
    blocks = list(_blocks(path, SCORES))
    widths = {(block.rows.shape[1], " ".join(block.names)) for block in blocks}
    if len(widths) > 1:
        raise FormatError("blocks of different metrics", where=os.fspath(path), got=str(sorted(widths)))
    ((width, name),) = widths
    values = np.concatenate([block.rows for block in _in_order(blocks)])
    return Extracted(*_lists(blocks), (Feature(name, width),), values)


def _in_order(blocks: Sequence[_Block]) -> list[_Block]:
    """The blocks list by list: an id that comes back joins its list."""
    first = {block.id: k for k, block in reversed(list(enumerate(blocks)))}
    return sorted(blocks, key=lambda block: first[block.id])


def _lists(blocks: Sequence[_Block]) -> tuple[tuple[str, ...], NDArray[np.int64]]:
    counts: dict[str, int] = {}
    for block in blocks:
        counts[block.id] = counts.get(block.id, 0) + len(block.rows)
    return tuple(counts), offsets_of(counts.values())


def _features(names: Sequence[str]) -> Iterator[Feature]:
    """``LM0_0 TM0_0 TM0_1``: LM0 of one value, TM0 of two."""
    built: list[list[str | int]] = []
    for name in names:
        base, _, number = name.rpartition("_")
        goes_on = bool(built) and base == built[-1][0] and number == str(built[-1][1])
        if goes_on:
            built[-1][1] = int(built[-1][1]) + 1
        else:
            built.append([base if number == "0" and base else name, 1])
    return (Feature(str(name), int(width)) for name, width in built)


def _blocks(path: AnyPath, kind: str) -> Iterator[_Block]:
    source = os.fspath(path)
    number = 0
    with open_bytes(path) as stream:
        while True:
            number += 1
            head = words(_line(stream, source, number))
            if not head:
                break
            if head[0] not in (f"{kind}_TXT_BEGIN_0", f"{kind}_BIN_BEGIN_0") or len(head) < 4:
                raise FormatError(
                    "not the beginning of a block",
                    where=f"{source}:{number}",
                    expected=f"'{kind}_TXT_BEGIN_0 id rows columns names'",
                    got=shorten(" ".join(head)),
                )
            rows, columns = (_count(token, f"{source}:{number}") for token in head[2:4])
            binary = "_BIN_" in head[0]
            if binary and kind == SCORES:
                raise FormatError("binary counts", where=f"{source}:{number}", expected=f"{kind}_TXT_BEGIN_0")
            first = number
            sparse: list[dict[str, float]] = [{} for _ in range(rows)]
            if binary:
                table = _binary(stream, rows, columns, f"{source}:{number}")
            else:
                table, sparse = _text(stream, rows, columns, source, number)
                number += rows
            number += 1
            end = _line(stream, source, number).strip(" ")
            if end not in (f"{kind}_TXT_END_0", f"{kind}_BIN_END_0"):
                raise FormatError(
                    "the block does not end here",
                    where=f"{source}:{number}",
                    expected=f"{kind}_TXT_END_0 after {rows} rows",
                    got=shorten(end),
                )
            yield _Block(head[1], head[4:], table, sparse, first)
    if number == 1:
        raise FormatError("no block in it", where=source, expected=f"{kind}_TXT_BEGIN_0 ...", got="nothing")


def _line(stream: IO[bytes], source: str, number: int) -> str:
    try:
        return stream.readline().decode("utf-8").rstrip("\r\n")
    except UnicodeDecodeError:
        raise FormatError("invalid UTF-8", where=f"{source}:{number}") from None


def _count(token: str, where: str) -> int:
    if not (token.isascii() and token.isdigit() and len(token) <= 9):
        raise FormatError("not a number of rows or columns", where=where, got=shorten(token))
    return int(token)


def _binary(stream: IO[bytes], rows: int, columns: int, where: str) -> NDArray[np.float64]:
    data = stream.read(4 * rows * columns)
    if len(data) < 4 * rows * columns:
        raise FormatError(
            "truncated block", where=where, expected=f"{4 * rows * columns} bytes", got=f"{len(data)}"
        )
    return np.frombuffer(data, "<f4").reshape(rows, columns).astype(np.float64)


def _text(
    stream: IO[bytes], rows: int, columns: int, source: str, number: int
) -> tuple[NDArray[np.float64], list[dict[str, float]]]:
    table = np.zeros((rows, columns))
    sparse: list[dict[str, float]] = []
    for row in range(rows):
        where = f"{source}:{number + row + 1}"
        tokens = words(_line(stream, source, number + row + 1))
        dense = [token for token in tokens if "=" not in token]
        if len(dense) != columns:
            raise FormatError(
                "another number of values", where=where, expected=str(columns), got=str(len(dense))
            )
        values = finite_array(dense)
        table[row] = [finite(token, "a value", where) for token in dense] if values is None else values
        pairs = (token.rpartition("=") for token in tokens if "=" in token)
        sparse.append({name: finite(value, f"feature {name}", where) for name, _, value in pairs})
    return table, sparse


def bleu_counts(counts: NDArray[np.integer]) -> NDArray[np.int64]:
    """(N, 9) as Moses writes them, from (N, 10) of `metrics.bleu`: length, closest, 4 matches, 4 totals."""
    order = [2, 6, 3, 7, 4, 8, 5, 9, 1]
    return np.asarray(counts)[:, order].astype(np.int64)


def write_extractor(
    lists: NbestLists, counts: NDArray[np.int64], features: AnyPath, scores: AnyPath, metric: str = BLEU
) -> None:
    """Both files, each whole or not at all; `counts` (N, K) are those of `metric`.

    Raises FormatError for names that these files cannot hold.
    """
    names = []
    for feature in lists.schema:
        if not feature.name or set(feature.name) & set(" =\n\t"):
            raise FormatError(
                "a feature name that the extractor's file cannot hold",
                where=lists.source,
                expected="no white space and no '='",
                got=shorten(feature.name),
            )
        names += [f"{feature.name}_{k}" for k in range(feature.width)]
    tables = ((FEATURES, features, lists.features, names), (SCORES, scores, counts, [metric]))
    with ExitStack() as stack:
        for kind, path, table, labels in tables:
            stream = stack.enter_context(write_whole(path))
            for segment, list_id in enumerate(lists.ids):
                rows = table[lists.offsets[segment] : lists.offsets[segment + 1]]
                head = f"{kind}_TXT_BEGIN_0 {list_id} {len(rows)} {table.shape[1]} {' '.join(labels)}"
                body = "".join(" ".join(map(decimal, row)) + " \n" for row in rows.tolist())
                stream.write(f"{head}\n{body}{kind}_TXT_END_0\n".encode())
