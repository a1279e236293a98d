"""Weight sets by name: read, written in versions, taken away."""

import asyncio

from fastapi import APIRouter, Request, Response

from service.conditions import Conditions, parse_conditions
from service.json_body import parse_json
from service.openapi import conditional
from service.requests import JSON, body_of, media_type, no_query, request_id
from service.schemas import WeightsRequest, WeightsWritten
from service.security import needs
from service.state import service_of
from service.weight_sets import Stored
from service.weights_body import whole_weights

router = APIRouter(tags=["weights"])
_PATH = "/v1/weights/{name}"


@router.get(_PATH, summary="A weight set", response_model=WeightsRequest, openapi_extra=conditional("get"))
async def read(request: Request, name: str) -> Response:
    """The file of NAME, or of NAME@VERSION, as it stands; its `ETag` is what `If-Match` takes.

    `Content-Location` names the version, where there is one: a set put in place by hand has none.
    """
    no_query(request)
    conditions = _conditions(request)
    stored = await asyncio.to_thread(service_of(request).weight_sets.stored, name)
    if conditions.unchanged(stored.tag):
        return Response(status_code=304, headers=_headers(stored))
    return Response(stored.content, media_type=JSON, headers=_headers(stored))


@router.put(
    _PATH,
    summary="Write a weight set",
    response_model=WeightsWritten,
    openapi_extra=conditional("put"),
    dependencies=[needs("tune")],
)
async def write(request: Request, name: str) -> Response:
    """Makes the body, as `nbest tune` writes it, the newest version of NAME; NAME@N stay as they are.

    What is there is replaced only with `If-Match`; `If-None-Match: *` only makes a new name. The same content
    again changes nothing, so that a call without `If-None-Match` is safe to retry. 201 for a new name.
    """
    service = service_of(request)
    no_query(request)
    media_type(request, JSON)
    conditions = _conditions(request)
    body = await body_of(request, service.settings.max_weights_bytes)
    weights = await asyncio.to_thread(lambda: whole_weights(parse_json(body), service.settings.max_features))
    # Not given up with its caller: what has begun to be written is written.
    written = await asyncio.to_thread(service.weight_sets.put, name, weights, conditions)
    told = WeightsWritten(
        request_id=request_id(request),
        name=name,
        version=written.stored.version,
        etag=written.stored.tag,
        changed=written.changed,
    )
    status = 201 if written.created else 200
    return Response(told.model_dump_json(), status, _headers(written.stored), JSON)


@router.delete(
    _PATH,
    summary="Take a weight set away",
    status_code=204,
    openapi_extra=conditional("delete"),
    dependencies=[needs("tune")],
)
async def delete(request: Request, name: str) -> Response:
    """NAME means nothing any more, its versions stay; NAME@N takes an old version away for good.

    Needs `If-Match`.
    """
    no_query(request)
    conditions = _conditions(request)
    await asyncio.to_thread(service_of(request).weight_sets.delete, name, conditions)
    return Response(status_code=204)


def _conditions(request: Request) -> Conditions:
    headers = request.headers
    return parse_conditions(headers.getlist("if-match"), headers.getlist("if-none-match"))


def _headers(stored: Stored) -> dict[str, str]:
    headers = {"ETag": stored.tag, "Cache-Control": "no-cache"}
    if stored.location is not None:
        headers["Content-Location"] = stored.location
    return headers
