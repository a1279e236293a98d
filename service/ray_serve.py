"""The service behind Ray Serve: replicas of the whole application, each with scoring processes of its own.

    RAY_USAGE_STATS_ENABLED=0 serve run service.ray_serve:app replicas=2 threads=4 preload=small keys=KEYS

A replica takes as many processors of Ray's books as it calculates with, and is given requests once its models
are loaded. Beside the service's own queue, which answers 429 for words, stands that of Serve, for requests.
"""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

from fastapi import FastAPI
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from ray import serve
from ray.serve.config import BackpressureConfig

from nbest.errors import ConfigError, shorten
from service.app import create_app
from service.logs import log_of_a_server
from service.settings import Settings, load_settings
from service.state import Service

_LOOK_SECONDS = 0.05


class Options(BaseModel):
    """How many replicas there are, and how much may wait for them.

    max_ongoing_requests  that a replica has in work: more of them share its steps
    max_queued_requests   that wait for a replica; one more is answered 503, with `retry_after_seconds`
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    replicas: int = Field(default=1, ge=1)
    max_ongoing_requests: int = Field(default=64, ge=1)
    max_queued_requests: int = Field(default=128, ge=0)
    retry_after_seconds: float = Field(default=2.0, ge=0, le=3600)


def app(arguments: Mapping[str, str]) -> "serve.Application":
    """What ``serve run service.ray_serve:app NAME=VALUE ...`` runs: names of `Options`, else of settings.

    Raises ConfigError for a value that cannot be.
    """
    of_serve = {name: value for name, value in arguments.items() if name in Options.model_fields}
    of_service = {name: value for name, value in arguments.items() if name not in of_serve}
    try:
        options = Options.model_validate(of_serve)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        raise ConfigError(
            "cannot be used",
            where=str(first["loc"][0]),
            expected=first["msg"].removeprefix("Input should be "),
            got=shorten(str(first["input"])),
        ) from None
    return application(load_settings(**of_service), options)


def application(settings: Settings, options: Options | None = None) -> "serve.Application":
    """Replicas for `serve.run`; paths of the settings are those of every machine of the cluster.

    Unless they say otherwise, a replica has one scoring process of one thread. Raises ConfigError for a GPU
    by its number, which Ray gives out, and without keys unless the settings say so.
    """
    options = options or Options()
    if settings.keys is None and not settings.no_keys:
        raise ConfigError(
            "whoever reaches the cluster could use the service",
            where="keys",
            expected="a file of keys, or no_keys=true",
        )
    if settings.device not in ("cpu", "cuda"):
        raise ConfigError("Ray gives out the GPUs", where="device", expected="cuda", got=settings.device)
    processes, threads = settings.processes or 1, settings.threads or 1
    deployment = serve.deployment(
        serve.ingress()(Replica),
        name="nbest",
        num_replicas=options.replicas,
        max_ongoing_requests=options.max_ongoing_requests,
        max_queued_requests=options.max_queued_requests,
        backpressure_config=BackpressureConfig(status_code=503, retry_after_s=options.retry_after_seconds),
        graceful_shutdown_timeout_s=settings.grace_seconds,
        ray_actor_options={
            "num_cpus": processes * threads,
            "num_gpus": int(settings.device == "cuda"),
        },
    )
    return deployment.bind(settings.model_copy(update={"processes": processes, "threads": threads}))


class Replica:
    """One application; Serve asks it for its health, and starts another in the place of one that has none."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings

    def __serve_build_asgi_app__(self) -> FastAPI:
        """The application, which is up when its models are."""
        log_of_a_server(self._settings.log_format)
        made = create_app(self._settings)
        self._service: Service = made.state.service
        usual = made.router.lifespan_context

        @asynccontextmanager
        async def until_loaded(one: FastAPI) -> AsyncIterator[Any]:
            async with usual(one) as state:
                while self._service.readiness.state == "loading":
                    await asyncio.sleep(_LOOK_SECONDS)
                self.check_health()
                yield state

        made.router.lifespan_context = until_loaded
        return made

    def check_health(self) -> None:
        """Raises what was wrong with a model to preload."""
        if self._service.readiness.failure is not None:
            raise self._service.readiness.failure
