"""One writer at a time in a directory, be it a thread or another process."""

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
