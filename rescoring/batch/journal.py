"""What a run has finished, on the disk before it counts: a killed run is taken up where it was.

Beside OUT stands ``OUT.nbest-partial/`` while it is made:

    lock      held while a run is at work: two at once would mix
    journal   a line a record, ``CRC JSON``: first the settings of the run, then one record a finished block
    output    the finished pieces, one behind the other; or the finished files of a directory
    blocks    the files of blocks under way, for a directory

Order on the disk: a piece is written and synced (fsync) before its record is, and the record is synced before
the block counts as finished. So whatever moment a kill or a power cut comes at, the records that can be read
are of pieces that are whole; what stands behind the last of them is cut off. `output` takes OUT's name in one
rename, synced too.
"""

import json
import os
import shutil
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from nbest.errors import BusyError, ConfigError, shorten
from nbest.files import sync_directory
from nbest.locked import at_work

ENDING = ".nbest-partial"
OURS = ("lock", "journal", "output", "blocks")
RETRY_SECONDS = 60.0


def partial_of(path: str | os.PathLike[str]) -> Path:
    """Where the unfinished output of `path` is."""
    target = Path(os.path.realpath(path))
    return target.with_name(target.name + ENDING)


class Journal:
    """The records of one run; those of before stay as they are."""

    def __init__(self, folder: Path, settings: Mapping[str, Any], records: list[dict[str, Any]]) -> None:
        self.folder = folder
        self.records = records
        self._settings = settings
        self._stream = (folder / "journal").open("ab")
        if self._stream.tell():
            self.keep(len(records))  # what stands behind them is torn
        else:
            self._append(settings)
            sync_directory(folder)
            sync_directory(folder.parent)

    def keep(self, count: int) -> None:
        """The first `count` records count, and no other."""
        del self.records[count:]
        lines = [_line(self._settings), *map(_line, self.records)]
        self._stream.truncate(sum(map(len, lines)))

    def add(self, record: dict[str, Any]) -> None:
        """One more finished block; its piece must be on the disk."""
        self._append(record)
        self.records.append(record)

    def close(self) -> None:
        """No more records."""
        self._stream.close()

    def _append(self, content: Mapping[str, Any]) -> None:
        self._stream.write(_line(content))
        self._stream.flush()
        os.fsync(self._stream.fileno())


@contextmanager
def open_journal(
    path: str | os.PathLike[str], settings: Mapping[str, Any], *, restart: bool
) -> Iterator[Journal]:
    """The journal of the output `path`, with what an unfinished run of the same settings has finished.

    Nobody else writes that output meanwhile. With `restart` what is there is dropped. Raises BusyError where
    another run is at work, ConfigError naming what differs where the unfinished run had other settings.
    """
    folder = partial_of(path)
    busy = BusyError(f"{folder}: another run is writing this output", retry_after_seconds=RETRY_SECONDS)
    with at_work(folder, busy):
        if restart:
            _clear(folder)
        found = list(_read(folder / "journal"))
        if found and found[0] != settings:
            raise _other_settings(found[0], settings, folder)
        if not found:
            _clear(folder)
        journal = Journal(folder, settings, found[1:])
        try:
            yield journal
        finally:
            journal.close()


def remove(folder: Path) -> None:
    """The run is over, and nothing of it is to be taken up."""
    shutil.rmtree(folder, ignore_errors=True)


def _line(content: Mapping[str, Any]) -> bytes:
    text = json.dumps(content, ensure_ascii=True, sort_keys=True).encode()
    return b"%08x %s\n" % (zlib.crc32(text), text)


def _read(path: Path) -> Iterator[dict[str, Any]]:
    """The records up to the first that is torn or corrupt."""
    try:
        lines = path.read_bytes().split(b"\n")
    except FileNotFoundError:
        return
    for line in lines[:-1]:  # what has no newline is torn
        crc, _, text = line.partition(b" ")
        if crc != b"%08x" % zlib.crc32(text):
            return
        yield json.loads(text)


def _clear(folder: Path) -> None:
    for name in OURS[1:]:
        place = folder / name
        if place.is_dir():
            shutil.rmtree(place)
        else:
            place.unlink(missing_ok=True)


def _other_settings(old: Mapping[str, Any], new: Mapping[str, Any], folder: Path) -> ConfigError:
    names = [name for name in {**new, **old} if old.get(name) != new.get(name)]
    first = names[0]
    return ConfigError(
        f"an unfinished run had other settings: {', '.join(names)}",
        where=str(folder),
        expected=f"the same {first}, {shorten(json.dumps(old.get(first)))}; or --restart, to start over",
        got=shorten(json.dumps(new.get(first))),
    )
