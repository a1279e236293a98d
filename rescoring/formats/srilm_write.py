"""SRILM n-best lists, written: a directory with the lists in `nbest/` and a score directory a feature.

    OUT/nbest/UTT.gz    the lines as they were read, re-sorted; lists from elsewhere as 'ac lm words w w w'
    OUT/NAME/UTT.gz     each feature that the lines do not hold, and new totals as OUT/total; all in log10

so that nbest-optimize and rescore-reweight take OUT/nbest and the score directories as they are.
"""

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from nbest.errors import FormatError, shorten
from nbest.files import packed, write_whole_directory
from rescoring.formats.base import Rows, Totals, Write, own_records
from rescoring.formats.notes import Notes
from rescoring.formats.numbers import decimal
from rescoring.formats.scalars import scalar_features
from rescoring.formats.srilm import SrilmRecord
from rescoring.formats.srilm_files import LISTS, utterance_of
from rescoring.formats.srilm_lines import HEADERS, NAT_PER_LOG10, SCORES, with_total
from rescoring.nbest import NbestLists
from rescoring.text import words

TOTAL = "total"
_HEADER = {kind: header for header, kind in HEADERS.items()}


@contextmanager
def open_srilm(path: str | os.PathLike[str]) -> Iterator[Write]:
    """A new directory that takes lists block by block, written whole or not at all.

    Raises InputError where `path` is there already, FormatError for what SRILM's files cannot hold.
    """
    notes = Notes(os.fspath(path))
    with write_whole_directory(path) as fresh:

        def write(lists: NbestLists, order: Rows, totals: Totals | None = None) -> None:
            srilm_files(fresh, lists, order, totals, notes)

        yield write
    notes.log()


def srilm_files(fresh: Path, lists: NbestLists, order: Rows, totals: Totals | None, notes: Notes) -> None:
    """The files of some lists, put into the directory `fresh`."""
    lists = scalar_features(lists, notes)
    (fresh / LISTS).mkdir(exist_ok=True)
    own = own_records(lists, SrilmRecord)
    held = {"ac", "lm", "word_count"}
    if own:
        held = {name for record in lists.records[:1] if isinstance(record, SrilmRecord) for name in record[3]}
    elif not _has_counts(lists):
        held.remove("word_count")
    columns = {one.name: lists.feature(one.name)[:, 0] for one in lists.schema if one.name not in held}
    if totals is not None:
        columns[TOTAL] = totals
    for name in columns:
        _check_name(name, lists.source)
        (fresh / name).mkdir(exist_ok=True)
    if not own:
        for name in ("ac", "lm"):
            if all(feature.name != name for feature in lists.schema):
                notes.say(f"there is no feature {name}: its column is 0")
    for segment, utterance in enumerate(lists.ids):
        rows = order[lists.offsets[segment] : lists.offsets[segment + 1]]
        name = f"{utterance}.gz"
        if own:
            lines, name = _again(lists, rows, totals)
        else:
            _check_id(utterance, lists.where(int(rows[0])))
            lines = [_anew(lists, int(row), "word_count" in held) for row in rows]
        (fresh / LISTS / name).write_bytes(packed("".join(f"{line}\n" for line in lines).encode(), name))
        for feature, values in columns.items():
            numbers = "".join(f"{decimal(value)}\n" for value in (values[rows] / NAT_PER_LOG10).tolist())
            target = fresh / feature / f"{utterance_of(Path(name))}.gz"
            target.write_bytes(packed(numbers.encode(), target.name))


def _has_counts(lists: NbestLists) -> bool:
    """Whether `word_count` is there and holds counts, which a line has a place for."""
    if all(feature.name != "word_count" for feature in lists.schema):
        return True  # the words are counted
    values = lists.feature("word_count")
    return bool(((values >= 0) & (values == np.round(values))).all())


def _again(lists: NbestLists, rows: Rows, totals: Totals | None) -> tuple[list[str], str]:
    """The lines of one list, and the name of its file."""
    lines: list[str] = []
    name = ""
    for row in rows.tolist():
        record = lists.records[row]
        assert isinstance(record, SrilmRecord)
        if not lines and record.kind != SCORES:
            lines.append(_HEADER[record.kind])
        line = record.line if totals is None else with_total(record.line, record.kind, float(totals[row]))
        lines.append(line)
        name = record.file
    return lines, name


def _anew(lists: NbestLists, row: int, counted: bool) -> str:
    values = {"ac": 0.0, "lm": 0.0}
    present = {feature.name for feature in lists.schema}
    for name in values:
        if name in present:
            values[name] = float(lists.feature(name)[row, 0]) / NAT_PER_LOG10
    text = lists.texts[row]
    if "\n" in text:
        raise FormatError("a text with a line break", where=lists.where(row), got=shorten(text))
    count = len(words(text))
    if counted and "word_count" in present:
        count = int(lists.feature("word_count")[row, 0])
    return f"{decimal(values['ac'])} {decimal(values['lm'])} {count} {text}".rstrip(" ")


def _check_id(utterance: str, where: str) -> None:
    is_name = re.fullmatch(r"[^\s/.][^\s/]*", utterance)
    if not is_name or utterance_of(Path(utterance)) != utterance:
        raise FormatError(
            "an id that cannot be the name of SRILM's file",
            where=where,
            expected="no white space, no '/', no ending such as .gz or .score",
            got=shorten(utterance),
        )


def _check_name(name: str, where: str) -> None:
    if not re.fullmatch(r"[^\s/.][^\s/]*", name) or name == LISTS:
        raise FormatError(
            "a feature name that cannot be a folder's",
            where=where,
            expected="another name",
            got=shorten(name),
        )
