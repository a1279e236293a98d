"""Models by name: found by listing, never by path; loaded once, on first use."""

import asyncio
import logging
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import NamedTuple, Protocol

from nbest.errors import InputError, ModelFileError, NbestError
from rescoring.scorer import Scorer
from service.batching import Batcher
from service.model_files import ModelFacts, facts
from service.names import is_name, unknown
from service.telemetry import ModelTelemetry, Telemetry

log = logging.getLogger("nbest.service")

MODEL_FILE = "config.json"  # a directory without it holds no model


class Token(Protocol):
    """A scored word, or ``</s>``."""

    @property
    def token(self) -> str:
        """As in the text."""

    @property
    def nat_log_prob(self) -> float:
        """Natural log-probability after what stands before it."""

    @property
    def is_oov(self) -> bool:
        """Whether the model does not know the word."""


class TextScore(NamedTuple):
    """The model's numbers for one text; ``</s>`` is counted and scored."""

    nat_log_prob: float
    token_count: int
    oov_count: int


class TokenScorer(Scorer, Protocol):
    """A scorer that can also tell its tokens apart; language models are."""

    def score_tokens(self, texts: Sequence[str]) -> Sequence[Sequence[Token]]:
        """For each text its tokens, ``</s>`` last."""


@dataclass(frozen=True)
class LoadedModel:
    """A model in memory behind its two queues; requests that began with it keep it until they end.

    facts  of its files, just before they were read
    """

    facts: ModelFacts
    scorer: TokenScorer
    scores: Batcher[TextScore]
    tokens: Batcher[Sequence[Token]]


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
        opener: Callable[[str], TokenScorer],
        executor: Executor,
        *,
        batch_words: int,
        queue_words: int,
        telemetry: Telemetry,
    ) -> None:
        self._directory = directory
        self._shipped = dict(shipped)
        self._opener = opener
        self._executor = executor
        self._limits = {"batch_words": batch_words, "queue_words": queue_words}
        self._telemetry = telemetry
        self._loading: dict[str, asyncio.Task[LoadedModel]] = {}
        self._swapping = asyncio.Lock()  # one at a time: each is in memory twice

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
            old = self.loaded().get(name)
            if old is None:
                return await self.get(name), True
            now = await asyncio.to_thread(_facts, entry)
            if now.digest is not None and now.digest == old.facts.digest:
                return old, False
            task = asyncio.create_task(self._load(entry))
            await asyncio.wait({task})
            model = task.result()
            self._loading[name] = task
            log.info("the model %r is %s now, and was %s", name, model.scorer.digest, old.scorer.digest)
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
            known = await asyncio.to_thread(_facts, entry)
            scorer = await asyncio.to_thread(self._opener, entry.source)
        except (InputError, OSError) as error:  # its path is for the log only
            log.error("the model %r cannot be loaded: %s", entry.name, error)
            message = f"the model {entry.name!r} cannot be loaded"
            if not isinstance(error, ModelFileError):
                raise ModelFileError(message) from error
            raise ModelFileError(
                f"{message}: {error.message}", expected=error.expected, got=error.got
            ) from error
        observer = ModelTelemetry(self._telemetry, entry.name)
        return LoadedModel(
            known,
            scorer,
            Batcher(partial(_text_scores, scorer), self._executor, observer=observer, **self._limits),
            Batcher(scorer.score_tokens, self._executor, observer=observer, **self._limits),
        )


def _facts(entry: ModelEntry) -> ModelFacts:
    return ModelFacts() if entry.directory is None else facts(entry.directory)


def _failed(task: asyncio.Task[LoadedModel]) -> bool:
    return task.done() and (task.cancelled() or task.exception() is not None)


def _text_scores(scorer: Scorer, texts: Sequence[str]) -> list[TextScore]:
    scores = scorer.score(texts)
    return [
        TextScore(float(nat_log_prob), int(tokens), int(oov))
        for nat_log_prob, tokens, oov in zip(
            scores.nat_log_probs, scores.token_counts, scores.oov_counts, strict=True
        )
    ]


def _children(directory: Path) -> list[Path]:
    if not directory.is_dir():
        log.error("the directory %s of the settings is gone", directory)
        raise NbestError("a directory of the service is gone; its log has the details")
    return sorted(path for path in directory.iterdir() if is_name(path.name))
