"""Files in and out: compression by name, lines that end at a newline only, writes whole or not at all."""

import bz2
import errno
import gzip
import importlib
import io
import lzma
import os
import secrets
import stat
import sys
import tempfile
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from fnmatch import fnmatch
from pathlib import Path
from typing import IO, Any, BinaryIO, cast

from nbest.errors import ConfigError, FormatError, InputError, NotFoundError

STDIO = "-"
_STDOUT = (STDIO, "/dev/stdout")
MAX_LINE_BYTES = 64 * 1024 * 1024  # a line longer than this is not text of ours but a wrong file

_BUFFER_BYTES = 1 << 20  # GzipFile.readline alone took 0.32 s for 202,800 lines, with this buffer 0.22 s
_TAKEN = (errno.ENOTEMPTY, errno.EEXIST, errno.ENOENT)  # by another writer, who came in between
COMPRESSED = (".gz", ".bz2", ".xz", ".zst")  # names that say how a file is packed
_PACKED = {  # what packed files begin with
    b"\x1f\x8b": ".gz",
    b"BZh": ".bz2",
    b"\xfd7zXZ\x00": ".xz",
    b"\x28\xb5\x2f\xfd": ".zst",
}


def _zstd() -> Any:
    """Python's own zstd (3.14), or its backport; raises ConfigError where there is neither."""
    for name in ("compression.zstd", "backports.zstd"):
        try:
            return importlib.import_module(name)
        except ImportError:
            continue
    raise ConfigError(
        "zstd is not installed", where=".zst", expected="Python 3.14, or pip install 'nbest[zstd]'"
    )


def _broken_stream() -> tuple[type[Exception], ...]:
    """What decompressors raise; zstd's own only where it is loaded."""
    loaded = [sys.modules[name] for name in ("compression.zstd", "backports.zstd") if sys.modules.get(name)]
    return (EOFError, OSError, zlib.error, lzma.LZMAError, *(one.ZstdError for one in loaded))


def _decompressed(name: str) -> IO[bytes]:
    match Path(name).suffix:
        case ".gz":
            # gzip.py takes no bytes at all for an empty stream; it is one that was cut off before its header.
            if Path(name).is_file() and Path(name).stat().st_size == 0:
                raise FormatError("broken compressed stream (the file is empty)", where=name)
            return cast("IO[bytes]", io.BufferedReader(_SingleReads(gzip.GzipFile(name)), _BUFFER_BYTES))
        case ".bz2":
            return cast("IO[bytes]", bz2.open(name))
        case ".xz":
            return cast("IO[bytes]", lzma.open(name))
        case ".zst":
            return cast("IO[bytes]", _zstd().open(name))
    return open(name, "rb")


def _compressed(raw: IO[bytes], name: str) -> IO[bytes]:
    match Path(name).suffix:
        case ".gz":
            packed = gzip.GzipFile(filename="", mode="wb", fileobj=raw, compresslevel=6, mtime=0)
            return cast("IO[bytes]", io.BufferedWriter(packed, _BUFFER_BYTES))
        case ".bz2":
            return cast("IO[bytes]", bz2.open(raw, "wb"))
        case ".xz":
            return cast("IO[bytes]", lzma.open(raw, "wb"))
        case ".zst":
            return cast("IO[bytes]", _zstd().open(raw, "wb"))
    return raw


def _packing(raw: IO[bytes], name: str, as_given: bool) -> IO[bytes]:
    return cast("IO[bytes]", _LentStream(raw)) if as_given else _compressed(raw, name)


def packed(data: bytes, name: str) -> bytes:
    """What a file of that name holds: `data`, compressed by the name; equal content is equal bytes.

    Several, one behind the other, are what such a file holds too: readers unpack them as one.
    """
    raw = io.BytesIO()
    stream = _compressed(raw, name)
    stream.write(data)
    if stream is not raw:
        stream.close()
    return raw.getvalue()


class _SingleReads(io.RawIOBase):
    """A decompressor read piece by piece, so that what precedes a broken place still comes out."""

    def __init__(self, packed: gzip.GzipFile) -> None:
        self._packed = packed

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        piece = self._packed.read1(len(buffer))
        buffer[: len(piece)] = piece
        return len(piece)

    def close(self) -> None:
        self._packed.close()
        super().close()


