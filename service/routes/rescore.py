"""N-best lists in, rankings out: JSON, lines of it, or a Moses list for a Moses list."""

import asyncio
from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from fastapi import APIRouter, Request, Response
from pydantic_core import to_json

from nbest.errors import FormatError, InputError, shorten
from rescoring.formats import parse_nbest
from rescoring.formats.moses_write import moses_lines
from rescoring.nbest import NbestLists
from rescoring.pipeline import Ranked, with_decoder_total
from rescoring.text import get_pipeline
from rescoring.weights import FORMAT, WeightSet
from service.answering import Outcome, Question, answer
from service.answers import NDJSON, accepted, lines, whole
from service.bodies import decode_text
from service.errors import InvalidRequestError
from service.json_body import parse_json
from service.openapi import documented
from service.request_lists import RequestList, check_count, check_text, check_unicode, check_width, read_lists
from service.requests import JSON, TEXT, body_of, media_type, no_query, request_id, while_connected
from service.results import list_json
from service.schemas import (
    InlineWeights,
    ListOut,
    Options,
    RescoreDone,
    RescoreEnvelope,
    RescoreRequest,
    RescoreResponse,
)
from service.scoring.queue import count_words
from service.security import needs
from service.state import Service, service_of
from service.together import done
from service.validation import validated
from service.weights_body import weights_at

router = APIRouter(tags=["rescore"], dependencies=[needs("score")])
_QUERY = ("models", "weights", "text", "unknown_feature", "top_k", "deadline_seconds")
# What is no more than this is done at once, in a millisecond or two: a thread would take longer to begin.
_AT_ONCE_BYTES, _AT_ONCE_LISTS, _AT_ONCE_SHOWN = 64 * 1024, 4, 400
_RUN_SHOWN, _LIST_COST = (
    2000,
    8,
)  # hypotheses of a piece of lines; a list costs as much as so many, some 15 us


def _documented() -> dict[str, Any]:
    """The OpenAPI entry: answers come in three kinds, each packed where the request accepts that."""
    packed = {
        "description": "gzip where Accept-Encoding has it; short answers leave as they are",
        "schema": {"type": "string", "enum": ["gzip"]},
    }
    # No route answers with it alone, so it is not among the components; what it refers to is.
    last = RescoreDone.model_json_schema(ref_template="#/components/schemas/{model}")
    del last["$defs"]
    a_line = {"anyOf": [{"$ref": f"#/components/schemas/{ListOut.__name__}"}, last]}
    kinds = {
        NDJSON: {"schema": {**a_line, "description": "of each line: results in order, the last one done"}},
        TEXT: {"schema": {"type": "string", "description": "Moses lists, for Moses lists"}},
    }
    found = documented(RescoreRequest, text=True)
    found["responses"]["200"] = {"content": kinds, "headers": {"Content-Encoding": packed}}
    return found


@router.post("/rescore", include_in_schema=False)
@router.post(
    "/v1/rescore",
    summary="Rank n-best lists again",
    response_model=RescoreResponse,
    openapi_extra=_documented(),
)
async def rescore(request: Request) -> Response:
    """Each list ranked by the weighted sum of its features and of the models' scores.

    What is wrong with one list stands in that list's result. `text/plain` takes Moses lists with the
    options in the query (`?models=small&weights=mt`) and answers with Moses lists, best first, or with
    JSON if the request accepts only that.

    With `Accept: application/x-ndjson` each result is a line of its own, in the order of the request, and the
    last line is `{"done": true, "ok": 57, "failed": 1, "request_id": ..., "signature": ..., "usage": ...}`:
    an answer without it was cut on the way. gzip is understood in bodies (`Content-Encoding`), and answers
    are packed with `Accept-Encoding: gzip`.
    """
    service = service_of(request)
    kind = media_type(request, JSON, TEXT)
    body = await body_of(request, service.settings.max_body_bytes)
    work = _json(service, request, body) if kind == JSON else _text(service, request, body)
    return await while_connected(request, work)


async def _json(service: Service, request: Request, body: bytes) -> Response:
    no_query(request)
    envelope = await done(len(body) <= _AT_ONCE_BYTES, lambda: validated(RescoreEnvelope, parse_json(body)))
    check_count("lists", "/lists", len(envelope.lists), service.settings.max_lists)
    _check_hypotheses(service, envelope.lists)
    few = len(body) <= _AT_ONCE_BYTES and len(envelope.lists) <= _AT_ONCE_LISTS
    if few:
        _check_time(service, envelope)
    limits = service.settings.max_text_bytes, service.settings.max_features
    lists = await done(few, lambda: read_lists(envelope.lists, *limits))
    of_file = isinstance(envelope.weights, str)
    weights, name = await done(few and not of_file, lambda: _weights(service, envelope.weights))
    contents = [one.content for one in lists]
    question = Question(envelope.models, weights, name, envelope.options, contents, envelope.text)
    return await _answered(service, request, lists, question)


