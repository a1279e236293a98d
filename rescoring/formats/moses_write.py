"""Moses n-best lists, written: each line as it was read, re-sorted, with what was added since.

New features stand at the end of the feature field, new totals take the place of the old; alignments, traces
and everything else of a line come back verbatim (line ends become ``\\n``).
"""

import logging
import os
from collections.abc import Iterator
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from nbest.errors import ConfigError, FormatError, LimitError, shorten
from nbest.files import write_whole
from rescoring.formats.moses import DECODER_TOTAL, MosesRecord
from rescoring.nbest import NbestLists

MAX_GAP_LINES = 1_000_000  # empty 1-best lines; more is an id that went wrong
_log = logging.getLogger(__name__)


def write_moses(
    lists: NbestLists,
    path: str | os.PathLike[str],
    order: NDArray[np.int64],
    totals: NDArray[np.float64] | None = None,
) -> None:
    """The hypotheses in the row order `order` (N,), with `totals` (N,) as scores if given.

    Lists that were not read from Moses' format need integer ids, and totals or a feature `decoder_total`.
    """
    with write_whole(path) as stream:
        for line in moses_lines(lists, order, totals):
            stream.write(f"{line}\n".encode())


def moses_lines(
    lists: NbestLists, order: NDArray[np.int64], totals: NDArray[np.float64] | None = None
) -> Iterator[str]:
    """As `write_moses`, line by line and without the line ends."""
    segments = lists.segments
    slices = [(feature.name, lists.columns(feature.name)) for feature in lists.schema]
    for name, _ in slices:
        if not name or set(name) & set(" |\n\r"):
            raise FormatError(
                "a Moses list cannot hold this feature name",
                where=lists.source,
                expected="a name without spaces and '|'",
                got=shorten(name),
            )
    own: frozenset[str] | None = None
    new: list[tuple[str, slice]] = []
    mark = "="
    for row in (int(row) for row in order):
        record = lists.records[row] if lists.records else None
        total = None if totals is None else float(totals[row])
        if isinstance(record, MosesRecord):
            if record.own_features is not own:
                own, mark = record.own_features, _mark(record.line)
                new = [item for item in slices if item[0] not in own and item[0] != DECODER_TOTAL]
            yield _line_again(record.line, _labelled(lists, row, new, mark), total)
        else:
            yield _fresh_line(lists, row, lists.ids[segments[row]], slices, total)


def _mark(line: str) -> str:
    """What follows a label in this file: old lists have a colon."""
    field = line.split("|||")[2]
    return ":" if ": " in field and "= " not in field else "="


def _labelled(lists: NbestLists, row: int, slices: list[tuple[str, slice]], mark: str) -> str:
    parts = []
    for name, columns in slices:
        numbers = " ".join([f"{value:.10g}" for value in lists.features[row, columns].tolist()])
        parts.append(f"{name}{mark} {numbers}")
    return " ".join(parts)


def _line_again(line: str, added: str, total: float | None) -> str:
    if not added and total is None:
        return line
    parts = line.split("|||")
    if added:
        parts[2] = f"{parts[2].rstrip(' ')} {added} "
    if total is not None:
        old = parts[3].strip(" ")
        before, _, after = parts[3].partition(old)
        parts[3] = f"{before}{total:.10g}{after}"
    return "|||".join(parts)


def _fresh_line(
    lists: NbestLists, row: int, segment_id: str, slices: list[tuple[str, slice]], total: float | None
) -> str:
    text = lists.texts[row]
    named = dict(slices)
    if not (segment_id.isascii() and segment_id.isdigit()):
        raise FormatError(
            "a Moses list needs integer ids",
            where=lists.where(row),
            expected="digits",
            got=shorten(segment_id),
        )
    if "|||" in text or "\n" in text:
        raise FormatError(
            "a Moses list cannot hold this text",
            where=lists.where(row),
            expected="a text without '|||' and line breaks",
            got=shorten(text),
        )
    if total is None:
        if DECODER_TOTAL not in named:
            raise ConfigError(
                "a Moses list needs a total for each hypothesis",
                where=lists.source,
                expected=f"totals, or a feature {DECODER_TOTAL}",
                got="neither",
            )
        total = float(lists.features[row, named[DECODER_TOTAL]][0])
    features = _labelled(lists, row, [item for item in slices if item[0] != DECODER_TOTAL], "=")
    return f"{segment_id} ||| {text} ||| {features} ||| {total:.10g}"


def moses_one_best(lists: NbestLists, rows: NDArray[np.int64]) -> Iterator[str]:
    """The texts of `rows` (S,), one a line; an empty line for each integer id missing between two ids.

    Moses itself writes an empty line for a sentence without a translation, so line n stays sentence n.
    """
    ids = [int(name) if name.isascii() and name.isdigit() else -1 for name in lists.ids]
    steps = [after - before for before, after in pairwise(ids)]
    gaps = [step - 1 for step in steps] if min(ids, default=-1) >= 0 and min(steps, default=1) > 0 else []
    if sum(gaps) > MAX_GAP_LINES:
        raise LimitError(
            "too many ids are missing for 1-best lines by number",
            where=lists.source,
            expected=f"at most {MAX_GAP_LINES}",
            got=str(sum(gaps)),
        )
    if sum(gaps):
        _log.warning("%s: %d ids are missing; their 1-best lines are empty", lists.source, sum(gaps))
    for segment, row in enumerate(rows):
        if segment and gaps:
            yield from [""] * gaps[segment - 1]
        yield lists.texts[row]
