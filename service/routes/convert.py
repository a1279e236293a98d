"""Lists of any format that one file can hold in, lists of a request out."""

import asyncio
from typing import Any

from fastapi import APIRouter, Request, Response
from pydantic import BaseModel, Field

from nbest.errors import shorten
from service.conversion import converted
from service.errors import InvalidRequestError
from service.openapi import documented
from service.requests import JSON, TEXT, body_of, media_type, request_id
from service.schemas import RescoreRequest
from service.security import needs
from service.state import service_of

router = APIRouter(tags=["convert"], dependencies=[needs("score")])
_BEAMS = 100_000


class ConvertResponse(BaseModel):
    """The lists, in the shape that /v1/rescore and /v1/tune take."""

    request_id: str
    format: str = Field(description="what they came in: moses, jsonl, mlm, srilm, fairseq or nemo")
    warnings: list[str] = Field(description="what was left out, or looks like a mistake")
    lists: list[Any]


def _documented() -> dict[str, Any]:
    found = documented(RescoreRequest, more=())
    found["requestBody"]["content"] = {TEXT: {"schema": {"type": "string"}}}
    found["parameters"] = [
        {
            "name": "beam_size",
            "in": "query",
            "description": "NeMo's files alone: hypotheses a list, one number or one for each list (5,5,4)",
            "schema": {"type": "string"},
        }
    ]
    return found


@router.post(
    "/v1/convert",
    summary="Lists of any format, as lists of a request",
    response_model=ConvertResponse,
    openapi_extra=_documented(),
)
async def convert(request: Request) -> Response:
    """The format is told from the content: Moses, JSON lines, mlm-scoring JSON, SRILM, fairseq or NeMo.

    Scores come out as natural logarithms, larger is better. Moses' total becomes the feature `decoder_total`.
    What is a directory (Kaldi, ESPnet) goes through `nbest convert`.
    """
    service = service_of(request)
    media_type(request, TEXT)
    beam_size = _beam_size(request)
    body = await body_of(request, service.settings.max_body_bytes)
    found = await asyncio.to_thread(converted, body, beam_size, service.settings.max_hypotheses)
    head = ConvertResponse(
        request_id=request_id(request), format=found.format, warnings=list(found.warnings), lists=[]
    )
    start = head.model_dump_json().removesuffix("]}")
    return Response(f"{start}{','.join(found.lists)}]}}", media_type=JSON)


def _beam_size(request: Request) -> int | tuple[int, ...] | None:
    for name in request.query_params:
        if name != "beam_size":
            raise InvalidRequestError("unknown query parameter", expected="beam_size", got=shorten(name))
    given = request.query_params.get("beam_size")
    if given is None:
        return None
    parts = given.split(",")
    if len(parts) > _BEAMS or not all(part.isascii() and part.isdigit() and len(part) < 7 for part in parts):
        raise InvalidRequestError(
            "not a beam size", where="?beam_size", expected="5 or 5,5,4", got=shorten(given)
        )
    sizes = tuple(int(part) for part in parts)
    return sizes[0] if len(sizes) == 1 else sizes
