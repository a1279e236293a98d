"""Liveness and readiness, for whoever sends traffic or restarts processes."""

from fastapi import APIRouter, Request

from service.openapi import problems
from service.schemas import Health
from service.state import service_of

router = APIRouter(tags=["health"])


@router.get("/livez", summary="The process answers")
async def livez() -> Health:
    """Always 200 while the process runs."""
    return Health(status="alive")


@router.get("/readyz", summary="Traffic may be sent here", responses=problems("503"))
async def readyz(request: Request) -> Health:
    """200 when ready; 503 with the reason while loading, after a failed load, or while draining."""
    service_of(request).readiness.check()
    return Health(status="ready")
