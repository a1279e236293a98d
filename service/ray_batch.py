"""Blocks through a Ray cluster: one task reads them, actors with resident models rescore them, in order.

A row is a block of whole lists, with the ids of its first and its last. The reading task runs on this machine
and asks for no processor, so that no actor can keep it from running. An actor that dies is started anew by
Ray, and its blocks are done again; a ledger on this machine counts how often each was begun, so that a block
that kills every process that takes it ends the run. Results come in order: the journal is that of any engine.
"""

import logging
import os
import pickle
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow
import ray
import ray.data
from ray.exceptions import RayError

from nbest.errors import ConfigError, NbestError, shorten
from rescoring.batch.block import Block, Done
from rescoring.batch.workers import RETRIES, portable
from rescoring.parallel import processors
from service.batch import BlockTask
from service.ray_cluster import connected

if TYPE_CHECKING:
    from rescoring.batch.run import Engine

LEFT_ALONE = 1  # processors of a cluster: with all of them taken nothing else of Ray would run
FAILED = -1  # in place of a block's number: what stands there is an error of the reading task


@contextmanager
def running(task: BlockTask, jobs: int, blocks: int, say: Callable[[str], None]) -> "Iterator[Engine]":
    """An engine of `jobs` actors, as long as the cluster is there; 0: all that it has room for.

    There are never more than `blocks`. `say` is told of processes that died. Raises ConfigError for a cluster
    without room; the engine raises what a block raises, and NbestError where processes keep dying.
    """
    each: dict[str, float] = {"num_cpus": task.models.threads or 1}
    if task.models.device == "cuda":
        each["num_gpus"] = 1
    wanted = min(jobs or processors() // int(each["num_cpus"]) or 1, blocks)
    with connected(wanted * int(each["num_cpus"]) + LEFT_ALONE):
        room = _room(each)
        if jobs > room:
            say(f"the cluster has room for {room} processes, not for {jobs}")
        actors = min(jobs or room, room, blocks)
        begun: list[Generator[Done, None, None]] = []

        def engine(todo: Iterable[Block]) -> Iterator[Done]:
            begun.append(_in_order(todo, task, actors, each, say))
            return begun[-1]

        try:
            yield engine
        finally:
            for results in begun:  # after an error they are in the middle of something
                results.close()


def _room(each: Mapping[str, float]) -> int:
    """How many actors the cluster has room for; raises ConfigError for none."""
    there = ray.cluster_resources()
    has = {"num_cpus": there.get("CPU", 0) - LEFT_ALONE, "num_gpus": there.get("GPU", 0)}
    room = int(min(has[name] // needed for name, needed in each.items()))
    if room < 1:
        raise ConfigError(
            "the cluster has no room for a process",
            where="--engine ray",
            expected=f"{each['num_cpus'] + LEFT_ALONE} processors"
            + (" and a GPU" if "num_gpus" in each else ""),
            got=f"{there.get('CPU', 0):g} processors, {there.get('GPU', 0):g} GPUs",
        )
    return room


def _in_order(
    todo: Iterable[Block], task: BlockTask, actors: int, each: Mapping[str, float], say: Callable[[str], None]
) -> Generator[Done, None, None]:
    here = {"ray.io/node-id": ray.get_runtime_context().get_node_id()}
    folder = str(Path.cwd())
    _settle()
    ledger = ray.remote(num_cpus=0, max_restarts=-1, max_task_retries=-1, label_selector=here)(
        _Ledger
    ).remote()
    rows = (
        ray.data.from_items([{"part": 0}])
        .map_batches(_read, fn_args=(todo, folder), batch_format="pyarrow", num_cpus=0, label_selector=here)
        .map_batches(
            _Rescoring,
            fn_constructor_args=(task, ledger, folder),
            batch_size=1,
            batch_format="pyarrow",
            compute=ray.data.ActorPoolStrategy(size=actors),
            **each,
        )
        .iter_rows()
    )
    last = None
    try:
        for row in rows:
            if row["attempt"] > 1:
                say(f"a worker process ended at {_named(row)}; another takes its place")
            content = pickle.loads(row["content"])  # noqa: S301 - of a process of this run
            if not row["well"]:
                raise content
            assert last is None or row["number"] == last + 1
            last = row["number"]
            yield content
    except RayError as error:
        raise NbestError("Ray failed", got=shorten(str(error), 400)) from error


def _settle() -> None:
    """How Ray Data goes about it: a row at a time, in order, without a word."""
    context = ray.data.DataContext.get_current()
    context.target_max_block_size = 1  # bytes: each row by itself goes to the next actor that is free
    context.execution_options.preserve_order = True
    context.enable_progress_bars = False
    context.print_on_execution_start = False
    logging.getLogger("ray.data").setLevel(logging.CRITICAL)


def _named(row: Mapping[str, Any]) -> str:
    return f"block {row['number'] + 1} (lists {shorten(row['first'])} to {shorten(row['last'])})"


class _Ledger:
    """How often each block was begun."""

    def __init__(self) -> None:
        self._begun: dict[int, int] = {}

    def begin(self, number: int) -> int:
        self._begun[number] = self._begun.get(number, 0) + 1
        return self._begun[number]


def _read(_: Any, todo: Iterable[Block], folder: str) -> Iterator[Any]:
    """A row for each block; what goes wrong is a row too, and the last one."""
    _go_to(folder)
    try:
        for block in todo:
            ids = block.lists.ids
            yield _table(number=block.number, first=ids[0], last=ids[-1], content=block)
    except Exception as error:
        yield _table(number=FAILED, first="", last="", content=portable(error))


class _Rescoring:
    """An actor. The models are opened with its first block: whatever happens then is counted and told."""

    def __init__(self, task: BlockTask, ledger: Any, folder: str) -> None:
        self._task, self._ledger, self._folder = task, ledger, folder
        self._work: Callable[[Block], Done] | None = None

    def __call__(self, table: Any) -> Any:
        (row,) = table.to_pylist()
        content = pickle.loads(row.pop("content"))  # noqa: S301 - of a process of this run
        if row["number"] == FAILED:
            return _table(**row, attempt=1, well=False, content=content)
        attempt = ray.get(self._ledger.begin.remote(row["number"]))
        if attempt > 1 + RETRIES:
            died = NbestError(
                f"{attempt - 1} worker processes died at {_named(row)}",
                expected="memory for a model and a block in each of --jobs processes",
            )
            return _table(**row, attempt=1, well=False, content=died)
        try:
            if self._work is None:
                _go_to(self._folder)
                self._work = self._task()
            return _table(**row, attempt=attempt, well=True, content=self._work(content))
        except Exception as error:
            return _table(**row, attempt=attempt, well=False, content=portable(error))


def _table(content: object, **columns: object) -> Any:
    """One row."""
    packed = pyarrow.array([pickle.dumps(content)], pyarrow.large_binary())
    return pyarrow.table({**{name: [value] for name, value in columns.items()}, "content": packed})


def _go_to(folder: str) -> None:
    """Relative names mean the same on every machine that has such a folder."""
    with suppress(OSError):
        os.chdir(folder)
