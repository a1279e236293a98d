"""Lists with references in; how the search for weights goes, line by line, and at last the weight set."""

import asyncio
import json
import logging
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass, replace
from time import monotonic
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Request, Response, Security
from starlette.responses import StreamingResponse
from starlette.types import Receive, Scope, Send

from nbest.errors import NbestError
from rescoring import pipeline
from rescoring.nbest import NbestLists
from rescoring.text import get_pipeline
from rescoring.weights import Model, WeightSet, dump_weights
from service.answers import NDJSON
from service.conditions import Conditions, parse_conditions
from service.errors import ListFault, NotReadyError, list_fault
from service.json_body import parse_json
from service.openapi import documented
from service.precomputed import PrecomputedScorer
from service.registry import LoadedModel
from service.request_lists import check_count, read_lists
from service.requests import JSON, body_of, media_type, no_query, request_id, while_connected
from service.security import described, needs
from service.state import Service, service_of
from service.tuning import Floats, record
from service.tuning_process import Tunings
from service.tuning_request import (
    Asked,
    HeldOutTold,
    SavedTold,
    TuneDone,
    TuneEnvelope,
    TuneFailed,
    TuneProgress,
    TuneRequest,
    first_of,
    read,
)
from service.tuning_worker import Result, Task
from service.validation import validated

log = logging.getLogger("nbest.service")

_SOON_SECONDS = 0.1  # what goes wrong by then is a problem document
_BEAT_SECONDS = 10.0  # a line at least so often: who has left is noticed, and no proxy thinks this is over
_RETRY_SECONDS = 5.0
_FEW_LISTS = 50
_changes = needs("tune")


async def _may_tune(request: Request, _: Annotated[None, Security(described, scopes=["tune"])]) -> None:
    """With keys those with the scope tune. Without keys all: what is only computed changes nothing here."""
    if request.state.keys:
        await _changes.dependency(request, None)


_may_tune.scope = "tune"  # type: ignore[attr-defined] # so that a test can tell
router = APIRouter(tags=["tune"], dependencies=[Depends(_may_tune)])


def _documented() -> dict[str, Any]:
    """The OpenAPI entry: the answer comes in lines."""
    found = documented(TuneRequest, more=("404", "409", "412", "428", "429", "503", "507"))
    # No route answers with one of these alone, so none is among the components.
    last = {"anyOf": [TuneDone.model_json_schema(), TuneFailed.model_json_schema()]}
    definitions = {name: one for kind in last["anyOf"] for name, one in kind.pop("$defs", {}).items()}
    last["anyOf"].append(TuneProgress.model_json_schema())
    schema = {"description": "of each line: how far it is, and at last what came of it", **last}
    found["responses"]["200"] = {
        "description": "Lines, the last one with `done`",
        "content": {NDJSON: {"schema": _resolved(schema, definitions)}},
    }
    found["parameters"] = [
        {
            "name": "If-Match",
            "in": "header",
            "description": "with a name: the ETag of what is replaced, or *",
            "schema": {"type": "string"},
        }
    ]
    return found


def _resolved(schema: Any, definitions: Mapping[str, Any]) -> Any:
    """The schema with what it refers to in place."""
    if isinstance(schema, list):
        return [_resolved(one, definitions) for one in schema]
    if not isinstance(schema, dict):
        return schema
    if "$ref" in schema:
        return _resolved(definitions[schema["$ref"].rsplit("/", 1)[1]], definitions)
    return {name: _resolved(value, definitions) for name, value in schema.items()}


