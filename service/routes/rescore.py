"""N-best lists in, rankings out: JSON, or a Moses list for a Moses list."""

import asyncio
from collections.abc import Sequence

import numpy as np
from fastapi import APIRouter, Request, Response

from nbest.errors import FormatError, InputError, LimitError, shorten
from rescoring.formats import parse_nbest
from rescoring.formats.moses_write import moses_lines
from rescoring.nbest import NbestLists
from rescoring.pipeline import Ranked, with_decoder_total
from rescoring.text import get_pipeline
from rescoring.weights import FORMAT, WeightSet
from service.answering import Outcome, Question, answer
from service.bodies import decode_text
from service.errors import InvalidRequestError, list_fault
from service.json_body import parse_json
from service.openapi import documented
from service.request_lists import RequestList, check_text, check_unicode, check_width, read_lists
from service.requests import JSON, TEXT, body_of, media_type, no_query, request_id, while_connected
from service.results import list_out
from service.schemas import (
    InlineWeights,
    ListOut,
    Options,
    RescoreEnvelope,
    RescoreRequest,
    RescoreResponse,
)
from service.security import needs
from service.state import Service, service_of
from service.validation import validated
from service.weights_body import weights_at

router = APIRouter(tags=["rescore"], dependencies=[needs("score")])
_QUERY = ("models", "weights", "text", "unknown_feature", "top_k", "deadline_seconds")


@router.post("/rescore", include_in_schema=False)
@router.post(
    "/v1/rescore",
    summary="Rank n-best lists again",
    response_model=RescoreResponse,
    openapi_extra=documented(RescoreRequest, text=True),
)
async def rescore(request: Request) -> Response:
    """Each list ranked by the weighted sum of its features and of the models' scores.

    What is wrong with one list stands in that list's result. `text/plain` takes Moses lists with the
    options in the query (`?models=small&weights=mt`) and answers with Moses lists, best first, or with
    JSON if the request accepts only that; gzip is understood in both.
    """
    service = service_of(request)
    kind = media_type(request, JSON, TEXT)
    body = await body_of(request, service.settings.max_body_bytes)
    work = _json(service, request, body) if kind == JSON else _text(service, request, body)
    return await while_connected(request, work)


async def _json(service: Service, request: Request, body: bytes) -> Response:
    no_query(request)
    envelope = await asyncio.to_thread(lambda: validated(RescoreEnvelope, parse_json(body)))
    _check_count(service, len(envelope.lists))
    lists = await asyncio.to_thread(
        read_lists, envelope.lists, service.settings.max_text_bytes, service.settings.max_features
    )
    weights, name = await asyncio.to_thread(_weights, service, envelope.weights)
    contents = [one.content for one in lists]
    question = Question(envelope.models, weights, name, envelope.options, contents, envelope.text)
    outcome = await answer(service, question)
    return await asyncio.to_thread(_json_response, request, lists, question.options, outcome)


async def _text(service: Service, request: Request, body: bytes) -> Response:
    options, models, weights_name = _query(request)
    text = request.query_params.get("text")
    lists = await asyncio.to_thread(_moses, body, service)
    weights, name = await asyncio.to_thread(_weights, service, weights_name)
    if weights is None:
        lists = await asyncio.to_thread(with_decoder_total, lists)
    if JSON in request.headers.get("accept", ""):
        each = await asyncio.to_thread(lambda: [lists.select([segment]) for segment in range(len(lists))])
        question = Question(models, weights, name, options, each, text)
        outcome = await answer(service, question)
        named = [RequestList(one.ids[0], one) for one in each]
        return await asyncio.to_thread(_json_response, request, named, options, outcome)
    outcome = await answer(service, Question(models, weights, name, options, [lists], text))
    (ranked,) = outcome.ranked
    if isinstance(ranked, InputError):
        raise ranked
    headers = {"X-Nbest-Signature": outcome.signature}
    if ranked.warnings:
        headers["X-Nbest-Warnings"] = "; ".join(ranked.warnings).encode("ascii", "replace").decode()
    body_out = await asyncio.to_thread(_moses_text, ranked, options.top_k)
    return Response(body_out, media_type=f"{TEXT}; charset=utf-8", headers=headers)


