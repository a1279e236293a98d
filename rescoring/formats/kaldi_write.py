"""Kaldi n-best directories, written: the tables of the source and one more for each new feature.

The source's archives are copied byte for byte (other files beside them are not). A new feature NAME
becomes ``lmwt.NAME``, negated as Kaldi's costs are; new totals become ``total``, negated too, and not
``lmwt.*``: they are no feature when the directory is read again.
"""

import os
import re
import shutil
from collections.abc import Sequence, Set
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from nbest.errors import FeatureError, FormatError, shorten
from nbest.files import write_whole_directory
from rescoring.formats.kaldi import KaldiRecord, archive_numbers, table_name
from rescoring.formats.kaldi_tables import entries
from rescoring.nbest import NbestLists

TOTAL = "total"
KALDI_NAMES = ("num_jobs", "archives.*")  # all that an n-best directory holds


def write_kaldi(
    lists: NbestLists,
    path: str | os.PathLike[str],
    order: NDArray[np.int64],
    totals: NDArray[np.float64] | None = None,
) -> None:
    """An n-best directory with the tables of the source and one more for each new feature.

    Keys keep their ranks and their places, so `order` only matters for lists that were not read from Kaldi:
    those become one archive, ranked in that order. The directory is written whole or not at all; raises
    InputError where `path` is a directory that holds other things than an n-best directory.
    """
    with write_whole_directory(path, replaces=KALDI_NAMES) as fresh:
        if lists.records and all(isinstance(record, KaldiRecord) for record in lists.records):
            records = [record for record in lists.records if isinstance(record, KaldiRecord)]
            replaced = frozenset() if totals is None else frozenset({TOTAL})
            _copy_tables(Path(lists.source), fresh, records, replaced)
            added = [f.name for f in lists.schema if f.name not in records[0].own_features]
        else:
            records = _write_texts(lists, fresh, order)
            added = [feature.name for feature in lists.schema]
        columns = {table_name(name): _one_value(lists, name) for name in added}
        if totals is not None:
            columns[TOTAL] = totals
        for archive in sorted({record.archive for record in records}):
            rows = [row for row, record in enumerate(records) if record.archive == archive]
            rows.sort(key=lambda row: records[row].position)
            for name, values in columns.items():
                target = fresh / f"archives.{archive}" / name
                if target.exists():
                    raise FeatureError(
                        f"{name} is there already", where=str(lists.source), expected="a new name"
                    )
                lines = (f"{records[row].key} {0.0 - values[row]:.10g}\n" for row in rows)
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


def _copy_tables(source: Path, fresh: Path, records: Sequence[KaldiRecord], leave_out: Set[str]) -> None:
    """The tables of every archive: whole, or only the entries of `records` where lists were left out."""
    kept = {record.key for record in records}
    if (source / "num_jobs").exists():
        shutil.copyfile(source / "num_jobs", fresh / "num_jobs")
    for archive in archive_numbers(source):
        tables = source / f"archives.{archive}"
        folder = fresh / tables.name
        folder.mkdir()
        hypotheses = tables / "words_text" if (tables / "words_text").exists() else tables / "words"
        complete = all(key in kept for key, _, _ in entries(hypotheses.read_bytes(), str(hypotheses)))
        for table in sorted(tables.iterdir()):
            if not table.is_file() or table.name in leave_out:
                continue
            if complete:
                shutil.copyfile(table, folder / table.name)
            else:
                pieces = entries(table.read_bytes(), str(table))
                (folder / table.name).write_bytes(b"".join(whole for key, _, whole in pieces if key in kept))


def _write_texts(lists: NbestLists, fresh: Path, order: NDArray[np.int64]) -> list[KaldiRecord]:
    """`words_text` and `num_jobs` of one archive for lists from elsewhere; the record of each row."""
    records: dict[int, KaldiRecord] = {}
    ranks = [0] * len(lists)
    segments = lists.segments
    for position, row in enumerate(int(row) for row in order):
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
    folder.mkdir()
    (fresh / "num_jobs").write_bytes(b"1\n")
    ranked = sorted(records.items(), key=lambda item: item[1].position)
    lines = (f"{record.key} {lists.texts[row]}\n" for row, record in ranked)
    (folder / "words_text").write_bytes("".join(lines).encode())
    return [records[row] for row in range(len(lists.texts))]
