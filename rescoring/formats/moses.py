"""Moses n-best lists, read: ``id ||| text ||| features ||| total [||| alignment ...]``.

Reading strips trace tokens (``|0-1|``) and repeated spaces from the texts; the words left are those that
Moses' own extractor counts for BLEU (it skips empty tokens). Lines whose id came before join that list; lines
identical to an earlier one are left out; features absent on some lines count as 0 there. All three are
logged. Blank lines are passed over.

The decoder's total is a weighted sum of the other features, so it is no feature unless asked for
(`keep_total`): tuning would put weight on it. It stays in the record of its line.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from nbest.errors import FormatError, shorten
from rescoring.formats.aside import Aside
from rescoring.formats.base import Lines
from rescoring.formats.blocks import grouped
from rescoring.formats.columns import Piece, assemble
from rescoring.formats.moses_features import Layout, parse_field, schema_of
from rescoring.formats.moses_sieve import Sieve
from rescoring.formats.notes import Notes
from rescoring.formats.numbers import finite, finite_array
from rescoring.nbest import NbestLists
from rescoring.text import squeeze

DECODER_TOTAL = "decoder_total"
BLOCK_LINES = 4096  # fields parsed at once: numbers of a block stay in the cache, tokens of it are freed soon
TRACE = re.compile(r"(?:^|(?<= ))\|[0-9]+-[0-9]+(?:,wa=[^|]*)?\|(?= |$)")  # -t, and -tt with features inside
_SHAPE = "'id ||| text ||| features ||| total'"
REPEATED = "{n} lines identical to an earlier one were left out"


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


def read_moses(
    lines: Lines, source: str, *, keep_total: bool = False, aside: Aside | None = None
) -> NbestLists:
    """The lists of numbered `lines`; `source` names them in errors.

    With `keep_total` the decoder's total is one more feature, `decoder_total`. Raises FormatError,
    FeatureError or LimitError with ``source:line``; lists that cannot be read go to `aside`, if it is there.
    """
    notes = Notes(source)
    if aside is None:
        lists = _read(lines, source, keep_total, notes)
    else:
        sieve = Sieve(lambda some, notes: _read(some, source, keep_total, notes), _id_of, source, aside)
        lists = sieve.read(list(lines), notes) or _read((), source, keep_total, notes)
    notes.log()
    return lists


def moses_blocks(
    lines: Lines,
    source: str,
    size: int,
    notes: Notes,
    *,
    keep_total: bool = False,
    aside: Aside | None = None,
) -> Iterator[NbestLists]:
    """As `read_moses`, in blocks of whole lists, `size` hypotheses or a few more each.

    Each block has the features of its own lines. Lists that cannot be read are an error, or go to `aside`.
    Raises OutOfOrderError for an id whose list was over before: such a file has to be read whole.
    """
    if aside is None:
        for block in grouped(lines, source, size, _id_of):
            yield _read(block, source, keep_total, notes)
        return
    sieve = Sieve(lambda some, notes: _read(some, source, keep_total, notes), _id_of, source, aside)
    for block in grouped(lines, source, size, sieve.id_of):
        if lists := sieve.read(block, notes):
            yield lists


def _id_of(line: str) -> str:
    return line.partition("|||")[0].strip(" ").lstrip("0") or "0"


def _read(lines: Lines, source: str, keep_total: bool, notes: Notes) -> NbestLists:
    reader = _Reader(source, notes)
    reader.take(lines)
    return reader.finish(keep_total=keep_total)


class _Reader:
    """Takes lines; parses the numbers of BLOCK_LINES lines together."""

    def __init__(self, source: str, notes: Notes) -> None:
        self.source, self.notes = source, notes
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

    def take(self, lines: Lines) -> None:
        rows, texts, numbers, segments = self.rows, self.texts, self.numbers, self.segments
        fields, totals = self.pending_fields, self.pending_totals
        id_text, segment = None, -1
        for number, line in lines:
            row = len(texts)
            first = rows.setdefault(line, row)
            if first != row:
                self.repeats.setdefault(first, []).append(number)
                continue
            parts = line.split("|||")
            if len(parts) < 4:
                if line.strip(" \t"):
                    raise self._too_few(parts, number, line)
                del rows[line]
                continue
            if parts[0] != id_text:
                id_text = parts[0]
                segment = self.ids.setdefault(self._id(id_text, number), len(self.ids))
            numbers.append(number)
            segments.append(segment)
            texts.append(scoring_text(parts[1]))
            fields.append(parts[2])
            totals.append(parts[3].strip(" "))
            if len(fields) == BLOCK_LINES:
                self._parse_pending()

    def _too_few(self, parts: list[str], number: int, line: str) -> FormatError:
        return FormatError(
            f"too few fields between '|||': {shorten(line)}",
            where=f"{self.source}:{number}",
            expected=f"at least 4: {_SHAPE}",
            got=str(len(parts)),
        )

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
        lines = self.numbers[-len(fields) :]
        self.pieces += parse_block(fields, lines, self.source)
        numbers = finite_array(totals)
        if numbers is None:
            places = (f"{self.source}:{number}" for number in lines)
            numbers = np.array(
                [finite(total, "the total", at) for total, at in zip(totals, places, strict=True)]
            )
        self.totals.append(numbers)
        fields.clear()
        totals.clear()

    def finish(self, *, keep_total: bool) -> NbestLists:
        self._parse_pending()
        if not self.texts:
            raise FormatError("no n-best list in it", where=self.source, expected=_SHAPE, got="no lines")
        schema, features = assemble(self.pieces, self.numbers, self.source, self.notes)  # (N, F)
        own = frozenset(feature.name for feature in schema)
        segments = np.array(self.segments, dtype=np.int64)
        lists = NbestLists(
            ids=tuple(self.ids),
            offsets=np.concatenate([[0], np.cumsum(np.bincount(segments))]).astype(np.int64),
            texts=tuple(self.texts),
            schema=schema,
            features=features,
            lines=tuple(self.numbers),
            records=self._records(own),
            source=self.source,
        )
        if keep_total:
            lists = lists.with_feature(DECODER_TOTAL, np.concatenate(self.totals))
        order = np.argsort(segments, kind="stable")
        in_one_piece = bool((np.diff(segments) >= 0).all())
        self._report(in_one_piece)
        return lists if in_one_piece else _reordered(lists, order)

    def _records(self, own: frozenset[str]) -> tuple[MosesRecord, ...]:
        if not self.repeats:
            return tuple(MosesRecord(line, own, ()) for line in self.rows)
        return tuple(
            MosesRecord(line, own, tuple(self.repeats.get(row, ()))) for line, row in self.rows.items()
        )

    def _report(self, in_one_piece: bool) -> None:
        self.notes.add(REPEATED, sum(map(len, self.repeats.values())))
        if not in_one_piece:
            self.notes.add("ids come back later in the file; their lists were joined")


def parse_block(fields: Sequence[str], lines: Sequence[int], source: str) -> list[Piece]:
    """The feature fields of some `lines`, all at once if they are laid out alike, else one by one."""
    layout = Layout(fields[0], f"{source}:{lines[0]}")
    values = layout.block(fields)
    if values is not None:
        return [Piece(layout.features, values)]
    parsed = [parse_field(field, f"{source}:{number}") for field, number in zip(fields, lines, strict=True)]
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
