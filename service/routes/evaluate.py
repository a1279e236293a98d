"""Hypotheses and references in, a corpus score with its interval out."""

import asyncio
from collections.abc import Callable
from threading import Event
from time import monotonic

from fastapi import APIRouter, Request, Response

from nbest.errors import BusyError, LimitError, NotFoundError
from rescoring.evaluation import evaluate as run
from rescoring.formats.references import check_words
from rescoring.metrics import Metric, get_metric
from service.bounded_metric import BoundedMetric
from service.errors import InvalidRequestError
from service.json_body import parse_json
from service.openapi import documented
from service.request_lists import check_count, check_text
from service.requests import JSON, body_of, media_type, no_query, request_id, while_connected
from service.schemas import EvaluateRequest, EvaluateResponse
from service.security import needs
from service.state import Service, service_of
from service.validation import validated

router = APIRouter(tags=["evaluate"], dependencies=[needs("score")])
_MOST_WAITING = 16
# CER aligns characters in a table of 2 bits a pair, 64 MB for two such texts; TER takes time instead.
_LONGEST_BYTES = 16 * 1024
_LONGEST_TER_BYTES = 4 * 1024


@router.post(
    "/v1/evaluate",
    summary="Corpus score of hypotheses against references",
    response_model=EvaluateResponse,
    openapi_extra=documented(EvaluateRequest, more=("429",)),
)
async def evaluate(request: Request) -> Response:
    """BLEU, chrF and TER by sacrebleu, WER and CER by jiwer, in percent, or a sum of them.

    With a 95% bootstrap interval over segments. One evaluation runs at a time; `nbest evaluate` has no limits
    of length or time.
    """
    service = service_of(request)
    media_type(request, JSON)
    no_query(request)
    body = await body_of(request, service.settings.max_body_bytes)
    asked = await asyncio.to_thread(_read, service, body)
    if service.evaluations.waiting >= _MOST_WAITING:
        raise BusyError("too many evaluations wait", retry_after_seconds=service.settings.evaluate_seconds)
    gone = Event()
    work = service.evaluations.run(_answer, asked, _limit(service, gone), request_id(request))
    try:
        response = await while_connected(request, work)
    finally:
        gone.set()  # what nobody waits for ends at its next slice
    return Response(response.model_dump_json(), media_type=JSON)


def _limit(service: Service, gone: Event) -> Callable[[], None]:
    """What ends an evaluation; its time begins with its first slice."""
    allowed = service.settings.evaluate_seconds
    began: list[float] = []

    def check() -> None:
        began[:] = began or [monotonic()]
        if gone.is_set():
            raise asyncio.CancelledError
        if monotonic() - began[0] > allowed:
            raise LimitError(
                "this takes too long for the service: nbest evaluate has no such limit",
                expected=f"at most {allowed:g} seconds",
            )

    return check


def _metric(asked: EvaluateRequest) -> Metric:
    try:
        return get_metric(asked.metric, asked.tokenize, asked.lowercase)
    except NotFoundError as error:  # of a request, not of what the service has
        message, expected = error.message, error.expected
        raise InvalidRequestError(message, where="/metric", expected=expected, got=error.got) from None


def _read(service: Service, body: bytes) -> tuple[EvaluateRequest, list[list[str]], Metric]:
    """The request, its references and its metric, checked."""
    asked = validated(EvaluateRequest, parse_json(body))
    check_count("texts", "/hypotheses", len(asked.hypotheses), service.settings.max_hypotheses)
    metric = _metric(asked)
    references = [[one] if isinstance(one, str) else one for one in asked.references]
    longest = min(
        service.settings.max_text_bytes, _LONGEST_TER_BYTES if "ter" in asked.metric else _LONGEST_BYTES
    )
    for position, text in enumerate(asked.hypotheses):
        check_text(text, f"/hypotheses/{position}", longest)
    for position, several in enumerate(references):
        for text in several:
            check_text(text, f"/references/{position}", longest)
    check_words([text for several in references for text in several], "/references")
    return asked, references, metric


def _answer(
    question: tuple[EvaluateRequest, list[list[str]], Metric], check: Callable[[], None], identity: str
) -> EvaluateResponse:
    asked, references, metric = question
    result = run(asked.hypotheses, references, BoundedMetric(metric, check))
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
