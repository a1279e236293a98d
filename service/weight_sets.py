"""Weight sets of a directory, by name: read afresh when a file changes, written in versions that stay.

    NAME.json      what NAME means now: put here by hand, or through the service
    NAME@3.json    its third version, NAME@3: never written again

A write adds a version and then makes it the current one, each file whole or not at all. Content that was put
in place by hand becomes a version before it is replaced. Deleting a name leaves its versions: what was signed
with them can still be made again.
"""

import logging
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from nbest.errors import FormatError, InputError, NbestError, NotFoundError, shorten
from nbest.files import sync_directory, write_whole
from nbest.locked import locked
from nbest.signature import sha256_hex
from rescoring.weights import WeightSet, dump_weights, parse_weights
from service.conditions import Conditions
from service.errors import ConflictError, StorageError, WeightSetFileError
from service.names import is_name, unknown

log = logging.getLogger("nbest.service")

SUFFIX = ".json"
_VERSIONED = re.compile(r"(.+)@([1-9][0-9]{0,8})")
_WRITABLE = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.+-]{0,99}")  # the same file on every file system
_MOST_KEPT = 256  # sets in memory


@dataclass(frozen=True)
class Stored:
    """A weight set as it stands on disk.

    tag      its entity tag: of its bytes, so that it is the same on every machine
    version  the number of the version with these bytes; None: there is none, it was put there by hand
    """

    name: str
    content: bytes
    weights: WeightSet
    version: int | None

    @property
    def tag(self) -> str:
        """As it stands in the ETag header."""
        return tag_of(self.content)

    @property
    def location(self) -> str | None:
        """The path of the version; None where there is none."""
        found = _VERSIONED.fullmatch(self.name)
        name = found[1] if found else self.name
        return None if self.version is None else f"/v1/weights/{quote(name)}@{self.version}"


@dataclass(frozen=True)
class Written:
    """What a write left, and whether the name is new, or the content."""

    stored: Stored
    created: bool
    changed: bool


class WeightSets:
    """The weight sets of a directory; None: the service has none. Every method reads the disk.

    most_files  files of weight sets, versions counted, that writes may leave
    """

    def __init__(self, directory: Path | None, most_files: int = 10_000) -> None:
        self._directory = directory
        self._most_files = most_files
        self._read: dict[str, tuple[tuple[int, int, int], WeightSet]] = {}

    def names(self) -> list[str]:
        """Every name there is now, without versions; raises NbestError where the directory is gone."""
        return [name for name in self._stems() if not _VERSIONED.fullmatch(name)]

    def get(self, name: str) -> WeightSet:
        """The weight set called NAME or NAME@VERSION; raises NotFoundError, WeightSetFileError."""
        path = self._existing(name)
        try:
            state = path.stat()
        except OSError:  # it went this moment
            raise unknown("weight set", name, self.names()) from None
        stamp = (state.st_ino, state.st_size, state.st_mtime_ns)
        kept = self._read.get(name)
        if kept is None or kept[0] != stamp:
            weights = _parsed(name, _content(name, path))
            while len(self._read) >= _MOST_KEPT:
                self._read.pop(next(iter(self._read)), None)
            kept = self._read[name] = (stamp, weights)
        return kept[1]

    def stored(self, name: str) -> Stored:
        """As `get`, with the bytes and the version."""
        content = _content(name, self._existing(name))
        return Stored(name, content, _parsed(name, content), self._version(name, content))

    def put(self, name: str, weights: WeightSet, conditions: Conditions) -> Written:
        """Makes `weights` what `name` means; the same content again changes nothing, whatever the caller saw.

        Raises ConflictError where the name cannot be written, PreconditionFailedError,
        PreconditionMissingError, StorageError.
        """
        directory = self._writable(name)
        content = dump_weights(weights).encode()
        with _storing(), locked(directory):
            path = directory / f"{name}{SUFFIX}"
            before = _own_content(path)
            if before == content and conditions.none_match is None:
                return Written(Stored(name, content, weights, self._version(name, content)), False, False)
            conditions.check_write(None if before is None else tag_of(before))
            version = max(self._versions(name), default=0)
            fresh: list[bytes] = [content]
            if before is not None and (
                version == 0 or before != _own_content(_path(directory, name, version))
            ):
                fresh = [before, content]
            self._check_room(len(fresh) + (before is None))
            for bytes_ in fresh:
                version += 1
                while os.path.lexists(_path(directory, name, version)):  # no file: a link, a directory
                    version += 1
                _write(_path(directory, name, version), bytes_)
            _write(path, content)
            sync_directory(directory)
        return Written(Stored(name, content, weights, version), before is None, True)

    def check_put(self, name: str, conditions: Conditions) -> None:
        """Raises what `put` would raise now for content that is not there yet."""
        directory = self._writable(name)
        with _storing():
            before = _own_content(directory / f"{name}{SUFFIX}")
        conditions.check_write(None if before is None else tag_of(before))

    def delete(self, name: str, conditions: Conditions) -> None:
        """`name` means nothing any more, and its versions stay; or the one version NAME@N is removed.

        Raises NotFoundError, ConflictError for the newest version, whose number would be used again, and as
        `put` does.
        """
        directory = self._own()
        with _storing(), locked(directory):
            self._existing(name)
            path = directory / f"{name}{SUFFIX}"
            content = _own_content(path)
            conditions.check_write(None if content is None else tag_of(content))
            if (found := _VERSIONED.fullmatch(name)) and int(found[2]) == max(self._versions(found[1])):
                raise ConflictError(
                    "the newest version stays: its number would be used again", got=shorten(name)
                )
            path.unlink()
            sync_directory(directory)

    def _existing(self, name: str) -> Path:
        """The file of a set that is there; raises NotFoundError naming others."""
        path = None if self._directory is None else self._directory / f"{name}{SUFFIX}"
        if path is None or not is_name(name) or not path.is_file():
            raise unknown("weight set", name, self.names())
        return path

    def _stems(self) -> list[str]:
        if self._directory is None:
            return []
        try:
            with os.scandir(self._directory) as entries:
                found = [entry.name.removesuffix(SUFFIX) for entry in entries if _is_set(entry)]
        except OSError as error:
            log.error("the directory %s of the settings cannot be read: %s", self._directory, error)
            raise NbestError("a directory of the service is gone; its log has the details") from error
        return sorted(found)

    def _versions(self, name: str) -> list[int]:
        pairs = (_VERSIONED.fullmatch(stem) for stem in self._stems())
        return [int(pair[2]) for pair in pairs if pair and pair[1] == name]

    def _version(self, name: str, content: bytes) -> int | None:
        """The newest version of `name` if it has this content; of NAME@N it is N."""
        if found := _VERSIONED.fullmatch(name):
            return int(found[2])
        newest = max(self._versions(name), default=0)
        assert self._directory is not None
        try:
            same = newest > 0 and _path(self._directory, name, newest).read_bytes() == content
        except OSError:
            return None
        return newest if same else None

    def _writable(self, name: str) -> Path:
        """The directory, for a name that can be written there."""
        if not _WRITABLE.fullmatch(name):
            raise ConflictError(
                "not a name to write under: versions are numbered by the service",
                expected="letters, digits, '_', '-', '+' and '.', 100 at most, the first no sign",
                got=shorten(name),
            )
        return self._own()

    def _own(self) -> Path:
        if self._directory is None:
            raise ConflictError(
                "the service has no directory of weight sets", expected="nbest serve --weights"
            )
        return self._directory

    def _check_room(self, more: int) -> None:
        count = len(self._stems())
        if count + more > self._most_files:
            raise StorageError(
                "too many weight sets and versions",
                expected=f"at most {self._most_files} files; DELETE versions that nobody needs",
                got=f"{count} and {more} more",
            )


