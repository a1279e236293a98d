"""Figures for Prometheus."""

from fastapi import APIRouter, Request, Response
from fastapi.responses import PlainTextResponse

from service.metrics import MEDIA_TYPE
from service.state import service_of

router = APIRouter(tags=["health"])


@router.get("/metrics", summary="Figures for Prometheus", response_class=PlainTextResponse)
async def metrics(request: Request) -> Response:
    """Counters since the start and gauges of now; needs a key of any scope where the service has keys."""
    return Response(service_of(request).telemetry.text(), headers={"Content-Type": MEDIA_TYPE})