async def _text(service: Service, request: Request, body: bytes) -> Response:
    options, models, weights_name = _query(request)
    text = request.query_params.get("text")
    lists = await asyncio.to_thread(_moses, body, service)
    weights, name = await asyncio.to_thread(_weights, service, weights_name)
    if weights is None:
        lists = await asyncio.to_thread(with_decoder_total, lists)
    if accepted(request, JSON) or accepted(request, NDJSON):
        each = await asyncio.to_thread(lambda: [lists.select([segment]) for segment in range(len(lists))])
        named = [RequestList(one.ids[0], one) for one in each]
        return await _answered(service, request, named, Question(models, weights, name, options, each, text))
    outcome = await answer(service, Question(models, weights, name, options, [lists], text))
    (ranked,) = outcome.ranked
    if isinstance(ranked, InputError):
        raise ranked
    headers = {"X-Nbest-Signature": outcome.signature}
    if ranked.warnings:
        headers["X-Nbest-Warnings"] = "; ".join(ranked.warnings).encode("ascii", "replace").decode()
    body_out = await asyncio.to_thread(_moses_text, ranked, options.top_k)
    return await whole(request, body_out, f"{TEXT}; charset=utf-8", headers)


def _moses(body: bytes, service: Service) -> NbestLists:
    if not body.strip():
        raise FormatError("empty body", expected="Moses n-best lists")
    check_count("lines", None, body.count(b"\n"), service.settings.max_hypotheses)
    lines = decode_text(body).split("\n")
    for number, line in enumerate(lines, 1):
        scores = "".join(line.split("|||", 3)[2:3])
        width = sum(1 for token in scores.split(" ") if token and not token.endswith("="))
        check_width(width, f"body:{number}", service.settings.max_features)
    numbered = ((number, line.removesuffix("\r")) for number, line in enumerate(lines, 1))
    lists = parse_nbest(numbered, "body", "moses")
    check_count("lists", "/lists", len(lists), service.settings.max_lists)
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


def _check_hypotheses(service: Service, lists: Sequence[Any]) -> None:
    """Counts them before anything is made of them; faulty lists are counted too."""
    found = (one.get("hypotheses") for one in lists if isinstance(one, dict))
    count = sum(len(one) for one in found if isinstance(one, list))
    check_count("hypotheses", "/lists", count, service.settings.max_hypotheses)


def _check_time(service: Service, envelope: RescoreEnvelope) -> None:
    """Under more load than there is time for, what is too much costs no more than has been read of it."""
    deadline = envelope.options.deadline_seconds
    if deadline is None:
        return
    found = (one.get("hypotheses") for one in envelope.lists if isinstance(one, dict))
    hypotheses = (one for some in found if isinstance(some, list) for one in some if isinstance(one, dict))
    words = count_words([text for one in hypotheses if isinstance(text := one.get("text"), str)])
    loaded = service.registry.loaded()
    for name in envelope.models:
        if name in loaded:
            loaded[name].queue.admit(words, deadline)


@dataclass(frozen=True)
class _Written:
    """Lists and what came of them, to be written down; `costs` in hypotheses, of the shown ones."""

    lists: Sequence[RequestList]
    options: Options
    outcome: Outcome

    @property
    def costs(self) -> list[int]:
        top_k = self.options.top_k
        sizes = [0 if isinstance(one, InputError) else len(one.order) for one in self.outcome.ranked]
        return [_LIST_COST + (size if top_k is None else min(top_k, size)) for size in sizes]

    def results(self, part: slice) -> list[bytes]:
        """The results of these lists."""
        tokens = self.outcome.tokens or [{}] * len(self.lists)
        # One by one: what writes JSON holds the interpreter's lock, a second for 200,000 hypotheses.
        return [
            list_json(one, ranked, self.options, of_list)
            for one, ranked, of_list in zip(
                self.lists[part], self.outcome.ranked[part], tokens[part], strict=True
            )
        ]


async def _answered(
    service: Service, request: Request, lists: Sequence[RequestList], question: Question
) -> Response:
    outcome = await answer(service, question)
    written = _Written(lists, question.options, outcome)
    wants_lines = accepted(request, NDJSON)
    if wants_lines and wants_lines >= accepted(request, JSON):
        return lines(request, _lines(written, request_id(request)))
    frame = RescoreResponse(
        request_id=request_id(request), signature=outcome.signature, results=[], usage=outcome.usage
    )
    before, after = frame.model_dump_json().encode().split(b'"results":[]')  # no string has bare quotes in it
    small = sum(written.costs) <= _AT_ONCE_SHOWN and not question.options.tokens
    results = await done(small, lambda: b",".join(written.results(slice(None))))
    return await whole(request, b"".join((before, b'"results":[', results, b"]", after)), JSON)


async def _lines(written: _Written, identity: str) -> AsyncIterator[bytes]:
    """The lines of an answer, in pieces of bounded size; the last line says that it was."""
    for part in _runs(written.costs):
        yield b"\n".join([*await asyncio.to_thread(written.results, part), b""])
    outcome = written.outcome
    failed = sum(isinstance(one, InputError) for one in outcome.ranked)
    last = RescoreDone(
        done=True,
        ok=len(outcome.ranked) - failed,
        failed=failed,
        request_id=identity,
        signature=outcome.signature,
        usage=outcome.usage,
    )
    yield to_json(last) + b"\n"


def _runs(costs: Sequence[int]) -> Iterator[slice]:
    """Neighbours together up to a cost of _RUN_SHOWN, what costs more alone."""
    start = total = 0
    for place, cost in enumerate(costs):
        if place > start and total + cost > _RUN_SHOWN:
            yield slice(start, place)
            start, total = place, 0
        total += cost
    yield slice(start, len(costs))
