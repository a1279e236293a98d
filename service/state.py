"""What one service process holds: settings, models, weight sets, readiness, the scoring thread."""

from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from fastapi import Request

from nbest.errors import NbestError
from service.readiness import Readiness
from service.registry import Registry, TokenScorer
from service.settings import Settings
from service.telemetry import Telemetry
from service.turns import Turns
from service.weight_sets import WeightSets


@dataclass(frozen=True)
class Service:
    """The parts that routes use."""

    settings: Settings
    registry: Registry
    weight_sets: WeightSets
    readiness: Readiness
    executor: ThreadPoolExecutor
    telemetry: Telemetry
    evaluations: Turns
    rankings: Turns

    async def preload(self) -> None:
        """Loads what the settings name, then the service is ready; what fails is kept by `readiness`."""
        try:
            for name in self.settings.preload:
                await self.registry.get(name)
        except NbestError as error:
            self.readiness.failed(error)
        else:
            self.readiness.ready()

    async def close(self) -> None:
        """Nothing is begun any more. Requests have ended by now: nobody waits for a call that still runs."""
        self.readiness.drain()
        self.executor.shutdown(wait=False, cancel_futures=True)
        self.evaluations.close()
        self.rankings.close()


def build(
    settings: Settings, opener: Callable[[str], TokenScorer], shipped: Iterable[str] | Mapping[str, Path]
) -> Service:
    """The parts, put together; raises NotFoundError for a model to preload that is not there."""
    # One thread: models already use every core, and two at once would only share them.
    executor = ThreadPoolExecutor(max_workers=1, thread_name_prefix="scoring")
    telemetry = Telemetry()
    registry = Registry(
        settings.models,
        shipped if isinstance(shipped, Mapping) else dict.fromkeys(shipped),
        opener,
        executor,
        batch_words=settings.batch_words,
        queue_words=settings.queue_words,
        telemetry=telemetry,
    )
    for name in settings.preload:
        registry.entry(name)
    weight_sets = WeightSets(settings.weights, settings.max_weight_files)
    readiness = Readiness()
    _watch(telemetry, registry, readiness)
    turns = Turns("evaluating"), Turns("ranking")
    return Service(settings, registry, weight_sets, readiness, executor, telemetry, *turns)


def _watch(telemetry: Telemetry, registry: Registry, readiness: Readiness) -> None:
    """The gauges of what is in memory."""
    model = ("model",)
    telemetry.gauge("nbest_ready", "1 when ready.", lambda: [((), float(readiness.state == "ready"))])
    telemetry.gauge(
        "nbest_model_bytes",
        "Bytes on disk of a model in memory: configuration, packed weights, vocabulary.",
        lambda: [((name,), float(one.facts.bytes or 0)) for name, one in registry.loaded().items()],
        model,
    )
    telemetry.gauge(
        "nbest_queue_words",
        "Words that wait for a model and are in no batch yet.",
        lambda: [
            ((name,), float(one.scores.waiting_words + one.tokens.waiting_words))
            for name, one in registry.loaded().items()
        ],
        model,
    )


def service_of(request: Request) -> Service:
    """The service that this request reached."""
    service = request.app.state.service
    assert isinstance(service, Service)
    return service
