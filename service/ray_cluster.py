"""A Ray cluster for the time of one command: the one of RAY_ADDRESS, or processes of this machine.

Ray's own ways are kept out of the command's: nothing is reported to anybody, no dashboard is started, what
it logs stays in its files, signals are the command's, and at the end, however that comes, its processes are
gone.
"""

import logging
import os
import signal
import tempfile
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from importlib.util import find_spec
from pathlib import Path

from nbest.errors import ConfigError, NbestError, shorten

ADDRESS = "RAY_ADDRESS"  # what `ray job submit` sets, too
# For blocks that wait and results that nobody has taken yet; what does not fit Ray puts on the disk.
STORE_BYTES = 512 * 1024 * 1024
LONGEST_PLACE = 30  # letters: names of sockets end 75 further on, and the system takes 107
SIGNALS = (signal.SIGINT, signal.SIGTERM)


def prepare(where: str) -> None:
    """To be called before Ray is imported, when it reads its settings. Raises ConfigError where it is not."""
    if find_spec("ray") is None:
        raise ConfigError("Ray is not installed", where=where, expected="pip install 'nbest[ray]'")
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")  # its C++ parts write on standard error
    # What it has to tell of processes that died it would print on standard output, where lists may go.
    os.environ.update(RAY_DEDUP_LOGS="1", RAY_DEDUP_LOGS_SKIP_REGEX="^")
    os.environ.pop("RAY_DEDUP_LOGS_ALLOW_REGEX", None)


@contextmanager
def connected(processors: int) -> Iterator[None]:
    """Ray at work: what this process has begun already, the cluster of RAY_ADDRESS, or one of its own.

    processors  that a cluster of its own counts, for its books; there may be more or fewer

    Raises ConfigError for an address that cannot be used, NbestError where nobody answers there.
    """
    import ray

    if ray.is_initialized():
        yield
        return
    address = os.environ.get(ADDRESS, "")
    if address.startswith("ray://"):
        raise ConfigError(
            "the lists are read on a machine of the cluster",
            where=ADDRESS,
            expected="the command to run there (ray job submit, or on the head with RAY_ADDRESS=auto)",
            got=shorten(address),
        )
    with tempfile.TemporaryDirectory(prefix="ray-", dir=_place(), ignore_cleanup_errors=True) as folder:
        try:
            with _own_signals(), _silent():
                if address:
                    ray.init(address, log_to_driver=False, logging_level=logging.ERROR)
                else:
                    ray.init(
                        "local",
                        num_cpus=processors,
                        object_store_memory=STORE_BYTES,
                        include_dashboard=False,
                        log_to_driver=False,
                        logging_level=logging.ERROR,
                        _temp_dir=folder,
                    )
            yield
        except ConnectionError as error:
            raise NbestError("no cluster answers", where=f"{ADDRESS}={address}", got=str(error)) from None
        finally:
            ray.shutdown()


def _place() -> str:
    """Where temporary files go, if Ray's sockets may have so long a name."""
    usual = tempfile.gettempdir()
    return usual if len(usual) <= LONGEST_PLACE else str(Path("/tmp"))  # noqa: S108 - a fresh folder in it


@contextmanager
def _silent() -> Iterator[None]:
    """Nothing on standard error: Ray's C++ parts say there that they will say nothing."""
    with ExitStack() as stack:
        nowhere = stack.enter_context(open(os.devnull, "wb"))
        before = os.dup(2)
        stack.callback(os.close, before)
        stack.callback(os.dup2, before, 2)
        os.dup2(nowhere.fileno(), 2)
        yield


@contextmanager
def _own_signals() -> Iterator[None]:
    """What Ray does about signals is undone: the command has its own way to end."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.getsignal(number) for number in SIGNALS}
    terminated = False
    try:
        yield
    except SystemExit:  # Ray's answer to SIGTERM while it starts
        terminated = True
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    if terminated:
        signal.raise_signal(signal.SIGTERM)
