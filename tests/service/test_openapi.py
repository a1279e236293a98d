from typing import Any

import pytest
from fastapi.testclient import TestClient

from service.schemas import EvaluateRequest, RescoreRequest, ScoreRequest

REQUESTS = {"/v1/rescore": RescoreRequest, "/v1/score": ScoreRequest, "/v1/evaluate": EvaluateRequest}


def posts(document: dict[str, Any]) -> list[tuple[str, str, Any]]:
    """(path, content type, example) for every example of the document."""
    return [
        (path, kind, example["value"])
        for path, verbs in document["paths"].items()
        for kind, content in verbs.get("post", {}).get("requestBody", {}).get("content", {}).items()
        for example in content.get("examples", {}).values()
    ]


def test_every_example_works_when_pasted(client: TestClient) -> None:
    found = posts(client.get("/openapi.json").json())
    assert {(path, kind) for path, kind, _ in found} == {
        ("/v1/rescore", "application/json"),
        ("/v1/rescore", "text/plain"),
        ("/v1/score", "application/json"),
        ("/v1/evaluate", "application/json"),
    }
    for path, kind, value in found:
        body = {"content": value} if isinstance(value, str) else {"json": value}
        answer = client.post(path, headers={"Content-Type": kind}, **body)
        assert answer.status_code == 200, (path, value, answer.text)
        if kind == "application/json" and path == "/v1/rescore":
            assert all("ranking" in result for result in answer.json()["results"]), answer.text


def test_examples_follow_the_documented_schema(client: TestClient) -> None:
    for path, kind, value in posts(client.get("/openapi.json").json()):
        if kind == "application/json":
            REQUESTS[path].model_validate(value)


def test_every_reference_of_the_document_resolves(client: TestClient) -> None:
    document = client.get("/openapi.json").json()

    def references(value: Any) -> list[str]:
        if isinstance(value, dict):
            own = [value["$ref"]] if isinstance(value.get("$ref"), str) else []
            return own + [one for part in value.values() for one in references(part)]
        return [one for part in value for one in references(part)] if isinstance(value, list) else []

    found = set(references(document))
    assert "#/components/schemas/RescoreRequest" in found
    for reference in found:
        assert reference.removeprefix("#/components/schemas/") in document["components"]["schemas"], reference


def test_aliases_are_not_documented_twice(client: TestClient) -> None:
    paths = set(client.get("/openapi.json").json()["paths"])
    assert {"/v1/rescore", "/v1/score", "/v1/models", "/v1/evaluate", "/livez", "/readyz"} == paths


@pytest.mark.parametrize("answer", ["RescoreResponse", "ScoreResponse", "Problem"])
def test_answers_are_described(client: TestClient, answer: str) -> None:
    assert answer in client.get("/openapi.json").json()["components"]["schemas"]


def test_examples_of_a_service_without_models_work_too(world: Any) -> None:
    from service.app import create_app

    app = create_app(world.settings(models=None), opener=world.open_scorer, shipped=[])
    with TestClient(app) as client:
        found = posts(client.get("/openapi.json").json())
        assert {path for path, _, _ in found} == {"/v1/rescore", "/v1/evaluate"}
        for path, kind, value in found:
            body = {"content": value} if isinstance(value, str) else {"json": value}
            assert client.post(path, headers={"Content-Type": kind}, **body).status_code == 200