@router.post(
    "/v1/tune",
    summary="Find feature weights",
    response_class=StreamingResponse,
    openapi_extra=_documented(),
)
async def tune(request: Request) -> Response:
    """The weights of the lists' features and of the models' scores that make the best hypotheses win.

    The same weights as `nbest tune` finds on the same lists with the same seed. The answer comes in lines
    (NDJSON): `{"progress": {"stage": "tuning", "done": 3, "of": 20, "best": 11.4}}` as it goes, and at last
    `{"done": true, "weights": {...}, "before": 12.9, "after": 11.4, ...}`, or
    `{"done": false, "error": {...}}` for what goes wrong on the way; an answer without either was cut.

    `after` is a score on the lists that were tuned on, and so flatters: with `held_out` the last lists are
    kept apart, and the change there is told too. With a `name` the weights are saved, under the conditions of
    `PUT /v1/weights/NAME`. One tuning runs at a time, in a process that gives way to scoring.
    """
    service, tunings = service_of(request), tunings_of(request)
    media_type(request, JSON)
    no_query(request)
    if service.readiness.state == "draining":
        raise NotReadyError("draining: the service is stopping", retry_after_seconds=_RETRY_SECONDS)
    tunings.check_room()
    conditions = parse_conditions(
        request.headers.getlist("if-match"), request.headers.getlist("if-none-match")
    )
    body = await body_of(request, service.settings.max_body_bytes)
    asked = await asyncio.to_thread(_read, service, body)
    if asked.request.name is not None:
        await _changes.dependency(request, None)
        await asyncio.to_thread(service.weight_sets.check_put, asked.request.name, conditions)
    first = await asyncio.to_thread(_first, service, asked)
    models = await while_connected(request, _loaded(service, asked))
    tunings.check_room()  # others may have come meanwhile
    told: asyncio.Queue[Mapping[str, Any]] = asyncio.Queue()
    job = _Job(service, tunings, asked, first, models, conditions, request_id(request), told.put_nowait)
    task = tunings.start(job.run())
    try:
        await asyncio.wait({task}, timeout=_SOON_SECONDS)
        if task.done():
            task.result()
    except BaseException:
        task.cancel()
        raise
    return _Lines(task, told)


def tunings_of(request: Request) -> Tunings:
    """The tunings of the service that this request reached."""
    tunings = request.app.state.tunings
    assert isinstance(tunings, Tunings)
    return tunings


def _read(service: Service, body: bytes) -> Asked:
    settings = service.settings
    request = validated(TuneEnvelope, parse_json(body))
    check_count("lists", "/lists", len(request.lists), settings.max_lists)
    lists = read_lists(request.lists, settings.max_text_bytes, settings.max_features)
    asked = read(request, lists, settings.max_text_bytes)
    check_count("hypotheses", "/lists", len(asked.lists.texts), settings.max_hypotheses)
    return asked


def _first(service: Service, asked: Asked) -> Floats:
    initial = asked.request.initial
    if initial is None:
        return first_of(asked, None)
    if isinstance(initial, str):
        return first_of(asked, service.weight_sets.get(initial))
    return first_of(asked, WeightSet(initial.features))


async def _loaded(service: Service, asked: Asked) -> dict[str, LoadedModel]:
    return {name: await service.registry.get(name) for name in asked.request.models}


