"""/openapi.json: bodies are read by hand, so their schemas and examples are written in by hand too."""

from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from service import examples
from service.errors import MEDIA_TYPE, Problem
from service.schemas import EvaluateRequest, Options, RescoreRequest, ScoreRequest, WeightsRequest

_REFERENCE = "#/components/schemas/{model}"
_REQUESTS: tuple[type[BaseModel], ...] = (
    RescoreRequest,
    ScoreRequest,
    EvaluateRequest,
    WeightsRequest,
    Problem,
)


_QUERY: dict[str, dict[str, Any]] = {  # of a text body; a JSON body has all of it in itself
    "models": {"type": "string", "description": "language models that score the texts, comma-separated"},
    "weights": {"type": "string", "description": "a weight set's name"},
    "text": {"type": "string", "description": "the text pipeline of the models, such as tags,lower"},
    **{
        name: Options.model_json_schema()["properties"][name]
        for name in ("unknown_feature", "top_k", "deadline_seconds")
    },
}


def documented(request: type[BaseModel], *, text: bool = False) -> dict[str, Any]:
    """The OpenAPI entry of a route whose JSON body is a `request`, and perhaps Moses text instead."""
    content: dict[str, Any] = {
        "application/json": {"schema": {"$ref": _REFERENCE.format(model=request.__name__)}}
    }
    if text:
        content["text/plain"] = {"schema": {"type": "string"}}
    responses = {status: _problem(words) for status, words in _WORDS.items()}
    parameters = [
        {"name": name, "in": "query", "description": f"of a text body only: {schema['description']}",
         "schema": {key: value for key, value in schema.items() if key not in ("title", "description")}}
        for name, schema in _QUERY.items()
    ]  # fmt: skip
    found = {"requestBody": {"required": True, "content": content}, "responses": responses}
    return found | {"parameters": parameters} if text else found


def conditional(request: type[BaseModel] | None = None) -> dict[str, Any]:
    """The OpenAPI entry of a route that takes conditions, and a `request` as its body where one is given."""
    found = documented(request) if request else {"responses": {}}
    words = {
        "404": "No weight set of that name",
        "409": "The name cannot be written or taken away",
        "412": "What is there is not what If-Match or If-None-Match says",
        "428": "What is there is changed only with If-Match",
        "507": "There is no room",
    }
    found["responses"] |= {status: _problem(said) for status, said in words.items()}
    headers = {
        "If-Match": "the ETag of what is replaced, or *",
        "If-None-Match": "*: only a new name; or an ETag",
    }
    found["parameters"] = [
        {"name": name, "in": "header", "description": said, "schema": {"type": "string"}}
        for name, said in headers.items()
    ]
    return found


_WORDS = {
    "400": "The body cannot be read",
    "404": "No model or weight set of that name",
    "413": "More than a limit allows",
    "415": "Neither a content type nor an encoding that is understood",
    "422": "The body is not of the documented shape",
    "429": "The queue is full, or longer than the deadline; Retry-After says when to come back",
    "503": "Not ready, or no answer within the deadline",
}


def problems(*statuses: str) -> dict[int | str, dict[str, Any]]:
    """The problem answers of a route, for its `responses`."""
    return {int(status): _problem(_WORDS[status]) for status in statuses}


def _problem(words: str) -> dict[str, Any]:
    schema = {"$ref": _REFERENCE.format(model=Problem.__name__)}
    return {"description": words, "content": {MEDIA_TYPE: {"schema": schema}}}


def install(app: FastAPI) -> None:
    """`app.openapi()` gives the whole document, its examples using a model this service has."""

    def openapi() -> dict[str, Any]:
        # Made afresh each time: models may have come or gone, and examples must work when pasted.
        document = get_openapi(
            title=app.title, version=app.version, description=app.description, routes=app.routes
        )
        _, schemas = models_json_schema(
            [(model, "validation") for model in _REQUESTS], ref_template=_REFERENCE
        )
        document.setdefault("components", {}).setdefault("schemas", {}).update(schemas["$defs"])
        entries = sorted(app.state.service.registry.entries(), key=lambda entry: not entry.shipped)
        names = [entry.name for entry in entries]  # shipped ones first: they can be relied on
        rescore, text, score = examples.RESCORE, examples.RESCORE_TEXT, {}
        if names:
            rescore, text = examples.with_model(names[0]), examples.text_with_model(names[0])
            score = examples.score(names[0])
        _give(document, "/v1/rescore", "application/json", rescore)
        _give(document, "/v1/rescore", "text/plain", text)
        _give(document, "/v1/score", "application/json", score)
        _give(document, "/v1/evaluate", "application/json", examples.EVALUATE)
        _give(document, "/v1/weights/{name}", "application/json", examples.WEIGHTS, "put")
        return document

    app.openapi = openapi  # type: ignore[method-assign]


def _give(document: dict[str, Any], path: str, kind: str, found: dict[str, Any], verb: str = "post") -> None:
    if found:
        document["paths"][path][verb]["requestBody"]["content"][kind]["examples"] = found