def tag_of(content: bytes) -> str:
    """The entity tag of a file: strong, and the same on every machine."""
    return f'"{sha256_hex(content)}"'


def _path(directory: Path, name: str, version: int) -> Path:
    return directory / f"{name}@{version}{SUFFIX}"


def _is_set(entry: "os.DirEntry[str]") -> bool:
    return entry.name.endswith(SUFFIX) and is_name(entry.name.removesuffix(SUFFIX)) and entry.is_file()


def _content(name: str, path: Path) -> bytes:
    """Raises WeightSetFileError; its path is for the log only."""
    try:
        return path.read_bytes()
    except OSError as error:
        log.error("the weight set %r cannot be read: %s", name, error)
        raise WeightSetFileError(f"the weight set {name!r} cannot be read") from error


def _parsed(name: str, content: bytes) -> WeightSet:
    try:
        try:
            text = content.decode().removeprefix("\ufeff")
        except UnicodeDecodeError:
            raise FormatError("invalid UTF-8", expected="UTF-8 text") from None
        return parse_weights(text, f"{name}{SUFFIX}")
    except InputError as error:
        log.error("the weight set %r cannot be read: %s", name, error)
        message = f"the weight set {name!r} cannot be read: {error.message}"
        raise WeightSetFileError(message, expected=error.expected, got=error.got) from error


def _own_content(path: Path) -> bytes | None:
    """What is there, or None; raises ConflictError for a link or no file: those are not written through."""
    if not os.path.lexists(path):
        return None
    if path.is_symlink() or not path.is_file():
        raise ConflictError("a link or a directory has that name; only the operator changes it")
    return path.read_bytes()


def _write(path: Path, content: bytes) -> None:
    with write_whole(path) as stream:
        stream.write(content)


@contextmanager
def _storing() -> Iterator[None]:
    """What the disk refuses becomes a StorageError without paths; those are for the log."""
    try:
        yield
    except NotFoundError:
        raise  # of the name that was asked for
    except (OSError, InputError) as error:
        log.error("a weight set cannot be written: %s", error)
        raise StorageError("the weight set cannot be written; the service's log has the details") from error
