"""One at a time in a directory, be it a thread or another process: others wait, or are refused."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def locked(directory: Path) -> Iterator[None]:
    """Waits until nobody else is in such a block for this directory; raises OSError where it is not there.

    The lock is on the directory itself: no file of it stays behind, and it ends with its process.
    """
    handle = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


@contextmanager
def at_work(folder: Path, refusal: Exception) -> Iterator[None]:
    """Makes the folder, where its parent is, and raises `refusal` where another is in such a block for it.

    The block may remove the folder; the lock is its file ``lock``, and ends with its process.
    """
    while True:
        folder.mkdir(exist_ok=True)
        try:
            handle = os.open(folder / "lock", os.O_RDWR | os.O_CREAT, 0o666)
        except FileNotFoundError:  # a run that ended took the folder away just now
            continue
        try:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise refusal from None
            if not _is_at(handle, folder / "lock"):
                continue
            yield
            return
        finally:
            os.close(handle)


def _is_at(handle: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(handle), path.stat())
    except FileNotFoundError:
        return False
