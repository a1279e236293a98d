"""Files in and out: compression by name, lines that end at a newline only, writes whole or not at all."""

import bz2
import gzip
import io
import lzma
import os
import sys
import tempfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, BinaryIO, cast

from nbest.errors import FormatError, NotFoundError

STDIO = "-"
MAX_LINE_BYTES = 64 * 1024 * 1024  # a line longer than this is not text of ours but a wrong file

_OPENERS: dict[str, Callable[..., IO[bytes]]] = {
    ".gz": cast("Callable[..., IO[bytes]]", gzip.open),
    ".bz2": cast("Callable[..., IO[bytes]]", bz2.open),
    ".xz": cast("Callable[..., IO[bytes]]", lzma.open),
}
_BROKEN_STREAM = (EOFError, OSError, zlib.error, lzma.LZMAError)


def open_bytes(path: str | os.PathLike[str]) -> IO[bytes]:
    """The file's bytes, decompressed by its name (.gz .bz2 .xz); ``-`` is standard input.

    Raises NotFoundError where there is no such file.
    """
    name = os.fspath(path)
    if name == STDIO:
        return sys.stdin.buffer
    if not os.path.exists(name):
        raise NotFoundError("no such file", where=name)
    if os.path.isdir(name):
        raise FormatError("is a directory", where=name, expected="a file")
    if name.endswith(".gz"):
        return cast("IO[bytes]", io.BufferedReader(gzip.GzipFile(name), 1 << 20))  # type: ignore[arg-type]
    return _OPENERS.get(Path(name).suffix, open)(name, "rb")


def read_lines(path: str | os.PathLike[str]) -> Iterator[tuple[int, str]]:
    """Pairs (line number from 1, line without its newline); lines end at ``\\n`` only.

    One trailing ``\\r`` (CRLF files) is taken off. Raises FormatError with file and line for invalid
    UTF-8, a truncated compressed stream, or a line above MAX_LINE_BYTES.
    """
    name = os.fspath(path)
    with open_bytes(path) as stream:
        yield from decode_lines(stream, "<stdin>" if name == STDIO else name)


def decode_lines(stream: IO[bytes] | BinaryIO, name: str) -> Iterator[tuple[int, str]]:
    """As `read_lines`, from an open byte stream; `name` stands in error messages."""
    number = 0
    while True:
        number += 1
        try:
            raw = stream.readline(MAX_LINE_BYTES + 1)
        except _BROKEN_STREAM as error:
            raise FormatError(f"broken compressed stream ({error})", where=f"{name}:{number}") from None
        if not raw:
            return
        if len(raw) > MAX_LINE_BYTES:
            raise FormatError(
                "line too long", where=f"{name}:{number}", expected=f"at most {MAX_LINE_BYTES} bytes"
            )
        try:
            line = raw.decode("utf-8")
        except UnicodeDecodeError as error:
            raise FormatError(
                "invalid UTF-8",
                where=f"{name}:{number}",
                expected="UTF-8 text",
                got=f"byte 0x{raw[error.start]:02x} at byte {error.start + 1} of the line",
            ) from None
        line = line.removesuffix("\n").removesuffix("\r")
        yield number, line


@contextmanager
def write_whole(path: str | os.PathLike[str]) -> Iterator[IO[bytes]]:
    """A byte stream that becomes `path` when the block ends well, and leaves no trace when it does not.

    Compressed by name (.gz .bz2 .xz; gzip carries no time, so equal content is equal bytes);
    ``-`` is standard output, where wholeness cannot be had.
    """
    name = os.fspath(path)
    if name == STDIO:
        yield sys.stdout.buffer
        sys.stdout.buffer.flush()
        return
    target = Path(name)
    if not target.parent.is_dir():
        raise NotFoundError("no such directory", where=str(target.parent))
    handle, temporary = tempfile.mkstemp(prefix=f".{target.name}.", suffix=".part", dir=target.parent)
    try:
        with os.fdopen(handle, "wb") as raw:
            if name.endswith(".gz"):
                with gzip.GzipFile(filename="", mode="wb", fileobj=raw, compresslevel=6, mtime=0) as packed:
                    with io.BufferedWriter(packed, 1 << 20) as buffered:  # type: ignore[type-var]
                        yield cast("IO[bytes]", buffered)
            elif target.suffix in _OPENERS:
                with _OPENERS[target.suffix](raw, "wb") as packed_other:
                    yield packed_other
            else:
                yield raw
            raw.flush()
            os.fsync(raw.fileno())
        umask = os.umask(0)
        os.umask(umask)
        os.chmod(temporary, 0o666 & ~umask)
        os.replace(temporary, target)
    except BaseException:
        with suppress(FileNotFoundError):
            os.unlink(temporary)
        raise


@contextmanager
def write_whole_directory(path: str | os.PathLike[str]) -> Iterator[Path]:
    """A fresh directory that becomes `path` when the block ends well, and is removed when it does not.

    An existing directory at `path` is replaced only at the end.
    """
    target = Path(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{target.name}.", suffix=".part", dir=target.parent) as holder:
        fresh = Path(holder) / "new"
        fresh.mkdir()
        yield fresh
        if target.exists():
            os.rename(target, Path(holder) / "old")
        os.rename(fresh, target)
