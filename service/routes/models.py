"""What the service knows by name."""

from fastapi import APIRouter, Request

from service.schemas import ModelOut, ModelsResponse
from service.state import service_of

router = APIRouter(tags=["models"])


@router.get("/models", include_in_schema=False)
@router.get("/v1/models", summary="Models and weight sets by name")
async def models(request: Request) -> ModelsResponse:
    """Every model and weight set; a model's digest is known once it is loaded, at its first use."""
    service = service_of(request)
    listed = []
    for entry in service.registry.entries():
        loaded = service.registry.loaded(entry.name)
        digest = (await service.registry.get(entry.name)).scorer.digest if loaded else None
        listed.append(ModelOut(name=entry.name, shipped=entry.shipped, loaded=loaded, digest=digest))
    return ModelsResponse(models=listed, weights=service.weight_sets.names())