class _LentStream:
    """A stream that belongs to someone else: `close` and the end of a `with` leave it open."""

    def __init__(self, stream: IO[bytes]) -> None:
        self._stream = stream

    def __getattr__(self, name: str) -> Any:  # whatever a byte stream can do
        return getattr(self._stream, name)

    def __iter__(self) -> Iterator[bytes]:
        return iter(self._stream)

    def __enter__(self) -> "_LentStream":
        return self

    def __exit__(self, *_: object) -> None:
        return None

    def close(self) -> None:
        return None


def open_bytes(path: str | os.PathLike[str]) -> IO[bytes]:
    """The file's bytes, unpacked by its name (.gz .bz2 .xz .zst); ``-`` is standard input, which stays open.

    Raises NotFoundError where there is no such file, InputError where it may not be read, FormatError for a
    directory and for a .gz of no bytes at all.
    """
    name = os.fspath(path)
    if name == STDIO:
        return cast("IO[bytes]", _LentStream(sys.stdin.buffer))
    try:
        return _decompressed(name)
    except FileNotFoundError:
        raise NotFoundError("no such file", where=name) from None
    except IsADirectoryError:
        raise FormatError("is a directory", where=name, expected="a file") from None
    except OSError as error:
        raise InputError(f"cannot be read: {error.strerror}", where=name) from None


def check_rereadable(path: str | os.PathLike[str]) -> None:
    """Raises what `open_bytes` would raise, and InputError for a stream: it can be read only once."""
    found = Path(path)
    if os.fspath(path) == STDIO or (found.exists() and not found.is_file() and not found.is_dir()):
        raise InputError("cannot be read more than once", where=str(path), expected="a file")
    open_bytes(path).close()


def read_lines(path: str | os.PathLike[str]) -> Iterator[tuple[int, str]]:
    """Pairs (line number from 1, line without its newline); lines end at ``\\n`` only.

    One trailing ``\\r`` (CRLF files) and a byte order mark at the very start are taken off. Raises
    FormatError with file and line for invalid UTF-8, a truncated compressed stream, or a line above
    MAX_LINE_BYTES.
    """
    name = os.fspath(path)
    with open_bytes(path) as stream:
        yield from decode_lines(stream, "<stdin>" if name == STDIO else name)


def is_text(line: str) -> bool:
    """Whether a line was UTF-8, where `decode_lines` kept it `anyhow`."""
    try:
        return line.isascii() or bool(line.encode())
    except UnicodeEncodeError:
        return False


def decode_lines(
    stream: IO[bytes] | BinaryIO, name: str, *, anyhow: bool = False
) -> Iterator[tuple[int, str]]:
    """As `read_lines`, from an open byte stream; `name` stands in error messages.

    With `anyhow` a line of invalid UTF-8 comes too, and is told by `is_text`.
    """
    number = 0
    while True:
        number += 1
        try:
            raw = stream.readline(MAX_LINE_BYTES + 1)
        except _broken_stream() as error:
            raise FormatError(f"broken or truncated stream ({error})", where=f"{name}:{number}") from None
        if not raw:
            return
        if len(raw) > MAX_LINE_BYTES:
            raise FormatError(
                "line too long", where=f"{name}:{number}", expected=f"at most {MAX_LINE_BYTES} bytes"
            )
        try:
            line = raw.decode("utf-8", "surrogateescape" if anyhow else "strict")
        except UnicodeDecodeError as error:
            raise FormatError(
                "invalid UTF-8",
                where=f"{name}:{number}",
                expected=_text_expected(raw) if number == 1 else "UTF-8 text",
                got=f"byte 0x{raw[error.start]:02x} at byte {error.start + 1} of the line",
            ) from None
        if number == 1:
            line = line.removeprefix("\ufeff")
        yield number, line.removesuffix("\n").removesuffix("\r")


