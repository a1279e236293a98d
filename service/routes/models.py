"""What the service knows by name; models into memory and out of it."""

import asyncio

from fastapi import APIRouter, Request, Response

from service.errors import NotReadyError
from service.model_files import ModelFacts, facts
from service.openapi import problems
from service.registry import ModelEntry
from service.requests import no_query, request_id
from service.schemas import ModelLoaded, ModelOut, ModelsResponse
from service.security import needs
from service.state import Service, service_of

router = APIRouter(tags=["models"])
_PATH = "/v1/models/{name}"
_RETRY_SECONDS = 5.0


@router.get("/models", include_in_schema=False)
@router.get("/v1/models", summary="Models and weight sets by name")
async def models(request: Request) -> ModelsResponse:
    """Every model and weight set; what is said of a model is from its files, loaded or not.

    The digest of a model of more than 256 MB is known once it is loaded, at its first use.
    """
    service = service_of(request)
    entries = await asyncio.to_thread(service.registry.entries)
    listed = [await _told(service, entry) for entry in entries]
    return ModelsResponse(models=listed, weights=await asyncio.to_thread(service.weight_sets.names))


@router.get(_PATH, summary="A model", responses=problems("404"))
async def model(request: Request, name: str) -> ModelOut:
    """What there is to say of one model."""
    service = service_of(request)
    return await _told(service, await asyncio.to_thread(service.registry.entry, name))


@router.post(
    _PATH,
    summary="Load a model, or load it again",
    dependencies=[needs("admin")],
    responses=problems("404", "422", "503"),
)
async def load(request: Request, name: str) -> ModelLoaded:
    """The model is in memory as its files are now: loaded, or replaced where they have changed.

    Requests that began with the old one end with it, none fails. Where the new one cannot be loaded the old
    one serves on, and the answer is 503 with the reason.
    """
    service = service_of(request)
    no_query(request)
    if service.readiness.state == "draining":
        raise NotReadyError("draining: the service is stopping", retry_after_seconds=_RETRY_SECONDS)
    before = service.registry.loaded().get(name)
    found, changed = await service.registry.load(name)
    return ModelLoaded(
        request_id=request_id(request),
        name=name,
        digest=found.digest,
        changed=changed,
        replaced=before.digest if before is not None and changed else None,
    )


@router.delete(
    _PATH,
    summary="Unload a model",
    status_code=204,
    dependencies=[needs("admin")],
    responses=problems("404", "422"),
)
async def unload(request: Request, name: str) -> Response:
    """Out of memory once the requests that began with it have ended; its next use loads it again."""
    no_query(request)
    await service_of(request).registry.unload(name)
    return Response(status_code=204)


async def _told(service: Service, entry: ModelEntry) -> ModelOut:
    loaded = service.registry.loaded().get(entry.name)
    known = (
        await asyncio.to_thread(facts, entry.directory, links=entry.shipped)
        if entry.directory
        else ModelFacts()
    )
    return ModelOut(
        name=entry.name,
        shipped=entry.shipped,
        loaded=loaded is not None,
        loading=service.registry.loading(entry.name),
        stale=loaded is not None and known.digest != loaded.facts.digest,
        digest=known.digest if loaded is None else loaded.digest,
        system=known.system,
        bytes=known.bytes,
        card=dict(known.card),
        figures={name: dict(values) for name, values in known.figures},
    )
