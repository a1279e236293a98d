from typing import Any

import pytest
from fastapi.testclient import TestClient

from service import examples
from service.app import create_app
from service.routes import rescore
from service.schemas import EvaluateRequest, RescoreRequest, ScoreRequest
from service.settings import Settings
from service.tuning_request import TuneRequest

REQUESTS = {
    "/v1/rescore": RescoreRequest,
    "/v1/score": ScoreRequest,
    "/v1/evaluate": EvaluateRequest,
    "/v1/tune": TuneRequest,
}


def posts(document: dict[str, Any]) -> list[tuple[str, str, Any]]:
    """(path, content type, example) for every example of the document."""
    return [
        (path + ("?" + example["x-query"] if "x-query" in example else ""), kind, example["value"])
        for path, verbs in document["paths"].items()
        for kind, content in verbs.get("post", {}).get("requestBody", {}).get("content", {}).items()
        for example in content.get("examples", {}).values()
    ]


def test_every_example_works_when_pasted(client: TestClient) -> None:
    found = posts(client.get("/openapi.json").json())
    assert {(path.partition("?")[0], kind) for path, kind, _ in found} == {
        ("/v1/rescore", "application/json"),
        ("/v1/rescore", "text/plain"),
        ("/v1/score", "application/json"),
        ("/v1/evaluate", "application/json"),
        ("/v1/tune", "application/json"),
    }
    for path, kind, value in found:
        body = {"content": value} if isinstance(value, str) else {"json": value}
        answer = client.post(path, headers={"Content-Type": kind}, **body)
        assert answer.status_code == 200, (path, value, answer.text)
        if kind == "application/json" and path == "/v1/rescore":
            assert all("ranking" in result for result in answer.json()["results"]), answer.text
    assert any("?models=" in path for path, _, _ in found)  # Moses lists are scored too


def test_query_of_text_bodies_is_described(client: TestClient) -> None:
    route = client.get("/openapi.json").json()["paths"]["/v1/rescore"]["post"]
    assert [one["name"] for one in route["parameters"]] == list(rescore._QUERY)
    assert all(one["in"] == "query" and one["description"] for one in route["parameters"])


def test_examples_are_mended_by_the_model_that_ships() -> None:
    """What the documents and the page show as an improvement is one."""
    right = [
        "two dogs are playing in the snow",
        "he read the letter to his mother",
        "i would like to know when the train leaves",
    ]
    right_moses = ["he read the book yesterday", "the house has become very small", "we must go home now"]
    with TestClient(create_app(Settings())) as client:

        def best(answer: Any) -> list[tuple[int, str]]:
            assert answer.status_code == 200, answer.text
            return [
                (one["ranking"][0]["index"] > 0, one["ranking"][0]["text"])
                for one in answer.json()["results"]
            ]

        by_total = client.post("/v1/rescore", json={"models": ["small"], "lists": examples.SPEECH})
        assert best(by_total) == [(True, text) for text in right]
        moses = client.post(
            "/v1/rescore?models=small",
            content=examples.MOSES,
            headers={"Content-Type": "text/plain", "Accept": "application/json"},
        )
        assert best(moses) == [(True, text) for text in right_moses]
        weighted = client.post("/v1/rescore", json=examples.with_model("small")["model"]["value"])
        assert best(weighted) == [(True, text) for text in right[:2]]
        alone = client.post("/v1/rescore", json={"lists": examples.SPEECH})
        assert [index for index, _ in best(alone)] == [False] * 3  # the decoder's first, without a model


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
    assert {
        "/v1/rescore", "/v1/score", "/v1/models", "/v1/evaluate", "/v1/weights/{name}", "/livez", "/readyz",
        "/v1/models/{name}", "/metrics", "/v1/tune", "/v1/convert",
    } == paths  # fmt: skip


@pytest.mark.parametrize("answer", ["RescoreResponse", "ScoreResponse", "Problem"])
def test_answers_are_described(client: TestClient, answer: str) -> None:
    assert answer in client.get("/openapi.json").json()["components"]["schemas"]


def test_examples_of_a_service_without_models_work_too(world: Any) -> None:
    app = create_app(world.settings(models=None), opener=world.open_scorer, shipped=[])
    with TestClient(app) as client:
        found = posts(client.get("/openapi.json").json())
        assert {path for path, _, _ in found} == {"/v1/rescore", "/v1/evaluate", "/v1/tune"}
        for path, kind, value in found:
            body = {"content": value} if isinstance(value, str) else {"json": value}
            assert client.post(path, headers={"Content-Type": kind}, **body).status_code == 200
