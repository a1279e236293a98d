"""Texts in, log-probabilities out."""

import asyncio
import math
import sys
from collections.abc import Sequence

from fastapi import APIRouter, Request, Response

from nbest.signature import signature
from service.json_body import parse_json
from service.openapi import documented
from service.request_lists import check_count, check_text
from service.requests import JSON, body_of, media_type, no_query, request_id, while_connected, within
from service.results import tokens_out
from service.schemas import ScoreOut, ScoreRequest, ScoreResponse, Usage
from service.scoring.messages import Token
from service.scoring.queue import Answers
from service.security import needs
from service.state import Service, service_of
from service.validation import validated

router = APIRouter(tags=["score"], dependencies=[needs("score")])


@router.post("/score", include_in_schema=False)
@router.post(
    "/v1/score",
    summary="Log-probabilities of texts",
    response_model=ScoreResponse,
    openapi_extra=documented(ScoreRequest),
)
async def score(request: Request) -> Response:
    """One score per text, as if each had been scored alone; ``</s>`` is scored and counted."""
    service = service_of(request)
    media_type(request, JSON)
    no_query(request)
    body = await body_of(request, service.settings.max_body_bytes)
    asked = await asyncio.to_thread(lambda: validated(ScoreRequest, parse_json(body)))
    work = within(asked.deadline_seconds, _answer(service, asked, request_id(request)))
    return Response(await while_connected(request, work), media_type=JSON)


async def _answer(service: Service, asked: ScoreRequest, identity: str) -> str:
    check_count("texts", "/texts", len(asked.texts), service.settings.max_hypotheses)
    for position, text in enumerate(asked.texts):
        check_text(text, f"/texts/{position}", service.settings.max_text_bytes)
    model = await service.registry.get(asked.model)
    answers = await model.queue.scores(asked.texts, deadline_seconds=asked.deadline_seconds)
    tokens = await model.queue.tokens(asked.texts) if asked.tokens else None
    signed = signature({asked.model: model.digest})
    response = await asyncio.to_thread(_response, asked, identity, signed, answers, tokens)
    service.telemetry.scored(asked.model, response.usage.tokens, response.usage.unique_tokens)
    return await asyncio.to_thread(response.model_dump_json, exclude_none=True)


def _response(
    asked: ScoreRequest,
    identity: str,
    signed: str,
    answers: Answers,
    tokens: Sequence[Sequence[Token]] | None,
) -> ScoreResponse:
    found = answers.scores
    columns = found.nat_log_probs.tolist(), found.token_counts.tolist(), found.oov_counts.tolist()
    total, count = math.fsum(columns[0]), sum(columns[1])
    return ScoreResponse(
        request_id=identity,
        signature=signed,
        scores=[
            ScoreOut(
                nat_log_prob=nat_log_prob,
                token_count=token_count,
                oov_count=oov_count,
                normalized=nat_log_prob / token_count,
                tokens=None if tokens is None else tokens_out(tokens[number]),
            )
            for number, (nat_log_prob, token_count, oov_count) in enumerate(zip(*columns, strict=True))
        ],
        total_nat_log_prob=total,
        perplexity=perplexity(total, count),
        usage=Usage(
            hypotheses=len(asked.texts),
            tokens=count,
            unique_tokens=answers.unique_tokens,
            oov_count=sum(columns[2]),
            queue_seconds=answers.queue_seconds,
            compute_seconds=answers.compute_seconds,
        ),
    )


def perplexity(total_nat_log_prob: float, token_count: int) -> float:
    """exp(-total / tokens); the largest float where that overflows."""
    try:
        return math.exp(-total_nat_log_prob / token_count)
    except OverflowError:
        return sys.float_info.max
