"""What one service process holds: settings, models, weight sets, readiness."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from fastapi import Request

from nbest.errors import NbestError
from service.bodies import Held
from service.memory import peak_of, resident_bytes
from service.readiness import Readiness
from service.registry import Registry
from service.scoring.process import Start
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
    telemetry: Telemetry
    evaluations: Turns
    rankings: Turns
    held: Held

    async def preload(self) -> None:
        """Loads what the settings name, then the service is ready; what fails is kept by `readiness`."""
        await self.registry.pool.started()
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
        self.registry.pool.close()
        self.evaluations.close()
        self.rankings.close()


def build(settings: Settings, start: Start, shipped: Mapping[str, Path | None]) -> Service:
    """The parts, put together; raises NotFoundError for a model to preload that is not there."""
    telemetry, readiness = Telemetry(), Readiness()
    registry = Registry(
        settings.models,
        shipped,
        start,
        settings.scoring_processes,
        queue_words=settings.queue_words,
        stuck_seconds=settings.stuck_seconds,
        telemetry=telemetry,
        readiness=readiness,
    )
    for name in settings.preload:
        registry.entry(name)
    weight_sets = WeightSets(settings.weights, settings.max_weight_files)
    _watch(telemetry, registry, readiness)
    turns = Turns("evaluating"), Turns("ranking")
    return Service(
        settings, registry, weight_sets, readiness, telemetry, *turns, Held(settings.max_held_bytes)
    )


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
        "Words of the jobs that a model has in work.",
        lambda: [((name,), float(one.queue.words)) for name, one in registry.loaded().items()],
        model,
    )
    telemetry.gauge(
        "nbest_model_resident_bytes",
        "By how much the memory of a scoring process grew while the model was loaded.",
        lambda: [((name,), float(one.resident_bytes)) for name, one in registry.loaded().items()],
        model,
    )
    pool = registry.pool
    telemetry.gauge("nbest_scoring_threads", "Threads that calculate.", lambda: [((), float(pool.threads))])
    telemetry.gauge(
        "nbest_scoring_process_resident_bytes",
        "Memory of a scoring process.",
        lambda: [((f"{place}",), float(resident_bytes(pid))) for place, pid in enumerate(pool.pids)],
        ("process",),
    )
    telemetry.gauge(
        "nbest_scoring_process_peak_resident_bytes",
        "Most memory that a scoring process ever had.",
        lambda: [((f"{place}",), float(peak_of(pid))) for place, pid in enumerate(pool.pids)],
        ("process",),
    )


def service_of(request: Request) -> Service:
    """The service that this request reached."""
    service = request.app.state.service
    assert isinstance(service, Service)
    return service
