"""/openapi.json: bodies are read by hand, so their schemas and examples are written in by hand too."""

from typing import Any, Literal

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from service import examples
from service.errors import MEDIA_TYPE, Problem
from service.schemas import EvaluateRequest, Options, RescoreRequest, ScoreRequest, WeightsRequest
from service.security import BEARER, SCHEME, is_open
from service.tuning_request import TuneRequest

_NOT_OURS = "HTTPValidationError"
_REQUEST_ID = {"description": "of the request or made for it", "required": True, "schema": {"type": "string"}}
_REFERENCE = "#/components/schemas/{model}"
_REQUESTS: tuple[type[BaseModel], ...] = (
    RescoreRequest,
    ScoreRequest,
    EvaluateRequest,
    TuneRequest,
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


_WORDS = {
    "400": "The body cannot be read",
    "401": "No key of this service came with the request",
    "403": "The key has not the scope; or a web page asked for a change and the service has no keys",
    "404": "No model or weight set of that name",
    "408": "The body stopped on the way, or took too long",
    "409": "The name cannot be written or taken away",
    "412": "What is there is not what If-Match or If-None-Match says",
    "413": "More than a limit allows",
    "415": "Neither a content type nor an encoding that is understood",
    "422": "The request is not of the documented shape",
    "428": "What is there is changed only with If-Match",
    "429": "The queue is full, or longer than the deadline; Retry-After says when to come back",
    "503": "Not ready, or no answer within the deadline; Retry-After says when to come back",
    "507": "There is no room",
}
_OF_BODIES = ("400", "408", "413", "415", "422")
_TAGGED: dict[str, Any] = {
    "ETag": {"description": "what If-Match takes", "schema": {"type": "string"}},
    "Content-Location": {"description": "the version, where there is one", "schema": {"type": "string"}},
}


def documented(
    request: type[BaseModel], *, text: bool = False, more: tuple[str, ...] = ("404", "429", "503")
) -> dict[str, Any]:
    """The OpenAPI entry of a route whose JSON body is a `request`, and perhaps Moses text instead.

    more  statuses of its problems beside those of every body
    """
    content: dict[str, Any] = {
        "application/json": {"schema": {"$ref": _REFERENCE.format(model=request.__name__)}}
    }
    responses: dict[str, Any] = {status: _problem(status) for status in sorted({*_OF_BODIES, *more})}
    found = {"requestBody": {"required": True, "content": content}, "responses": responses}
    if not text:
        return found
    content["text/plain"] = {"schema": {"type": "string"}}
    responses["200"] = {
        "content": {"text/plain": {"schema": {"type": "string"}}},
        "headers": {
            name: {"description": f"of a text answer: {said}", "schema": {"type": "string"}}
            for name, said in (("X-Nbest-Signature", "the signature"), ("X-Nbest-Warnings", "if any"))
        },
    }
    parameters = [
        {"name": name, "in": "query", "description": f"of a text body only: {schema['description']}",
         "schema": {key: value for key, value in schema.items() if key not in ("title", "description")}}
        for name, schema in _QUERY.items()
    ]  # fmt: skip
    return found | {"parameters": parameters}


def conditional(verb: Literal["get", "put", "delete"]) -> dict[str, Any]:
    """The OpenAPI entry of a route of weight sets, which takes conditions."""
    found: dict[str, Any]
    if verb == "get":
        found = {"responses": {status: _problem(status) for status in ("404", "422", "503")}}
        found["responses"] |= {
            "200": {"headers": _TAGGED},
            "304": {"description": "As the caller has it already", "headers": _TAGGED},
        }
    elif verb == "put":
        found = documented(WeightsRequest, more=("409", "412", "428", "507"))
        written = {"application/json": {"schema": {"$ref": _REFERENCE.format(model="WeightsWritten")}}}
        found["responses"] |= {
            "200": {"headers": _TAGGED},
            "201": {"description": "A new name", "content": written, "headers": _TAGGED},
        }
    else:
        statuses = ("404", "409", "412", "422", "428", "507")
        found = {"responses": {status: _problem(status) for status in statuses}}
    headers = {
        "If-Match": "the ETag of what is replaced, or *",
        "If-None-Match": "*: only a new name; or an ETag",
    }
    found["parameters"] = [
        {"name": name, "in": "header", "description": said, "schema": {"type": "string"}}
        for name, said in headers.items()
    ]
    return found


def problems(*statuses: str) -> dict[int | str, dict[str, Any]]:
    """The problem answers of a route, for its `responses`."""
    return {int(status): _problem(status) for status in statuses}


def _problem(status: str) -> dict[str, Any]:
    schema = {"$ref": _REFERENCE.format(model=Problem.__name__)}
    found: dict[str, Any] = {"description": _WORDS[status], "content": {MEDIA_TYPE: {"schema": schema}}}
    if status in ("429", "503"):
        found["headers"] = {"Retry-After": {"description": "seconds", "schema": {"type": "string"}}}
    if status in ("401", "403"):
        found["headers"] = {"WWW-Authenticate": {"description": "RFC 6750", "schema": {"type": "string"}}}
    return found


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
        _tell_of_all(document, keys=app.state.service.settings.keys is not None)
        _give(document, "/v1/rescore", "application/json", rescore)
        _give(document, "/v1/rescore", "text/plain", text)
        _give(document, "/v1/score", "application/json", score)
        _give(document, "/v1/evaluate", "application/json", examples.EVALUATE)
        _give(document, "/v1/tune", "application/json", examples.tune(names[0] if names else None))
        _give(document, "/v1/weights/{name}", "application/json", examples.WEIGHTS, "put")
        return document

    app.openapi = openapi  # type: ignore[method-assign]


def _tell_of_all(document: dict[str, Any], *, keys: bool) -> None:
    """What is so on every route; and nothing of what FastAPI takes for granted and is not so."""
    for path, verbs in document["paths"].items():
        for operation in verbs.values():
            responses = operation["responses"]
            if _NOT_OURS in str(responses.get("422")):  # no name in a path is refused for its shape
                responses["422"]["content"].pop("application/json")
                responses["422"]["description"] = _WORDS["422"]
                if not responses["422"]["content"]:
                    del responses["422"]
            if "security" in operation:
                responses["403"] = _problem("403")
            if not keys:
                operation.pop("security", None)
            elif not is_open(path):
                operation.setdefault("security", [{SCHEME: []}])
                responses["401"] = _problem("401")
                responses["503"] = responses.get("503") or _problem("503")
            operation["responses"] = dict(sorted(responses.items()))
            for response in responses.values():
                response.setdefault("headers", {})["X-Request-ID"] = _REQUEST_ID
    components = document["components"]
    for name in (_NOT_OURS, "ValidationError"):
        components["schemas"].pop(name, None)
    components.pop("securitySchemes", None)
    if keys:
        components["securitySchemes"] = {SCHEME: BEARER}


def _give(document: dict[str, Any], path: str, kind: str, found: dict[str, Any], verb: str = "post") -> None:
    if found:
        document["paths"][path][verb]["requestBody"]["content"][kind]["examples"] = found
