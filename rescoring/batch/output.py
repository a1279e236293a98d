"""Where finished blocks go, in order: straight to the output, or so that a killed run can be taken up."""

import os
import shutil
import zlib
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import asdict
from pathlib import Path
from typing import IO, Any, Protocol

from nbest.errors import InputError
from nbest.files import (
    packed,
    put_directory_in_place,
    put_in_place,
    sync_directory,
    write_whole,
    write_whole_directory,
)
from rescoring.batch.block import Done, Settings
from rescoring.batch.journal import Journal, open_journal, remove
from rescoring.formats import FORMATS
from rescoring.formats.aside import Failure
from rescoring.formats.base import Frame
from rescoring.formats.notes import Notes


class Output(Protocol):
    """Takes blocks one after the other."""

    @property
    def count(self) -> int:
        """How many blocks it has."""

    @property
    def finished(self) -> Sequence[Done]:
        """Blocks of an earlier run, from the first on; without their pieces."""

    @property
    def folders(self) -> Path | None:
        """Where each block has a folder, called by its number, if the output is a directory."""

    def add(self, done: Done) -> None:
        """The next block."""


@contextmanager
def straight(settings: Settings, source: str) -> Iterator[Output]:
    """The output itself, whole or not at all; standard output and pipes as it comes."""
    if settings.directory:
        style = FORMATS[settings.format]
        with write_whole_directory(settings.out, replaces=style.replaces) as fresh:
            yield _Folders(fresh, fresh.parent / "blocks")
            _complete(settings, fresh, source)
        return
    with write_whole(settings.out, as_given=True) as stream:
        pieces = _Pieces(settings)
        yield _Straight(stream, pieces)
        stream.write(pieces.tail())


@contextmanager
def resumable(
    settings: Settings, source: str, blocks: int, identity: dict[str, Any], *, restart: bool = False
) -> Iterator[Output]:
    """An output that a killed run of the same `identity` (plain JSON) has begun, and another may finish.

    `blocks` is how many there will be. Where the run ends otherwise than well, what is finished is kept
    beside the output, if there is any. Raises as `open_journal` does, and InputError where
    nothing can be written.
    """
    with ExitStack() as stack:
        journal = stack.enter_context(open_journal(settings.out, identity, restart=restart))
        try:
            kind = _ResumableFolder if settings.directory else _ResumableFile
            with kind(journal, settings, blocks) as output:
                yield output
                with _named(journal.folder):
                    output.finish(source)
        except BaseException:
            if not journal.records:
                remove(journal.folder)
            raise
        remove(journal.folder)


def _complete(settings: Settings, fresh: Path, source: str) -> None:
    complete = FORMATS[settings.format].complete
    if complete is not None:
        complete(fresh, Path(source))


class _Pieces:
    """Pieces with what stands around them and between them; each part is packed by itself."""

    def __init__(self, settings: Settings, *, begun: bool = False) -> None:
        self._frame = Frame() if settings.one_best else FORMATS[settings.format].frame
        self._name = settings.out
        self.begun = begun

    def framed(self, piece: bytes) -> bytes:
        if not piece:
            return b""
        before = self._packed(self._frame.between if self.begun else self._frame.head)
        self.begun = True
        return before + piece

    def tail(self) -> bytes:
        return (b"" if self.begun else self._packed(self._frame.head)) + self._packed(self._frame.tail)

    def _packed(self, content: bytes) -> bytes:
        return packed(content, self._name) if content else b""


class _Straight:
    finished: Sequence[Done] = ()
    folders = None
    count = 0

    def __init__(self, stream: IO[bytes], pieces: _Pieces) -> None:
        self._stream, self._pieces = stream, pieces

    def add(self, done: Done) -> None:
        self._stream.write(self._pieces.framed(done.piece))
        self.count += 1


class _Folders:
    """Files of each block, made in a folder of its own, moved among the others when the block is done."""

    finished: Sequence[Done] = ()
    count = 0

    def __init__(self, fresh: Path, folders: Path) -> None:
        self._fresh, self.folders = fresh, folders

    def add(self, done: Done) -> None:
        _merge(_files_of(done, self.folders), self._fresh)
        self.count += 1


def _files_of(done: Done, folders: Path) -> Path:
    """The folder of a block, which another machine may have made."""
    folder = folders / str(done.number)
    if done.lists and not folder.is_dir():
        raise InputError(
            "the files of a block are not there",
            where=str(folder),
            expected="an output directory on a file system that all machines share",
        )
    return folder


def _merge(folder: Path, into: Path) -> list[tuple[str, int]]:
    """Moves the files; their names and sizes. One that is there already is of a run that was killed."""
    moved = []
    for file in sorted(one for one in folder.rglob("*") if one.is_file()) if folder.exists() else ():
        target = into / file.relative_to(folder)
        target.parent.mkdir(parents=True, exist_ok=True)
        moved.append((str(file.relative_to(folder)), file.stat().st_size))
        file.replace(target)
    shutil.rmtree(folder, ignore_errors=True)
    return moved


@contextmanager
def _named(folder: Path) -> Iterator[None]:
    """What goes wrong on the disk is said with its place: the folder may be gone, the disk full."""
    try:
        yield
    except OSError as error:
        what = "is gone" if isinstance(error, FileNotFoundError) else f"cannot be written: {error.strerror}"
        raise InputError(f"the unfinished output {what}", where=str(folder)) from None


