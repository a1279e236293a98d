"""What the service knows by name."""

import asyncio

from fastapi import APIRouter, Request

from service.model_files import ModelFacts, facts
from service.schemas import ModelOut, ModelsResponse
from service.state import service_of

router = APIRouter(tags=["models"])


@router.get("/models", include_in_schema=False)
@router.get("/v1/models", summary="Models and weight sets by name")
async def models(request: Request) -> ModelsResponse:
    """Every model and weight set; what is said of a model is from its files, loaded or not.

    The digest of a model of more than 256 MB is known once it is loaded, at its first use.
    """
    service = service_of(request)
    listed = []
    for entry in await asyncio.to_thread(service.registry.entries):
        loaded = service.registry.loaded(entry.name)
        known = await asyncio.to_thread(facts, entry.directory) if entry.directory else ModelFacts()
        digest = (await service.registry.get(entry.name)).scorer.digest if loaded else known.digest
        listed.append(
            ModelOut(
                name=entry.name,
                shipped=entry.shipped,
                loaded=loaded,
                digest=digest,
                system=known.system,
                bytes=known.bytes,
                card=dict(known.card),
                figures={name: dict(values) for name, values in known.figures},
            )
        )
    return ModelsResponse(models=listed, weights=await asyncio.to_thread(service.weight_sets.names))