def _text_expected(start: bytes) -> str:
    """What a file should have been that begins with `start`, which is no text."""
    packed = [suffix for begins, suffix in _PACKED.items() if start.startswith(begins)]
    return f"UTF-8 text; this is packed: unpack it, or call it NAME{packed[0]}" if packed else "UTF-8 text"


@contextmanager
def write_whole(path: str | os.PathLike[str], *, as_given: bool = False) -> Iterator[IO[bytes]]:
    """A byte stream that becomes `path` when the block ends well, and leaves no trace when it does not.

    Compressed by name (.gz .bz2 .xz .zst; gzip carries no time, so equal content is equal bytes), unless the
    bytes are `as_given`: `packed` already. An existing file keeps its permissions, a link its place. ``-`` is
    standard output; there, and in a pipe or a device, wholeness cannot be had. Raises NotFoundError or
    InputError before the block begins where `path` cannot be written, and InputError where the device takes
    no more.
    """
    name = os.fspath(path)
    with _named(name):
        if name in _STDOUT:
            if sys.stdout is None:
                raise InputError("standard output is closed", where=name)
            yield cast("IO[bytes]", _LentStream(sys.stdout.buffer))
            sys.stdout.buffer.flush()
            return
        mode = _mode(name)
        if mode is not None and not stat.S_ISREG(mode):  # to replace /dev/null by a file would be wrong
            with open(name, "wb") as device, _packing(device, name, as_given) as stream:
                yield stream
            return
        target = Path(os.path.realpath(name))
        with _create_beside(target) as (handle, temporary):
            # The caller may wrap and close the stream; the handle stays ours until the bytes are on disk.
            with open(handle, "wb", closefd=False) as raw, _packing(raw, name, as_given) as stream:
                yield stream
            if mode is not None:
                temporary.chmod(stat.S_IMODE(mode))
            os.fsync(handle)
            temporary.replace(target)


def check_output(path: str | os.PathLike[str]) -> None:
    """Raises what `write_whole` would raise before its block begins: to know it before the work is done."""
    name = os.fspath(path)
    if name.endswith(".zst"):
        _zstd()
    mode = None if name in _STDOUT else _mode(name)
    if name not in _STDOUT and (mode is None or stat.S_ISREG(mode)):
        with _create_beside(Path(os.path.realpath(name))):
            pass


def is_stream(path: str | os.PathLike[str]) -> bool:
    """Whether `path` is standard input or output, a pipe or a device: nothing that can be taken up again."""
    name = os.fspath(path)
    if name in (STDIO, *_STDOUT, "/dev/stdin"):
        return True
    place = Path(name)
    return place.exists() and not place.is_file() and not place.is_dir()


def put_in_place(file: Path, path: str | os.PathLike[str]) -> None:
    """The finished `file` takes the place of `path`, on the same disk: there is the old one, then the new.

    An existing file's permissions are kept, a link's place; what is in `file` is on the disk before.
    """
    name = os.fspath(path)
    with _named(name):
        mode = _mode(name)
        target = Path(os.path.realpath(name))
        with file.open("rb") as stream:
            os.fsync(stream.fileno())
        if mode is not None:
            file.chmod(stat.S_IMODE(mode))
        file.replace(target)
        sync_directory(target.parent)


def put_directory_in_place(
    fresh: Path, path: str | os.PathLike[str], holder: Path, *, replaces: Sequence[str] = ()
) -> None:
    """As `put_in_place`, for the finished directory `fresh`; an old one goes into `holder`.

    Raises InputError where `path` has become a directory that holds anything but `replaces`.
    """
    target = Path(os.path.realpath(path))
    _sync_files(fresh)
    _check_replaceable(target, replaces, os.fspath(path))
    _swap(fresh, target, holder)
    sync_directory(target.parent)


def sync_directory(directory: Path) -> None:
    """The names in it are on the disk."""
    handle = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


@contextmanager
def _named(name: str) -> Iterator[None]:
    """A full device does not say which it is; a reader who went away is for the caller to judge."""
    try:
        yield
    except BrokenPipeError:
        raise
    except OSError as error:
        if error.filename is not None:
            raise
        raise InputError(f"cannot be written: {error.strerror or error}", where=name) from None