def _moses(body: bytes, service: Service) -> NbestLists:
    if not body.strip():
        raise FormatError("empty body", expected="Moses n-best lists")
    hypotheses, limit = body.count(b"\n"), service.settings.max_hypotheses
    if hypotheses > limit:
        raise LimitError("too many lines", expected=f"at most {limit}", got=f"{hypotheses}")
    lines = decode_text(body).split("\n")
    for number, line in enumerate(lines, 1):
        scores = "".join(line.split("|||", 3)[2:3])
        width = sum(1 for token in scores.split(" ") if token and not token.endswith("="))
        check_width(width, f"body:{number}", service.settings.max_features)
    numbered = ((number, line.removesuffix("\r")) for number, line in enumerate(lines, 1))
    lists = parse_nbest(numbered, "body", "moses")
    _check_count(service, len(lists))
    for row, text in enumerate(lists.texts):
        check_text(text, lists.where(row), service.settings.max_text_bytes)
    return lists


def _moses_text(ranked: Ranked, top_k: int | None) -> bytes:
    order = ranked.order
    if top_k is not None:
        offsets = ranked.lists.offsets
        ends = np.minimum(offsets[:-1] + top_k, offsets[1:])
        kept = [order[start:end] for start, end in zip(offsets[:-1].tolist(), ends.tolist(), strict=True)]
        order = np.concatenate(kept)
    return "".join(f"{line}\n" for line in moses_lines(ranked.lists, order, ranked.totals)).encode()


def _query(request: Request) -> tuple[Options, list[str], str | None]:
    """Options, models and weight set's name of a text request."""
    query = request.query_params
    for name in query:
        if name not in _QUERY:
            raise InvalidRequestError(
                "unknown query parameter", expected=", ".join(_QUERY), got=shorten(name)
            )
        if name != "models" and len(query.getlist(name)) > 1:
            raise InvalidRequestError(f"the query parameter {name} stands twice", expected="once")
    given: dict[str, object] = {}
    try:
        if "top_k" in query:
            given["top_k"] = int(query["top_k"])
        if "deadline_seconds" in query:
            given["deadline_seconds"] = float(query["deadline_seconds"])
    except ValueError as error:
        raise InvalidRequestError("not a number in the query", expected="a number", got=str(error)) from None
    if "unknown_feature" in query:
        given["unknown_feature"] = query["unknown_feature"]
    models = [name for value in query.getlist("models") for name in value.split(",") if name]
    return validated(Options, given), models, query.get("weights")


def _weights(service: Service, asked: str | InlineWeights | None) -> tuple[WeightSet | None, str]:
    if asked is None:
        return None, "default"
    if isinstance(asked, str):
        return service.weight_sets.get(asked), asked
    for name in asked.features:
        check_unicode(name, "/weights/features")
    check_width(sum(map(len, asked.features.values())), "/weights/features", service.settings.max_features)
    text = get_pipeline(asked.text).name
    if not asked.model_fields_set - {"features", "text"}:
        return WeightSet(features=asked.features, text=text), "inline"
    document = {"format": FORMAT, **asked.model_dump(exclude_unset=True, exclude_none=True)}
    return weights_at(document, "/weights"), "inline"


def _check_count(service: Service, count: int) -> None:
    limit = service.settings.max_lists
    if count > limit:
        raise LimitError("too many lists", where="/lists", expected=f"at most {limit}", got=f"{count}")


def _json_response(
    request: Request, lists: Sequence[RequestList], options: Options, outcome: Outcome
) -> Response:
    tokens = outcome.tokens or [{}] * len(lists)
    # One by one: pydantic holds the interpreter's lock while it writes, a second for 200,000 hypotheses.
    results = (
        ListOut(id=one.id, error=list_fault(ranked))
        if isinstance(ranked, InputError)
        else list_out(ranked, options, one.warnings, tokens_of)
        for one, ranked, tokens_of in zip(lists, outcome.ranked, tokens, strict=True)
    )
    written = ",".join(result.model_dump_json(exclude_none=True) for result in results)
    frame = RescoreResponse(
        request_id=request_id(request), signature=outcome.signature, results=[], usage=outcome.usage
    )
    before, after = frame.model_dump_json().split('"results":[]')  # no string has bare quotes in it
    return Response(f'{before}"results":[{written}]{after}', media_type=JSON)
