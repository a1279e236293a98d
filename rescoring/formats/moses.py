"""Moses n-best lists: ``id ||| text ||| features ||| total [||| alignment ...]``, read and given back.

Reading strips trace tokens (``|0-1|``) and repeated spaces from the texts; the words left are those that
Moses' own extractor counts for BLEU (it skips empty tokens). Lines whose id came before join that list; lines
identical to an earlier one are left out; features absent on some lines count as 0 there. All three are
logged. Blank lines are passed over.

The decoder's total is a weighted sum of the other features, so it is no feature unless asked for
(`keep_total`): tuning would put weight on it. It stays in the record of its line.

Writing gives each line back as it was read (line ends become ``\\n``); features that were added since stand
at the end of the feature field, and new totals, if given, take the place of the old.
"""

import logging
import os
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import pairwise
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from nbest.errors import ConfigError, FormatError, LimitError, shorten
from nbest.files import write_whole
from rescoring.formats.columns import Piece, assemble
from rescoring.formats.moses_features import Layout, parse_field, schema_of
from rescoring.formats.numbers import finite, finite_array
from rescoring.nbest import NbestLists
from rescoring.text import squeeze

DECODER_TOTAL = "decoder_total"
BLOCK_LINES = 4096  # fields parsed at once: numbers of a block stay in the cache, tokens of it are freed soon
MAX_GAP_LINES = 1_000_000  # empty 1-best lines; more is an id that went wrong
TRACE = re.compile(r"(?:^|(?<= ))\|[0-9]+-[0-9]+(?:,wa=[^|]*)?\|(?= |$)")  # -t, and -tt with features inside
_SHAPE = "'id ||| text ||| features ||| total'"
_log = logging.getLogger(__name__)


class MosesRecord(NamedTuple):
    """What the writer needs of one line."""

    line: str
    own_features: frozenset[str]  # of the whole file: those that the lines already hold
    repeats: tuple[int, ...]  # line numbers of identical lines that were left out

    @property
    def decoder_total(self) -> float:
        """The decoder's own score of this hypothesis."""
        return float(self.line.split("|||")[3])


def scoring_text(field: str) -> str:
    """The words of a text field: without trace tokens, one space apart."""
    if "|" in field:
        field = TRACE.sub("", field)
    return squeeze(field)


def read_moses(lines: Iterable[tuple[int, str]], source: str, *, keep_total: bool = False) -> NbestLists:
    """The lists of numbered `lines`; `source` names them in errors.

    With `keep_total` the decoder's total is one more feature, `decoder_total`. Raises FormatError,
    FeatureError or LimitError with ``source:line``.
    """
    reader = _Reader(source)
    for number, line in lines:
        reader.add(number, line)
    return reader.finish(keep_total=keep_total)