@dataclass(frozen=True)
class _Job:
    """One tuning from the models' scores to the last line."""

    service: Service
    tunings: Tunings
    asked: Asked
    first: Floats
    models: Mapping[str, LoadedModel]
    conditions: Conditions
    identity: str
    tell: Callable[[Mapping[str, Any]], None]

    async def run(self) -> None:
        """Scores, tunes, saves; the last thing told has `done`. Raises what it told."""
        try:
            full = await self._scored()
            result = await self.tunings.run(self._task(full), self._progress)
            done = await self._done(full, result)
            self.tell(done.model_dump(exclude_none=True))
        except NbestError as error:
            self._failed(list_fault(error))
            raise
        except Exception as error:
            log.error("unhandled error in a tuning", exc_info=error)
            self._failed(
                ListFault(type="internal-error", detail="the service failed; its log has the details")
            )
            raise

    def _failed(self, fault: ListFault) -> None:
        self.tell(TuneFailed(request_id=self.identity, error=fault).model_dump(exclude_none=True))

    def _progress(self, told: Mapping[str, Any]) -> None:
        self.tell({"progress": told})

    async def _scored(self) -> NbestLists:
        """The lists with every feature that takes part."""
        lists, prepare = self.asked.lists, get_pipeline(self.asked.text)
        texts = (
            await asyncio.to_thread(lambda: list(dict.fromkeys(prepare(lists.texts)))) if self.models else []
        )
        scorers = []
        for name, model in self.models.items():
            self._progress({"stage": "scoring", "model": name, "hypotheses": len(texts)})
            found = await model.queue.scores(texts)
            scorers.append(PrecomputedScorer(name, model.digest, found.scores, slice(0, len(texts))))
            tokens = int(found.scores.token_counts.sum())
            self.service.telemetry.scored(name, tokens, found.unique_tokens)
        return await asyncio.to_thread(
            lambda: pipeline.tunable(pipeline.assemble(lists, scorers, text=self.asked.text))
        )

    def _task(self, full: NbestLists) -> Task:
        asked = self.asked.request
        return Task(
            lists=replace(full, records=(), lines=()),
            references=full.references,
            metric=asked.metric,
            tokenize=asked.tokenize,
            lowercase=asked.lowercase,
            first=self.first,
            plan=self.asked.plan,
            held_out=asked.held_out,
        )

    async def _done(self, full: NbestLists, result: Result) -> TuneDone:
        asked = self.asked
        weights = await asyncio.to_thread(self._weights, full, result)
        held = result.held_out
        return TuneDone(
            request_id=self.identity,
            weights=json.loads(dump_weights(weights)),
            metric=asked.measured.name,
            larger_is_better=asked.measured.larger_is_better,
            before=result.before,
            after=result.found.score,
            initial=result.found.initial_score,
            oracle=result.oracle,
            oracle_exact=result.oracle_exact,
            lists=len(asked.lists) - asked.request.held_out,
            held_out=None if held is None else HeldOutTold(**vars(held)),
            candidates=dict(result.candidates) or None,
            table=result.found.table or None,
            saved=await self._saved(weights),
            warnings=self._warnings(full, result),
        )

    def _weights(self, full: NbestLists, result: Result) -> WeightSet:
        lists = self.asked.tuned_on
        written = record(
            result.found, self.asked.measured.name, self.asked.signature, lists, lists.references
        )
        models = [Model(name, model.digest) for name, model in self.models.items()]
        return WeightSet.from_vector(result.found.vector, full.schema, models, self.asked.text, written)

    async def _saved(self, weights: WeightSet) -> SavedTold | None:
        name = self.asked.request.name
        if name is None:
            return None
        # Not given up with its caller: what has begun to be written is written.
        writing = asyncio.to_thread(self.service.weight_sets.put, name, weights, self.conditions)
        try:
            written = await asyncio.shield(asyncio.create_task(writing))
        except NbestError as error:
            return SavedTold(name=name, error=list_fault(error))
        return SavedTold(name=name, version=written.stored.version, etag=written.stored.tag)

    def _warnings(self, full: NbestLists, result: Result) -> list[str]:
        lists = len(self.asked.lists) - self.asked.request.held_out
        columns = full.features.shape[1]
        found = []
        if result.held_out is None:
            found.append(
                "the scores are of the lists that were tuned on: others will gain less; see held_out"
            )
        if lists < _FEW_LISTS:
            found.append(f"{lists} lists are few for {columns} weights: they may fit these lists by chance")
        if result.found.constant:
            names = ", ".join(result.found.constant)
            found.append(f"the same throughout every list, so without weight: {names}")
        return found


class _Lines(StreamingResponse):
    """What a tuning tells, line by line; when nobody reads it any more the tuning ends."""

    def __init__(self, task: asyncio.Task[None], told: asyncio.Queue[Mapping[str, Any]]) -> None:
        self._task = task
        super().__init__(_lines(told), media_type=NDJSON, headers={"X-Accel-Buffering": "no"})

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._task.cancel()


async def _lines(told: asyncio.Queue[Mapping[str, Any]]) -> AsyncIterator[bytes]:
    began = monotonic()
    last: Mapping[str, Any] = {}
    while True:
        try:
            line = await asyncio.wait_for(told.get(), _BEAT_SECONDS)
        except TimeoutError:
            line = {"progress": {**last, "seconds": round(monotonic() - began, 1)}}
        last = line.get("progress", {})
        yield f"{json.dumps(line)}\n".encode()
        if "done" in line:
            return
