"""Blocks of lists through models, in this process, in several or on a cluster: what a batch needs of models.

Each process opens the models once and scores with one thread, unless told otherwise: the last bits of a score
may depend on the number of threads, and output must not depend on the number of processes.
"""

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nbest.errors import ConfigError

if TYPE_CHECKING:
    from models.scoring.engine import Precision
    from rescoring.batch.block import Block, Done, Settings
    from rescoring.batch.run import Engine
    from rescoring.scorer import Named
    from service.remote import Server
    from service.scorers import TokenScorer


@dataclass(frozen=True)
class Models:
    """The models of a batch, as the command line names them; to be opened in each process.

    device   cpu or cuda
    threads  of torch in each process; None: OMP_NUM_THREADS, else one
    server   where the models are, if not here
    digests  of the server's models, where they are known: others are an error
    """

    names: tuple[str, ...]
    self_normalized: bool = False
    precision: "Precision" = "fp32"
    threads: int | None = None
    server: "Server | None" = None
    digests: tuple[str, ...] = ()
    device: str = "cpu"

    def known(self, opened: "Sequence[Named]") -> "Models":
        """The same for other processes, which must find the same models."""
        return self if self.server is None else replace(self, digests=tuple(one.digest for one in opened))

    def open(self) -> "list[TokenScorer]":
        """The scorers; raises as `open_scorers` does."""
        from service.cli.loading import open_scorers

        if not self.names:
            return []
        if self.server is not None:
            return open_scorers(self.names, server=self.server, digests=self.digests)
        import torch

        threads = self.threads or (None if os.environ.get("OMP_NUM_THREADS") else 1)
        if threads is not None:
            torch.set_num_threads(threads)
        return open_scorers(
            self.names,
            self_normalized=self.self_normalized,
            precision=self.precision,
            device=self.device,
        )


@dataclass(frozen=True)
class BlockTask:
    """Makes the function of blocks, in a process of its own.

    made  what `making` must say there, on a machine that may be another one
    """

    settings: "Settings"
    models: Models
    made: dict[str, Any] | None = None

    def __call__(self) -> "Callable[[Block], Done]":
        """Opens the models; the function rescores one block. Raises ConfigError where `made` differs."""
        from functools import partial

        from rescoring.batch.block import rescore_block

        _say_nothing()  # whatever the models have to say at their opening was said by the first process
        scorers = self.models.open()
        if self.made is not None:
            _check_made(self.made, making(self.models, scorers))
        return partial(rescore_block, settings=self.settings, scorers=scorers)


@contextmanager
def engine_here(
    settings: "Settings",
    models: Models,
    opened: "Sequence[TokenScorer]",
    jobs: int,
    say: Callable[[str], None],
) -> "Iterator[Engine]":
    """Blocks in order by `jobs` processes; one is this one, with the models that are `opened` already."""
    from rescoring.batch import workers
    from rescoring.batch.block import rescore_block

    def here(blocks: "Iterable[Block]") -> "Iterator[Done]":
        return (rescore_block(block, settings, opened) for block in blocks)

    def there(blocks: "Iterable[Block]") -> "Iterator[Done]":
        return workers.in_order(BlockTask(settings, models), blocks, jobs, say)

    yield here if jobs == 1 else there


@contextmanager
def engine_on_ray(
    settings: "Settings",
    models: Models,
    names: "Sequence[Named]",
    jobs: int,
    blocks: int,
    say: Callable[[str], None],
) -> "Iterator[Engine]":
    """So many `blocks` in order by `jobs` processes of a Ray cluster; 0: all that it has room for.

    Raises ConfigError where Ray is not installed, or the cluster has no processor (device) for a process.
    """
    from service import ray_cluster

    ray_cluster.prepare("--engine ray")
    from service import ray_batch

    made = making(models, names)
    models = replace(models, threads=made.get("threads"))  # whatever the environment says over there
    with ray_batch.running(BlockTask(settings, models, made), jobs, blocks, say) as engine:
        yield engine


def identity_of_run(
    settings: "Settings",
    models: Models,
    names: "Sequence[Named]",
    files: Sequence[str],
    reading: Sequence[object],
) -> dict[str, Any]:
    """All that the bytes of the output depend on, in plain JSON: a run may be taken up where it is the same.

    Whether lists that fail are set aside is not in it: it changes nothing about those that do not.
    """
    from rescoring.batch.block import BLOCK_HYPOTHESES
    from rescoring.weights import dump_weights

    found: dict[str, Any] = {
        "lists": _identity_of(files[0]),
        "other files": [_identity_of(_without_unit(path)) for path in files[1:]],
        "reading": list(reading),
        "format": settings.format,
        "one best": [settings.one_best, settings.detokenize],
        "weights": None if settings.weights is None else dump_weights(settings.weights),
        "unknown features": settings.unknown_feature,
        "decoder's total": settings.with_total,
        "text": settings.text,
        "block": BLOCK_HYPOTHESES,
    }
    return found | making(models, names)


def making(models: Models, names: "Sequence[Named]") -> dict[str, Any]:
    """What of a process that has opened the models the bytes depend on, in plain JSON."""
    from importlib.metadata import version

    from nbest import __version__

    found: dict[str, Any] = {"models": {one.name: one.digest for one in names}, "version": __version__}
    if models.server is not None:
        found["engine"] = ["server"]
    elif models.names:
        import torch

        from models.scoring.native_engine import kernels

        found["threads"] = torch.get_num_threads()
        found["engine"] = ["torch " + version("torch"), "native" if kernels() is not None else "torch"]
        found["device"] = models.device
    return found


def _identity_of(path: str) -> list[Any]:
    """What tells a file, or a directory with all its files, from a later version: names, sizes, times."""
    place = Path(path)
    if not place.is_dir():
        return [place.name, *(_stamp(place) if place.is_file() else ())]
    files = sorted(one for one in place.rglob("*") if one.is_file())
    return [place.name, *([str(one.relative_to(place)), *_stamp(one)] for one in files)]


def _without_unit(path: str) -> str:
    """The path of a score file, without the ``log10:`` that may stand before it."""
    return path if Path(path).exists() else path.partition(":")[2]


def _stamp(path: Path) -> list[int]:
    found = path.stat()
    return [found.st_size, found.st_mtime_ns]


def _check_made(there: dict[str, Any], here: dict[str, Any]) -> None:
    import platform

    for name, expected in there.items():
        if here.get(name) != expected:
            raise ConfigError(
                f"this machine has another {name} than the one that gives out the work",
                where=platform.node(),
                expected=str(expected),
                got=str(here.get(name)),
            )


def _say_nothing() -> None:
    import logging

    for room in ("rescoring", "models", "nbest"):
        logging.getLogger(room).addHandler(logging.NullHandler())
        logging.getLogger(room).propagate = False
