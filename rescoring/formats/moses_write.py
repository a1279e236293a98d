"""Moses n-best lists, written: each line as it was read, re-sorted, with what was added since.

New features stand at the end of the feature field, new totals take the place of the old; alignments, traces
and everything else of a line come back verbatim (line ends become ``\\n``).
"""

from collections.abc import Iterator, Sequence
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from nbest.errors import FormatError, LimitError, shorten
from rescoring.formats.base import own_records
from rescoring.formats.moses import DECODER_TOTAL, MosesRecord
from rescoring.formats.notes import Notes
from rescoring.formats.numbers import decimal
from rescoring.formats.totals import total_name
from rescoring.nbest import NbestLists

MAX_GAP_LINES = 1_000_000  # empty 1-best lines; more is an id that went wrong
NO_TOTAL = "{n} hypotheses have no total; theirs is written as 0"


def moses_lines(
    lists: NbestLists,
    order: NDArray[np.int64],
    totals: NDArray[np.float64] | None = None,
    notes: Notes | None = None,
) -> Iterator[str]:
    """The hypotheses in the row order `order` (N,), with `totals` (N,) as scores if given; no line ends.

    Lists that were not read from Moses' format need integer ids. Without totals theirs is the feature
    `decoder_total`, else `total` or `score`, else 0, which is noted.
    """
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
    name_of_total = total_name(lists.schema)
    if name_of_total is None and totals is None and not own_records(lists, MosesRecord) and notes:
        notes.add(NO_TOTAL, len(order))
    column = None if name_of_total is None else lists.feature(name_of_total)[:, 0]
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
            if total is None:
                total = 0.0 if column is None else float(column[row])
            yield _fresh_line(lists, row, lists.ids[segments[row]], slices, total)


def _mark(line: str) -> str:
    """What follows a label in this file: old lists have a colon."""
    field = line.split("|||")[2]
    return ":" if ": " in field and "= " not in field else "="


def _labelled(lists: NbestLists, row: int, slices: list[tuple[str, slice]], mark: str) -> str:
    parts = []
    for name, columns in slices:
        numbers = " ".join(map(decimal, lists.features[row, columns].tolist()))
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
        parts[3] = f"{before}{decimal(total)}{after}"
    return "|||".join(parts)


def _fresh_line(
    lists: NbestLists, row: int, segment_id: str, slices: list[tuple[str, slice]], total: float
) -> str:
    text = lists.texts[row]
    if not (segment_id.isascii() and segment_id.isdigit()):
        raise FormatError(
            "a Moses list needs integer ids",
            where=lists.where(row),
            expected="digits (nbest convert --renumber counts the lists from 0)",
            got=shorten(segment_id),
        )
    if "|||" in text or "\n" in text:
        raise FormatError(
            "a Moses list cannot hold this text",
            where=lists.where(row),
            expected="a text without '|||' and line breaks",
            got=shorten(text),
        )
    features = _labelled(lists, row, [item for item in slices if item[0] != DECODER_TOTAL], "=")
    return f"{segment_id} ||| {text} ||| {features} ||| {decimal(total)}"


def blank_lines(ids: Sequence[str], source: str) -> list[int]:
    """(S,) how many empty 1-best lines stand before each list: one for each integer id missing between two.

    Moses itself writes an empty line for a sentence without a translation, so line n stays sentence n.
    Raises LimitError for more than MAX_GAP_LINES.
    """
    numbers = [int(name) if name.isascii() and name.isdigit() else -1 for name in ids]
    steps = [after - before for before, after in pairwise(numbers)]
    rising = min(numbers, default=-1) >= 0 and min(steps, default=1) > 0
    missing = sum(steps) - len(steps) if rising else 0
    if missing > MAX_GAP_LINES:
        raise LimitError(
            "too many ids are missing for 1-best lines by number",
            where=source,
            expected=f"at most {MAX_GAP_LINES}",
            got=str(missing),
        )
    return [0, *(step - 1 if rising else 0 for step in steps)]
