"""Kaldi n-best directories, written: the tables of the source and one more for each new feature.

In the order of the source its archives are copied byte for byte (other files beside them are not). After a
rescoring every table is re-sorted: the best hypothesis takes the utterance's first key (``utt-1``), the costs
stay as they were written, and a table `rank` says for each key which rank the decoder gave the hypothesis.
A new feature NAME becomes ``lmwt.NAME``, negated as Kaldi's costs are; new totals become ``total``, negated
too. Neither ``total`` nor ``rank`` is ``lmwt.*``: they are no features when the directory is read again.
"""

import os
import re
import shutil
from collections.abc import Iterator, Mapping, Sequence, Set
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from nbest.errors import FeatureError, FormatError, shorten
from nbest.files import write_whole_directory
from rescoring.formats.base import Rows, Totals, Write, own_records
from rescoring.formats.kaldi import KaldiRecord, archive_numbers, table_name
from rescoring.formats.kaldi_tables import BINARY, entries
from rescoring.formats.notes import Notes
from rescoring.formats.numbers import decimal
from rescoring.formats.scalars import scalar_features
from rescoring.nbest import NbestLists

_BINARY_ENTRY = b" " + BINARY
TOTAL, RANK = "total", "rank"
KALDI_NAMES = ("num_jobs", "archives.*")  # all that an n-best directory holds


@contextmanager
def open_kaldi(path: str | os.PathLike[str]) -> Iterator[Write]:
    """A directory that takes lists block by block: the tables of their source, one more for each new feature.

    Another order than the lists' own, or totals, re-sorts the tables; lists that were not read from Kaldi
    become one archive, ranked in their order. A table of an earlier rescoring (there is a ``total``) whose
    feature was not read is replaced where the same feature is new, and a warning says so. The directory is
    written whole or not at all; raises InputError where `path` is a directory that holds other things than
    an n-best directory, FeatureError for a name that is taken.
    """
    with write_whole_directory(path, replaces=KALDI_NAMES) as fresh:
        writer = _Writer(fresh, Notes(os.fspath(path)))
        yield writer.write
        if writer.source is not None:
            complete_archives(fresh, writer.source)
        writer.notes.log()


def kaldi_files(fresh: Path, lists: NbestLists, order: Rows, totals: Totals | None, notes: Notes) -> None:
    """The tables of some lists, of whole archives, put into the directory `fresh`."""
    _Writer(fresh, notes).write(lists, order, totals)


def complete_archives(fresh: Path, source: Path) -> None:
    """Archives of the source of which nothing was kept are empty ones: they are counted in num_jobs."""
    tables = {table.name for table in fresh.glob("archives.*/*")}
    for number in archive_numbers(source):
        folder = fresh / f"archives.{number}"
        if not folder.exists():
            folder.mkdir()
            for name in tables:
                (folder / name).touch()


class _Writer:
    """One directory in the making; what has to be remembered from block to block."""

    def __init__(self, fresh: Path, notes: Notes) -> None:
        self.fresh, self.notes = fresh, notes
        self.source: Path | None = None
        self.replaced: frozenset[str] | None = None
        self.position = 0  # of the next hypothesis from elsewhere

    def write(self, lists: NbestLists, order: Rows, totals: Totals | None = None) -> None:
        lists = scalar_features(lists, self.notes)
        if own_records(lists, KaldiRecord):
            self._again(lists, order, totals)
        else:
            self._anew(lists, order, totals)

    def _again(self, lists: NbestLists, order: Rows, totals: Totals | None) -> None:
        self.source = source = Path(lists.source)
        read = [record for record in lists.records if isinstance(record, KaldiRecord)]
        added = [feature.name for feature in lists.schema if feature.name not in read[0].own_features]
        if self.replaced is None:
            self.replaced = _replaced(source, [table_name(name) for name in added])
            if self.replaced:
                names = ", ".join(sorted(self.replaced))
                self.notes.say(f"scores of an earlier rescoring are replaced: {names}")
            self.replaced |= frozenset() if totals is None else frozenset({TOTAL})
        records, ranks = read, None
        if totals is not None or not np.array_equal(order, np.arange(len(read))):
            records = _renumbered(lists, read, order)
            ranks = {new.key: old.key.rpartition("-")[2] for old, new in zip(read, records, strict=True)}
        archives = sorted({record.archive for record in read})
        _copy_tables(source, self.fresh, archives, read, records if ranks else None, self.replaced)
        if ranks:
            _write_ranks(self.fresh, records, ranks)
        self._columns(lists, added, records, totals, new=True)

    def _anew(self, lists: NbestLists, order: Rows, totals: Totals | None) -> None:
        records = _write_texts(lists, self.fresh, order, self.position)
        added = [feature.name for feature in lists.schema]
        self._columns(lists, added, records, totals, new=self.position == 0)
        self.position += len(records)

    def _columns(
        self,
        lists: NbestLists,
        added: Sequence[str],
        records: Sequence[KaldiRecord],
        totals: Totals | None,
        *,
        new: bool,
    ) -> None:
        """The tables of the features `added`, and of the totals; `new` ones may not be there before."""
        columns = {table_name(name): _one_value(lists, name) for name in added}
        if totals is not None:
            columns[TOTAL] = totals
        for archive, rows in _by_archive(records):
            for name, values in columns.items():
                target = self.fresh / f"archives.{archive}" / name
                if new and target.exists():
                    raise FeatureError(
                        f"{name} is there already", where=str(lists.source), expected="a new name"
                    )
                with target.open("ab") as stream:
                    lines = (f"{records[row].key} {decimal(0.0 - values[row])}\n" for row in rows)
                    stream.write("".join(lines).encode())