class _ResumableFile:
    """Pieces one behind the other in the journal's folder."""

    folders = None

    def __init__(self, journal: Journal, settings: Settings, blocks: int) -> None:
        self._journal, self._settings = journal, settings
        self._path = journal.folder / "output"
        target = Path(os.path.realpath(settings.out))
        self._in_place = not self._path.exists() and _is_whole(target, journal.records, blocks)
        if self._in_place:  # the run was killed after its last step
            self._pieces = _Pieces(settings, begun=True)
        else:
            journal.keep(_verified(self._path, journal.records))
            end = sum(record["bytes"] for record in journal.records)
            self._stream = self._path.open("ab")
            self._stream.truncate(end)
            self._pieces = _Pieces(settings, begun=end > 0)
        self.finished = [_done(record, settings) for record in journal.records if "block" in record]

    def __enter__(self) -> "_ResumableFile":
        return self

    @property
    def count(self) -> int:
        return sum("block" in record for record in self._journal.records)

    def __exit__(self, *_: object) -> None:
        if not self._in_place:
            with suppress(OSError):  # what the disk does not take is not finished, and nothing else counts
                self._stream.close()

    def add(self, done: Done) -> None:
        with _named(self._journal.folder):
            self._write(self._pieces.framed(done.piece), _record(done))

    def finish(self, _source: str) -> None:
        if self._in_place:
            return
        if "block" in self._journal.records[-1]:  # else an earlier run came as far as the tail
            self._write(self._pieces.tail(), {})
        put_in_place(self._path, self._settings.out)

    def _write(self, content: bytes, record: dict[str, Any]) -> None:
        self._stream.write(content)
        self._stream.flush()
        os.fsync(self._stream.fileno())
        self._journal.add(record | {"bytes": len(content), "crc": zlib.crc32(content)})


def _verified(path: Path, records: Sequence[dict[str, Any]]) -> int:
    """How many of the records, from the first on, are of pieces that stand in the file as they were."""
    if not path.is_file():
        return 0
    with path.open("rb") as stream:
        for number, record in enumerate(records):
            content = stream.read(record["bytes"])
            if len(content) != record["bytes"] or zlib.crc32(content) != record["crc"]:
                return number
    return len(records)


def _is_whole(target: Path, records: Sequence[dict[str, Any]], blocks: int) -> bool:
    """Whether the output itself is what the records of all blocks, and of the end, say."""
    return (
        len(records) == blocks + 1
        and target.is_file()
        and target.stat().st_size == sum(record["bytes"] for record in records)
        and _verified(target, records) == len(records)
    )


class _ResumableFolder:
    """Files of finished blocks in the journal's folder."""

    def __init__(self, journal: Journal, settings: Settings, blocks: int) -> None:
        self._journal, self._settings = journal, settings
        self._fresh, self.folders = journal.folder / "output", journal.folder / "blocks"
        target = Path(os.path.realpath(settings.out))
        shutil.rmtree(self.folders, ignore_errors=True)
        whole = len(journal.records) == blocks and _present(target, journal.records) == blocks
        self._in_place = not self._fresh.exists() and whole  # the run was killed after its last step
        if not self._in_place:
            journal.keep(_present(self._fresh, journal.records))
            self._fresh.mkdir(exist_ok=True)
        self.finished = [_done(record, settings) for record in journal.records]

    def __enter__(self) -> "_ResumableFolder":
        return self

    @property
    def count(self) -> int:
        return len(self._journal.records)

    def __exit__(self, *_: object) -> None:
        return None

    def add(self, done: Done) -> None:
        with _named(self._journal.folder):
            if not self._fresh.exists():
                raise FileNotFoundError
            folder = _files_of(done, self.folders)
            for file in (one for one in folder.rglob("*") if one.is_file()) if folder.exists() else ():
                with file.open("rb") as stream:
                    os.fsync(stream.fileno())
            files = _merge(folder, self._fresh)
            for place in {(self._fresh / name).parent for name, _ in files} | {self._fresh}:
                sync_directory(place)
            self._journal.add(_record(done) | {"files": [list(one) for one in files]})

    def finish(self, source: str) -> None:
        if not self._in_place:
            _complete(self._settings, self._fresh, source)
            replaces = FORMATS[self._settings.format].replaces
            put_directory_in_place(self._fresh, self._settings.out, self._journal.folder, replaces=replaces)


def _present(folder: Path, records: Sequence[dict[str, Any]]) -> int:
    """How many of the records, from the first on, are of files that are all there with their sizes."""
    for number, record in enumerate(records):
        for name, size in record["files"]:
            if not (folder / name).is_file() or (folder / name).stat().st_size != size:
                return number
    return len(records)


def _record(done: Done) -> dict[str, Any]:
    """A finished block without its piece, in plain JSON."""
    notes = {"counts": done.notes.counts, "sparse": list(done.notes.sparse), "kept": sorted(done.notes.kept)}
    return {
        "block": done.number,
        "lists": done.lists,
        "hypotheses": done.hypotheses,
        "changed": done.changed,
        "scored": [list(one) for one in done.scored],
        "warnings": list(done.warnings),
        "notes": notes,
        "failures": [asdict(one) for one in done.failures],
    }


def _done(record: dict[str, Any], settings: Settings) -> Done:
    notes = Notes(settings.out)
    notes.counts = dict(record["notes"]["counts"])
    notes.add_sparse(record["notes"]["sparse"])
    notes.kept = set(record["notes"]["kept"])
    return Done(
        number=record["block"],
        piece=b"",
        lists=record["lists"],
        hypotheses=record["hypotheses"],
        changed=record["changed"],
        scored=tuple((texts, tokens, oov) for texts, tokens, oov in record["scored"]),
        warnings=tuple(record["warnings"]),
        notes=notes,
        failures=tuple(Failure(**one) for one in record["failures"]),
    )
