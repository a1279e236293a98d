"""Hypotheses and references in, a corpus score with its interval out."""

import asyncio

from fastapi import APIRouter, Request, Response

from nbest.errors import LimitError
from rescoring.evaluation import evaluate as run
from rescoring.formats.references import check_words
from rescoring.metrics import get_metric
from service.json_body import parse_json
from service.openapi import documented
from service.request_lists import check_text
from service.requests import JSON, body_of, media_type, no_query, request_id, while_connected
from service.schemas import EvaluateRequest, EvaluateResponse
from service.security import needs
from service.state import Service, service_of
from service.validation import validated

router = APIRouter(tags=["evaluate"], dependencies=[needs("score")])


@router.post(
    "/v1/evaluate",
    summary="Corpus score of hypotheses against references",
    response_model=EvaluateResponse,
    openapi_extra=documented(EvaluateRequest),
)
async def evaluate(request: Request) -> Response:
    """BLEU by sacrebleu or WER by jiwer, in percent, with a 95% bootstrap interval over segments."""
    service = service_of(request)
    media_type(request, JSON)
    no_query(request)
    body = await body_of(request, service.settings.max_body_bytes)
    work = asyncio.to_thread(_answer, service, body, request_id(request))
    response = await while_connected(request, work)
    return Response(response.model_dump_json(), media_type=JSON)


def _answer(service: Service, body: bytes, identity: str) -> EvaluateResponse:
    asked = validated(EvaluateRequest, parse_json(body))
    limit = service.settings.max_hypotheses
    if len(asked.hypotheses) > limit:
        got = f"{len(asked.hypotheses)}"
        raise LimitError("too many texts", where="/hypotheses", expected=f"at most {limit}", got=got)
    references = [[one] if isinstance(one, str) else one for one in asked.references]
    for position, text in enumerate(asked.hypotheses):
        check_text(text, f"/hypotheses/{position}", service.settings.max_text_bytes)
    for position, several in enumerate(references):
        for text in several:
            check_text(text, f"/references/{position}", service.settings.max_text_bytes)
    check_words([text for several in references for text in several], "/references")
    metric = get_metric(asked.metric, asked.tokenize, asked.lowercase)
    result = run(asked.hypotheses, references, metric)
    return EvaluateResponse(
        request_id=identity,
        metric=result.metric,
        score=result.score,
        larger_is_better=metric.larger_is_better,
        interval=(result.low, result.high),
        counts=dict(result.counts),
        segments=result.segments,
        signature=result.signed,
    )
