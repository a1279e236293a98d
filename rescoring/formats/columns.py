"""One feature matrix from lines that need not hold the same features."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from nbest.errors import FeatureError, LimitError
from rescoring.formats.notes import Notes
from rescoring.nbest import Feature

MAX_SPARSE = 2000  # distinct features that are absent on some line: one column each
MAX_CELLS = 100_000_000  # of a matrix with sparse features: 0.8 GB


class Piece(NamedTuple):
    """Consecutive lines with the same features in the same order."""

    features: tuple[Feature, ...]
    values: NDArray[np.float64]  # (n, F of these features)


def assemble(
    pieces: Sequence[Piece], lines: Sequence[int], source: str, notes: Notes | None = None
) -> tuple[tuple[Feature, ...], NDArray[np.float64]]:
    """The features in order of appearance, and their (N, F) matrix; N is len(lines), their line numbers.

    A feature of one value that is absent on some lines is sparse and counts as 0 there; which are goes to
    `notes`, or is logged. Raises FeatureError for a vector that is absent or has another width somewhere,
    LimitError for too many sparse features.
    """
    schema, sparse = _survey(pieces, lines, source)
    if len({piece.features for piece in pieces}) == 1:
        return schema, np.concatenate([piece.values for piece in pieces])
    said = notes or Notes(source)
    said.add_sparse(sparse)
    if notes is None:
        said.log()
    width = sum(feature.width for feature in schema)
    starts = np.cumsum([0, *(feature.width for feature in schema)])
    columns = {
        feature.name: range(int(start), int(start) + feature.width)
        for feature, start in zip(schema, starts, strict=False)
    }
    matrix = np.zeros((len(lines), width))  # (N, F)
    row = 0
    for features, values in pieces:
        at = [column for feature in features for column in columns[feature.name]]
        matrix[row : row + len(values), at] = values
        row += len(values)
    return schema, matrix


def _survey(
    pieces: Sequence[Piece], lines: Sequence[int], source: str
) -> tuple[tuple[Feature, ...], list[str]]:
    """The schema, and the names of the sparse features."""
    widths: dict[str, int] = {}
    present: dict[str, int] = {}
    row = 0
    for features, values in pieces:
        for name, width in ((feature.name, feature.width) for feature in features):
            if widths.setdefault(name, width) != width:
                raise FeatureError(
                    f"feature {name} has another number of values than before",
                    where=f"{source}:{lines[row]}",
                    expected=str(widths[name]),
                    got=str(width),
                )
            present[name] = present.get(name, 0) + len(values)
        row += len(values)
        if len(widths) > MAX_SPARSE and len(widths) - _everywhere(present, row) > MAX_SPARSE:
            raise LimitError(
                "too many distinct sparse features",
                where=f"{source}:{lines[row - 1]}",
                expected=f"at most {MAX_SPARSE} features that are absent on some line",
                got=f"{len(widths) - _everywhere(present, row)} so far",
            )
    sparse = [name for name, count in present.items() if count < row]
    for name in sparse:
        if widths[name] > 1:
            raise FeatureError(
                f"feature {name} is missing",
                where=f"{source}:{lines[_first_without(name, pieces)]}",
                expected=f"{widths[name]} values as on other lines",
                got="none",
            )
    if sparse and row * sum(widths.values()) > MAX_CELLS:
        raise LimitError(
            "too many lines for this many sparse features",
            where=source,
            expected=f"at most {MAX_CELLS} cells",
            got=f"{row} lines x {sum(widths.values())} columns",
        )
    absent = set(sparse)
    return tuple(Feature(name, width, name in absent) for name, width in widths.items()), sparse


def _everywhere(present: dict[str, int], rows: int) -> int:
    return sum(count == rows for count in present.values())


def _first_without(name: str, pieces: Sequence[Piece]) -> int:
    row = 0
    for features, values in pieces:
        if all(feature.name != name for feature in features):
            return row
        row += len(values)
    raise AssertionError(f"{name} is on every line")