def _mode(name: str) -> int | None:
    """`st_mode` of the file that `name` leads to, or None where it leads to nothing yet."""
    try:
        mode = Path(name).stat().st_mode
    except FileNotFoundError:
        return None
    except OSError as error:
        raise InputError(f"cannot be written: {error.strerror}", where=name) from None
    if stat.S_ISDIR(mode):
        raise InputError("is a directory", where=name, expected="a file name")
    return mode


@contextmanager
def _create_beside(target: Path) -> Iterator[tuple[int, Path]]:
    """A new file in `target`'s directory with the permissions of the umask, and its descriptor.

    Whatever happens, it is not there afterwards under its own name.
    """
    temporary = target.parent / f".nbest-{secrets.token_hex(8)}.part"
    try:
        handle = _create(temporary, target)
        try:
            yield handle, temporary
        finally:
            os.close(handle)
    finally:
        temporary.unlink(missing_ok=True)


def _create(temporary: Path, target: Path) -> int:
    try:
        return os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666)
    except FileNotFoundError:
        raise NotFoundError("no such directory", where=str(target.parent)) from None
    except OSError as error:
        raise InputError(f"cannot be written: {error.strerror}", where=str(target)) from None


@contextmanager
def write_whole_directory(path: str | os.PathLike[str], *, replaces: Sequence[str] = ()) -> Iterator[Path]:
    """A fresh directory that becomes `path` when the block ends well, and is removed when it does not.

    A directory that is there already is replaced only if all it holds has names that match the patterns
    `replaces`, so that nothing but what this program wrote is ever lost; only at the end, and put back if
    that fails. Raises NotFoundError or InputError before the block begins where `path` is a file or another
    directory, or cannot be made.
    """
    check_output_directory(path, replaces=replaces)
    target = Path(os.path.realpath(path))
    with (
        _named(os.fspath(path)),
        tempfile.TemporaryDirectory(prefix=".nbest-", suffix=".part", dir=target.parent) as holder,
    ):
        fresh = Path(holder) / "new"
        fresh.mkdir()
        yield fresh
        put_directory_in_place(fresh, path, Path(holder), replaces=replaces)


def check_output_directory(path: str | os.PathLike[str], *, replaces: Sequence[str] = ()) -> None:
    """Raises what `write_whole_directory` would raise before its block begins."""
    name = os.fspath(path)
    if name == STDIO:
        raise InputError(
            "a directory cannot go to standard output", where=name, expected="a new directory's name"
        )
    target = Path(os.path.realpath(name))
    _check_replaceable(target, replaces, name)
    with _create_beside(target):
        pass


def _check_replaceable(target: Path, replaces: Sequence[str], where: str) -> None:
    try:
        names = sorted(one.name for one in target.iterdir())
    except FileNotFoundError:  # never there, or another writer is about to put its own in place
        return
    except NotADirectoryError:
        raise InputError("is a file", where=where, expected="a directory or a new name") from None
    kept = [name for name in names if not any(fnmatch(name, pattern) for pattern in replaces)]
    if kept:
        found = f"{kept[0]!r} in it"
        raise InputError("is a directory in use", where=where, expected="a new name", got=found)


def _sync_files(directory: Path) -> None:
    for file in directory.rglob("*"):
        if file.is_file():
            with file.open("rb") as stream:
                os.fsync(stream.fileno())


def _put_back(old: Path, target: Path) -> None:
    try:
        old.rename(target)
    except OSError as error:
        if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):  # else another writer's is there now
            raise


def _swap(fresh: Path, target: Path, holder: Path) -> None:
    """`fresh` takes `target`'s name; what had it goes into `holder`. The last of several writers wins."""
    for attempt in range(100):
        old = holder / f"old-{attempt}"
        try:
            if target.exists():
                target.rename(old)
            fresh.rename(target)
            return
        except BaseException as error:  # an interrupt too: what is left in `holder` will be removed
            if old.exists() and not target.exists():
                _put_back(old, target)
            # Another writer came in between, perhaps even now: look again.
            if not isinstance(error, OSError) or error.errno not in _TAKEN or attempt == 99:
                raise