class _Reader:
    """Takes lines one by one; parses the numbers of BLOCK_LINES lines together."""

    def __init__(self, source: str) -> None:
        self.source = source
        self.rows: dict[str, int] = {}  # line -> row
        self.numbers: list[int] = []
        self.segments: list[int] = []
        self.texts: list[str] = []
        self.ids: dict[str, int] = {}  # id -> segment
        self.repeats: dict[int, list[int]] = {}  # row -> line numbers
        self.pieces: list[Piece] = []
        self.totals: list[NDArray[np.float64]] = []
        self.pending_fields: list[str] = []
        self.pending_totals: list[str] = []
        self.id_text, self.segment = "", -1

    def add(self, number: int, line: str) -> None:
        row = len(self.texts)
        first = self.rows.setdefault(line, row)
        if first != row:
            self.repeats.setdefault(first, []).append(number)
            return
        parts = line.split("|||")
        if len(parts) < 4:
            if not line.strip(" \t"):
                del self.rows[line]
                return
            raise FormatError(
                f"too few fields between '|||': {shorten(line)}",
                where=f"{self.source}:{number}",
                expected=f"at least 4: {_SHAPE}",
                got=str(len(parts)),
            )
        if parts[0] != self.id_text or not row:
            self.id_text = parts[0]
            self.segment = self.ids.setdefault(self._id(parts[0], number), len(self.ids))
        self.numbers.append(number)
        self.segments.append(self.segment)
        self.texts.append(scoring_text(parts[1]))
        self.pending_fields.append(parts[2])
        self.pending_totals.append(parts[3].strip(" "))
        if len(self.pending_fields) == BLOCK_LINES:
            self._parse_pending()

    def _id(self, field: str, number: int) -> str:
        digits = field.strip(" ")
        if not (digits.isascii() and digits.isdigit() and len(digits) <= 18):
            raise FormatError(
                "the segment id is no integer",
                where=f"{self.source}:{number}",
                expected=f"a number in {_SHAPE}",
                got=shorten(digits),
            )
        return str(int(digits))

    def _parse_pending(self) -> None:
        fields, totals = self.pending_fields, self.pending_totals
        if not fields:
            return
        places = [f"{self.source}:{number}" for number in self.numbers[-len(fields) :]]
        self.pieces += parse_block(fields, places)
        numbers = finite_array(totals)
        if numbers is None:
            numbers = np.array(
                [finite(total, "the total", where) for total, where in zip(totals, places, strict=True)]
            )
        self.totals.append(numbers)
        self.pending_fields, self.pending_totals = [], []

    def finish(self, *, keep_total: bool) -> NbestLists:
        self._parse_pending()
        if not self.texts:
            raise FormatError("no n-best list in it", where=self.source, expected=_SHAPE, got="no lines")
        schema, features = assemble(self.pieces, self.numbers, self.source)  # (N, F)
        own = frozenset(feature.name for feature in schema)
        segments = np.array(self.segments, dtype=np.int64)
        lists = NbestLists(
            ids=tuple(self.ids),
            offsets=np.concatenate([[0], np.cumsum(np.bincount(segments))]).astype(np.int64),
            texts=tuple(self.texts),
            schema=schema,
            features=features,
            lines=tuple(self.numbers),
            records=tuple(
                MosesRecord(line, own, tuple(self.repeats.get(row, ()))) for line, row in self.rows.items()
            ),
            source=self.source,
        )
        if keep_total:
            lists = lists.with_feature(DECODER_TOTAL, np.concatenate(self.totals))
        order = np.argsort(segments, kind="stable")
        in_one_piece = bool((np.diff(segments) >= 0).all())
        self._report(in_one_piece)
        return lists if in_one_piece else _reordered(lists, order)

    def _report(self, in_one_piece: bool) -> None:
        repeats = sum(map(len, self.repeats.values()))
        if repeats:
            _log.warning("%s: %d lines identical to an earlier one were left out", self.source, repeats)
        if not in_one_piece:
            _log.warning("%s: ids come back later in the file; their lists were joined", self.source)


def parse_block(fields: Sequence[str], places: Sequence[str]) -> list[Piece]:
    """The feature fields of some lines, all at once if they are laid out alike, else one by one."""
    layout = Layout(fields[0], places[0])
    values = layout.block(fields)
    if values is not None:
        return [Piece(layout.features, values)]
    parsed = [parse_field(field, where) for field, where in zip(fields, places, strict=True)]
    return [
        Piece(schema_of(line), np.array([[number for numbers in line.values() for number in numbers]]))
        for line in parsed
    ]


def _reordered(lists: NbestLists, order: NDArray[np.int64]) -> NbestLists:
    return replace(
        lists,
        texts=tuple(lists.texts[row] for row in order),
        features=lists.features[order],
        lines=tuple(lists.lines[row] for row in order),
        records=tuple(lists.records[row] for row in order),
    )


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
    for row in (int(row) for row in order):
        record = lists.records[row] if lists.records else None
        total = None if totals is None else float(totals[row])
        if isinstance(record, MosesRecord):
            new = [item for item in slices if item[0] not in record.own_features and item[0] != DECODER_TOTAL]
            yield _line_again(record.line, _labelled(lists, row, new, _colon(record.line)), total)
        else:
            yield _fresh_line(lists, row, lists.ids[segments[row]], slices, total)


def _colon(line: str) -> str:
    """The mark after a label in this file: old lists have a colon."""
    field = line.split("|||")[2]
    return ":" if ": " in field and "= " not in field else "="


def _labelled(lists: NbestLists, row: int, slices: list[tuple[str, slice]], mark: str) -> str:
    values = lists.features[row]
    return " ".join(
        f"{name}{mark} {' '.join(f'{value:.10g}' for value in values[columns])}" for name, columns in slices
    )


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
