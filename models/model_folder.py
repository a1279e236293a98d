"""The files of a model directory, taken without trust: what is no regular file, or too large, is not read."""

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from nbest.errors import ModelFileError

CONFIG, WEIGHTS, VOCABULARY, CARD = "config.json", "model.safetensors", "vocabulary.json", "card.json"
PIECES = "pieces.model"
_MIB = 1 << 20
# Of what is read whole before it can be checked; 64 MiB of vocabulary are some five million words.
MOST_BYTES = {CONFIG: _MIB, CARD: 4 * _MIB, VOCABULARY: 64 * _MIB, PIECES: 64 * _MIB}
_KINDS = {
    stat.S_IFDIR: "a directory",
    stat.S_IFIFO: "a pipe",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}


@contextmanager
def open_file(folder: Path, name: str) -> Iterator[tuple[BinaryIO, int]]:
    """A file of the directory and its bytes in number; raises ModelFileError naming it."""
    path = folder / name
    try:
        _check_regular(path.stat(), path)  # before it is opened: opening alone may do things to a device
        with open(os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK), "rb") as stream:
            state = os.fstat(stream.fileno())
            _check_regular(state, path)
            yield stream, state.st_size
    except FileNotFoundError:
        raise ModelFileError("model file is missing", where=str(path)) from None
    except OSError as error:
        raise ModelFileError(f"cannot be read: {error.strerror}", where=str(path)) from None
    except MemoryError:
        raise ModelFileError("larger than the memory there is", where=str(path)) from None


def read_file(folder: Path, name: str) -> bytes:
    """The whole of a file that `MOST_BYTES` bounds; raises ModelFileError naming it."""
    most = MOST_BYTES[name]
    with open_file(folder, name) as (stream, _):
        content = stream.read(most + 1)
    if len(content) > most:
        raise ModelFileError(
            "model file is too large", where=str(folder / name), expected=f"at most {most} bytes"
        )
    return content


def check_no_links_out(folder: Path) -> None:
    """Raises ModelFileError for a file of the directory that is a link to something outside of it.

    For directories that others may have packed: what such a link leads to would be read, and told.
    """
    home = folder.resolve()
    for name in (CONFIG, WEIGHTS, VOCABULARY, CARD, PIECES):
        path = folder / name
        if path.is_symlink() and not _resolved(path).is_relative_to(home):
            raise ModelFileError(
                f"{name} is a link out of the model's directory", where=str(path), expected="a file in it"
            )


def _resolved(path: Path) -> Path:
    try:
        return path.resolve()
    except (OSError, RuntimeError):  # links in a circle
        return path.absolute()


def _check_regular(state: os.stat_result, path: Path) -> None:
    if not stat.S_ISREG(state.st_mode):
        got = _KINDS.get(stat.S_IFMT(state.st_mode), "something else")
        raise ModelFileError("not a regular file", where=str(path), expected="a file", got=got)
