import math
import sys
from typing import Any

import pytest
from fastapi.testclient import TestClient

from service.routes.score import perplexity


@pytest.mark.parametrize("path", ["/v1/score", "/score"])
def test_scores_tokens_and_sums(client: TestClient, path: str) -> None:
    texts = ["a man", "", "a zebra", "a man"]
    answer = client.post(path, json={"model": "small", "texts": texts, "tokens": True})
    assert answer.status_code == 200
    document = answer.json()
    scores = document["scores"]
    assert [score["nat_log_prob"] for score in scores] == [-3.5, -0.5, -9.5, -3.5]
    assert [score["token_count"] for score in scores] == [3, 1, 3, 3]
    assert [score["oov_count"] for score in scores] == [0, 0, 1, 0]
    assert [score["normalized"] for score in scores] == [-3.5 / 3, -0.5, -9.5 / 3, -3.5 / 3]
    assert scores[2]["tokens"] == [
        {"token": "a", "nat_log_prob": -1.0, "oov": False},
        {"token": "zebra", "nat_log_prob": -8.0, "oov": True},
        {"token": "</s>", "nat_log_prob": -0.5, "oov": False},
    ]
    assert document["total_nat_log_prob"] == -17.0
    assert document["perplexity"] == math.exp(17.0 / 10)
    assert document["usage"]["tokens"] == 10
    assert document["usage"]["unique_tokens"] == 7
    assert "small:sha256:" in document["signature"]


@pytest.mark.parametrize(
    ("body", "status", "kind", "where"),
    [
        ({}, 422, "invalid-request", None),
        ({"model": "small"}, 422, "invalid-request", None),
        ({"model": "small", "texts": []}, 422, "invalid-request", "/texts"),
        ({"model": "small", "texts": "a man"}, 422, "invalid-request", "/texts"),
        ({"model": "small", "texts": ["a", 1]}, 422, "invalid-request", "/texts/1"),
        ({"model": "small", "texts": ["a", "b\nc"]}, 422, "invalid-format", "/texts/1"),
        ({"model": "small", "texts": ["a", "x" * 2_000_000]}, 413, "limit-exceeded", "/texts/1"),
        ({"model": "big", "texts": ["a"]}, 404, "not-found", None),
        ({"model": "broken", "texts": ["a"]}, 503, "invalid-model-file", None),
        ({"model": "small", "texts": ["a"], "token": True}, 422, "invalid-request", "/token"),
        ({"model": "small", "texts": ["CRASH"]}, 500, "scoring-failed", None),
    ],
)
def test_bad_requests(client: TestClient, body: Any, status: int, kind: str, where: str | None) -> None:
    answer = client.post("/v1/score", json=body)
    problem = answer.json()
    assert answer.headers["content-type"] == "application/problem+json"
    if kind == "invalid-format":
        status = 400
    assert (answer.status_code, problem["type"]) == (status, kind)
    assert problem.get("pointer") == where


def test_a_lone_surrogate_is_refused_with_its_place(client: TestClient) -> None:
    answer = client.post("/v1/score", content=b'{"model": "small", "texts": ["a", "\\udc00"]}')
    assert answer.status_code == 400
    assert answer.json()["pointer"] == "/texts/1"


def test_moses_text_is_not_for_this_route(client: TestClient) -> None:
    answer = client.post("/v1/score", content="0 ||| a", headers={"Content-Type": "text/plain"})
    assert (answer.status_code, answer.json()["expected"]) == (415, "application/json")


def test_a_fault_of_the_model_tells_nothing_of_its_inside(client: TestClient) -> None:
    answer = client.post("/v1/score", json={"model": "small", "texts": ["CRASH"]})
    assert "matrix exploded" not in answer.text
    assert client.post("/v1/score", json={"model": "small", "texts": ["a"]}).status_code == 200


def test_the_corrupt_model_is_named_without_its_path(client: TestClient, tmp_path: Any) -> None:
    problem = client.post("/v1/score", json={"model": "broken", "texts": ["a"]}).json()
    assert "'broken'" in problem["detail"]
    assert "corrupt or truncated" in problem["detail"]
    assert str(tmp_path) not in str(problem)


def test_perplexity_beyond_a_float_is_the_largest_float() -> None:
    assert perplexity(-1e6, 1) == sys.float_info.max
    assert perplexity(-6.0, 3) == math.exp(2)
