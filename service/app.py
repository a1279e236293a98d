"""The HTTP service: wiring only."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from contextlib import asynccontextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any

from fastapi import FastAPI
from starlette.staticfiles import StaticFiles

from nbest import __version__
from service import errors, openapi
from service.device import check_device
from service.headers import Headers
from service.routes import (
    convert,
    evaluate,
    health,
    metrics,
    models,
    page,
    rescore,
    score,
    tune,
    weights,
)
from service.scoring.process import InProcess, InThread, Start
from service.security import KeyFile, Keys
from service.settings import Settings, load_settings
from service.state import build
from service.tuning_process import Tunings

DESCRIPTION = """Rescores n-best lists of speech recognisers and machine translators with compressed language
models. Log-probabilities are natural logarithms, larger is better.

Scoring, ranking and evaluating change nothing and are safe to retry. The same request gives the same answer
up to float32 rounding in the models' scores: texts are scored in batches, cut by load and shared with other
requests, so that a score may differ from call to call by some 1e-5 nats.

This service takes {max_body_bytes} bytes of body (as sent, and once decompressed), {max_lists} lists,
{max_hypotheses} hypotheses or texts in a request, {max_features} feature values of a hypothesis, and
{max_text_bytes} bytes of a text.

`/rescore`, `/score` and `/models` are short names of the routes under `/v1`, without a promise to stay.

Errors are RFC 9457 problem documents; what is wrong with one list stands in that list's result, and the
others are answered."""


def create_app(
    settings: Settings | None = None,
    *,
    opener: Callable[[str], Any] | None = None,
    shipped: Iterable[str] | Mapping[str, Path | None] | None = None,
) -> FastAPI:
    """The service as an ASGI application.

    Models are in scoring processes; with an `opener` of other scorers, in a thread of this one.

    Raises NotFoundError for a model to preload that is not there, ConfigError for such a device.
    """
    settings = settings or load_settings()
    from models import catalog

    check_device(settings.device)
    start: Start
    if opener is None:
        opener = partial(catalog.open_scorer, device=settings.device, precision=settings.precision)
        start = InProcess(opener, settings.scoring_threads, settings.log_format)
    else:
        start = InThread(opener)
    if not isinstance(shipped, Mapping):
        shipped = catalog.shipped() if shipped is None else dict.fromkeys(shipped)
    service = build(settings, start, shipped)
    tunings = Tunings(settings.tune_seconds)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        loading = asyncio.create_task(service.preload())
        yield
        loading.cancel()
        with suppress(asyncio.CancelledError):
            await loading
        await tunings.close()
        await service.close()

    app = FastAPI(
        title="nbest",
        version=__version__,
        description=DESCRIPTION.format_map(settings.model_dump()),
        lifespan=lifespan,
        docs_url=None,  # its page would load scripts from elsewhere
        redoc_url=None,
    )
    app.state.service = service
    app.state.tunings = tunings
    for module in (rescore, score, models, weights, evaluate, tune, convert, health, metrics, page):
        app.include_router(module.router)
    app.mount("/web", StaticFiles(directory=Path(__file__).parent / "web"), name="web")
    errors.install(app)
    app.add_middleware(Keys, file=None if settings.keys is None else KeyFile(settings.keys))
    app.add_middleware(Headers, telemetry=service.telemetry, access_log=settings.access_log)
    openapi.install(app)
    return app
