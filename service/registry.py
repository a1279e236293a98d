"""Models by name: found by listing, never by path; loaded once, on first use."""

import asyncio
import logging
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from weakref import WeakValueDictionary, finalize

from models.model_folder import CONFIG, check_no_links_out
from nbest.errors import InputError, ModelFileError, NbestError
from service.model_files import ModelFacts, facts
from service.names import is_name, unknown
from service.readiness import Readiness
from service.scoring.messages import Step
from service.scoring.pool import Pool
from service.scoring.process import Start
from service.scoring.queue import ModelQueue
from service.telemetry import Telemetry

log = logging.getLogger("nbest.service")

MODEL_FILE = CONFIG  # a directory without it holds no model


@dataclass(frozen=True)
class LoadedModel:
    """A model in memory behind its queue; requests that began with it keep it until they end.

    number  of the model in the scoring processes
    facts   of its files, just before they were read
    """

    name: str
    number: int
    digest: str
    takes_context: bool
    resident_bytes: int
    facts: ModelFacts
    queue: ModelQueue


@dataclass(frozen=True)
class ModelEntry:
    """Where a model comes from, without loading it."""

    name: str
    source: str  # what the opener takes: a path, or the name of a shipped model
    shipped: bool
    directory: Path | None  # where its files are, where that is known


class Registry:
    """The models of a directory and the shipped ones; a directory's model hides a shipped namesake."""

    def __init__(
        self,
        directory: Path | None,
        shipped: Mapping[str, Path | None],
        start: Start,
        processes: int,
        *,
        queue_words: int,
        stuck_seconds: float,
        telemetry: Telemetry,
        readiness: Readiness,
    ) -> None:
        self._directory = directory
        self._shipped = dict(shipped)
        self.pool = Pool(start, processes, self, stuck_seconds=stuck_seconds)
        self._queue_words = queue_words
        self._telemetry = telemetry
        self._readiness = readiness
        self._in_use: WeakValueDictionary[int, LoadedModel] = WeakValueDictionary()
        self._loading: dict[str, asyncio.Task[LoadedModel]] = {}
        self._swapping = asyncio.Lock()  # one at a time: each is in memory twice
        if directory is not None:
            _tell_of_others(directory)

    def entries(self) -> list[ModelEntry]:
        """Every model there is now, by name."""
        found = {
            name: ModelEntry(name, name, shipped=True, directory=place)
            for name, place in self._shipped.items()
        }
        if self._directory is not None:
            for path in _children(self._directory):
                if (path / MODEL_FILE).is_file():
                    found[path.name] = ModelEntry(path.name, str(path), shipped=False, directory=path)
        return [found[name] for name in sorted(found)]

    def loaded(self) -> dict[str, LoadedModel]:
        """The models in memory, by name."""
        tasks = sorted(self._loading.items())
        return {name: task.result() for name, task in tasks if task.done() and not _failed(task)}

    def loading(self, name: str) -> bool:
        """Whether the model is about to be in memory."""
        task = self._loading.get(name)
        return task is not None and not task.done()

    def entry(self, name: str) -> ModelEntry:
        """The model called `name`; raises NotFoundError naming those that there are."""
        entries = {entry.name: entry for entry in self.entries()}
        if name not in entries:
            raise unknown("model", name, list(entries))
        return entries[name]

    async def get(self, name: str) -> LoadedModel:
        """The model called `name`, loaded at its first use; raises NotFoundError, ModelFileError."""
        task = self._loading.get(name)
        if task is None or _failed(task):
            entry = await asyncio.to_thread(self.entry, name)
            task = self._loading.get(name)  # others may have asked meanwhile
            if task is None or _failed(task):
                task = self._loading[name] = asyncio.create_task(self._load(entry))
        # Shielded: one caller who leaves does not cancel the load that others wait for.
        return await asyncio.shield(task)

    async def load(self, name: str) -> tuple[LoadedModel, bool]:
        """The model as its files are now, and whether it had to be loaded for that.

        One that is in memory serves on until the new one can; requests that began with it end with it. Where
        the new one cannot be loaded the old one stays. Raises as `get` does.
        """
        # A task of its own: a caller who leaves does not stop it half-way.
        return await asyncio.shield(asyncio.create_task(self._load_again(name)))

    async def unload(self, name: str) -> None:
        """Out of memory, once the requests that began with it have ended; its next use loads it again.

        Raises NotFoundError for a name that is none, loaded or not.
        """
        if self._loading.pop(name, None) is None:
            await asyncio.to_thread(self.entry, name)
        else:
            log.info("the model %r is unloaded", name)

    async def _load_again(self, name: str) -> tuple[LoadedModel, bool]:
        entry = await asyncio.to_thread(self.entry, name)
        async with self._swapping:
            task = self._loading.get(name)
            old = await self.get(name)
            if task is None or task is not self._loading.get(name):
                return old, True
            now = await asyncio.to_thread(_facts, entry)
            if now.digest is not None and now.digest == old.facts.digest:
                return old, False
            task = asyncio.create_task(self._load(entry))
            await asyncio.wait({task})
            model = task.result()
            self._loading[name] = task
            log.info("the model %r is %s now, and was %s", name, model.digest, old.digest)
            return model, True

    async def _load(self, entry: ModelEntry) -> LoadedModel:
        try:
            found = await self._opened(entry)
        except Exception:
            self._telemetry.loads.add(entry.name, "failed")
            raise
        self._telemetry.loads.add(entry.name, "loaded")
        return found

    async def _opened(self, entry: ModelEntry) -> LoadedModel:
        try:
            await asyncio.to_thread(_check_links, entry)
            known = await asyncio.to_thread(_facts, entry)
            opened = await self.pool.open(entry.source)
        except (InputError, OSError) as error:  # its path is for the log only
            log.error("the model %r cannot be loaded: %s", entry.name, error)
            message = f"the model {entry.name!r} cannot be loaded"
            if not isinstance(error, ModelFileError):
                raise ModelFileError(message) from error
            problem = f"{message}: {_inside(entry, error)}{error.message}"
            raise ModelFileError(problem, expected=error.expected, got=error.got) from error
        queue = ModelQueue(self.pool, opened, self._queue_words, ModelTelemetry(self._telemetry, entry.name))
        found = LoadedModel(
            entry.name,
            opened.model,
            opened.digest,
            opened.takes_context,
            opened.resident_bytes,
            known,
            queue,
        )
        self._in_use[found.number] = found
        # Closed when the last request that uses it has ended, in whatever thread that is.
        loop = asyncio.get_running_loop()
        finalize(found, _later, loop, self.pool.close_model, found.number).atexit = False
        return found

    # What the scoring processes tell

    def stepped(self, step: Step) -> None:
        """As of every observer of a pool."""
        model = self._in_use.get(step.model)
        if model is not None:
            model.queue.stepped(step)
            self._telemetry.step_tokens.observe(step.nodes, model.name)
            self._telemetry.scoring_seconds.add(model.name, by=step.seconds)

    def lost(self, how: str) -> None:
        """As of every observer of a pool."""
        self._telemetry.losses.add(how)

    def up(self, is_up: bool) -> None:
        """As of every observer of a pool."""
        self._readiness.scoring(is_up)

    def gone(self, model: int) -> None:
        """As of every observer of a pool: its next use loads it again."""
        for name, loaded in self.loaded().items():
            if loaded.number == model:
                del self._loading[name]