def _by_archive(records: Sequence[KaldiRecord]) -> list[tuple[int, list[int]]]:
    """(archive, its rows in the order of its lines)."""
    rows: dict[int, list[int]] = {}
    for row, record in enumerate(records):
        rows.setdefault(record.archive, []).append(row)
    return [
        (archive, sorted(several, key=lambda row: records[row].position))
        for archive, several in sorted(rows.items())
    ]


def _replaced(source: Path, names: Sequence[str]) -> frozenset[str]:
    """The tables of an earlier rescoring that new ones take the place of; a decoder's own are never lost."""
    folders = [source / f"archives.{archive}" for archive in archive_numbers(source)]
    if not all((folder / TOTAL).is_file() for folder in folders):
        return frozenset()
    return frozenset(name for name in names if any((folder / name).exists() for folder in folders))


def _renumbered(
    lists: NbestLists, records: Sequence[KaldiRecord], order: NDArray[np.int64]
) -> list[KaldiRecord]:
    """(N,) the record of each row in its new place: the utterance's keys are dealt out best first."""
    new = list(records)
    for rows in lists:
        slots = sorted((records[row] for row in rows), key=lambda record: int(record.key.rpartition("-")[2]))
        for row, slot in zip(order[rows.start : rows.stop].tolist(), slots, strict=True):
            new[row] = slot
    return new


def _write_ranks(fresh: Path, records: Sequence[KaldiRecord], ranks: Mapping[str, str]) -> None:
    """The table `rank`; one that an earlier rescoring left says the decoder's ranks already."""
    for archive, rows in _by_archive(records):
        target = fresh / f"archives.{archive}" / RANK
        if not target.exists():
            lines = (f"{records[row].key} {ranks[records[row].key]}\n" for row in rows)
            target.write_bytes("".join(lines).encode())


def _one_value(lists: NbestLists, name: str) -> NDArray[np.float64]:
    values = lists.feature(name)
    if values.shape[1] != 1 or not re.fullmatch(r"[^\s/]+", name):
        raise FormatError(
            "a Kaldi table cannot hold this feature",
            where=lists.source,
            expected="one value, and a name that can be a file's",
            got=f"{shorten(name)} with {values.shape[1]} values",
        )
    return values[:, 0]


def _copy_tables(
    source: Path,
    fresh: Path,
    archives: Sequence[int],
    records: Sequence[KaldiRecord],
    renumbered: Sequence[KaldiRecord] | None,
    leave_out: Set[str],
) -> None:
    """The tables of these archives: whole, or only the entries of `records` where lists were left out.

    With `renumbered` (N,) each entry goes to its row's new key, at that key's place.
    """
    kept = {record.key for record in records}
    moved = None if renumbered is None else dict(zip((r.key for r in records), renumbered, strict=True))
    if (source / "num_jobs").exists():
        shutil.copyfile(source / "num_jobs", fresh / "num_jobs")
    for archive in archives:
        tables = source / f"archives.{archive}"
        folder = fresh / tables.name
        folder.mkdir()
        hypotheses = tables / "words_text" if (tables / "words_text").exists() else tables / "words"
        complete = all(key in kept for key, _, _ in entries(hypotheses.read_bytes(), str(hypotheses)))
        for table in sorted(tables.iterdir()):
            if not table.is_file() or table.name in leave_out:
                continue
            if moved is not None:
                (folder / table.name).write_bytes(_moved(table, moved))
            elif complete:
                shutil.copyfile(table, folder / table.name)
            else:
                pieces = entries(table.read_bytes(), str(table))
                (folder / table.name).write_bytes(b"".join(whole for key, _, whole in pieces if key in kept))


def _moved(table: Path, to: Mapping[str, KaldiRecord]) -> bytes:
    """The table with each entry under its new key, at that key's line; the rest of an entry is as it was."""
    placed: list[tuple[int, bytes]] = []
    for key, _, whole in entries(table.read_bytes(), str(table)):
        if key in to:
            rest = whole[len(key.encode()) :]
            if not rest.startswith(_BINARY_ENTRY) and not rest.endswith(b"\n"):
                rest += b"\n"  # the last line of a file may have none, and is perhaps not the last any more
            placed.append((to[key].position, to[key].key.encode() + rest))
    return b"".join(entry for _, entry in sorted(placed, key=lambda one: one[0]))


def _write_texts(lists: NbestLists, fresh: Path, order: NDArray[np.int64], first: int) -> list[KaldiRecord]:
    """`words_text` and `num_jobs` of one archive for lists from elsewhere; the record of each row.

    `first` is the position of their first hypothesis: above 0 there are others before them.
    """
    records: dict[int, KaldiRecord] = {}
    ranks = [0] * len(lists)
    segments = lists.segments
    for position, row in enumerate((int(row) for row in order), first):
        segment = int(segments[row])
        ranks[segment] += 1
        utterance = lists.ids[segment]
        if not utterance or re.search(r"\s", utterance):
            raise FormatError(
                "a Kaldi key holds no white space",
                where=lists.where(row),
                expected="another utterance id",
                got=shorten(utterance),
            )
        if "\n" in lists.texts[row]:
            raise FormatError(
                "a Kaldi text holds no line break", where=lists.where(row), got=shorten(lists.texts[row])
            )
        records[row] = KaldiRecord(f"{utterance}-{ranks[segment]}", 1, position, frozenset())
    folder = fresh / "archives.1"
    folder.mkdir(exist_ok=True)
    (fresh / "num_jobs").write_bytes(b"1\n")
    ranked = sorted(records.items(), key=lambda item: item[1].position)
    with (folder / "words_text").open("ab") as stream:
        stream.write("".join(f"{record.key} {lists.texts[row]}\n" for row, record in ranked).encode())
    return [records[row] for row in range(len(lists.texts))]