class ModelTelemetry:
    """What one model's queue tells."""

    def __init__(self, telemetry: Telemetry, model: str) -> None:
        self._telemetry = telemetry
        self._model = model

    def waited(self, seconds: float) -> None:
        """A job is in work."""
        self._telemetry.queue_seconds.observe(seconds, self._model)

    def abandoned(self) -> None:
        """Nobody waits for a job any more."""
        self._telemetry.abandoned.add(self._model)


def _later(loop: asyncio.AbstractEventLoop, call: Callable[[int], None], number: int) -> None:
    with suppress(RuntimeError):  # the loop is closed, and the processes with it
        loop.call_soon_threadsafe(call, number)


def _facts(entry: ModelEntry) -> ModelFacts:
    return ModelFacts() if entry.directory is None else facts(entry.directory, links=entry.shipped)


def _check_links(entry: ModelEntry) -> None:
    if entry.directory is not None and not entry.shipped:
        check_no_links_out(entry.directory)


def _inside(entry: ModelEntry, error: ModelFileError) -> str:
    """The file that is wrong, by its name in the model's directory."""
    where, directory = error.where or "", f"{entry.directory}/"
    return f"{where.removeprefix(directory)}: " if where.startswith(directory) else ""


def _failed(task: asyncio.Task[LoadedModel]) -> bool:
    return task.done() and (task.cancelled() or task.exception() is not None)


def _tell_of_others(directory: Path) -> None:
    for path in sorted(directory.iterdir()) if directory.is_dir() else ():
        if not is_name(path.name) and (path / MODEL_FILE).is_file():
            log.warning("%r in %s is no model's name: it is not served", path.name, directory)


def _children(directory: Path) -> list[Path]:
    if not directory.is_dir():
        log.error("the directory %s of the settings is gone", directory)
        raise NbestError("a directory of the service is gone; its log has the details")
    return sorted(path for path in directory.iterdir() if is_name(path.name))
