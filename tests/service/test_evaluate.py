import json
from typing import Any

import pytest
import sacrebleu
from fastapi.testclient import TestClient

HYPOTHESES = ["the house is small", "a man rides a horse", "two dogs run in the snow today"]
REFERENCES = [
    ["the house is small"],
    ["a man is riding a horse", "a man rides the horse"],
    ["two dogs run in snow"],
]


def test_bleu_is_sacrebleus(client: TestClient) -> None:
    body = {"metric": "bleu", "hypotheses": HYPOTHESES, "references": REFERENCES}
    answer = client.post("/v1/evaluate", json=body).json()
    padded = [[several[k] if k < len(several) else None for several in REFERENCES] for k in range(2)]
    expected = sacrebleu.corpus_bleu(HYPOTHESES, padded, tokenize="none")  # type: ignore[arg-type]
    assert answer["score"] == pytest.approx(expected.score, abs=1e-9)
    assert answer["larger_is_better"] is True
    low, high = answer["interval"]
    assert low <= answer["score"] <= high
    assert answer["counts"]["hypothesis_length"] == 16
    assert answer["segments"] == 3
    assert "tok:none" in answer["signature"]
    assert answer["signature"].endswith("|bootstrap:1000|seed:12345")  # the interval's


def test_wer_counts_and_plain_references(client: TestClient) -> None:
    body = {"metric": "wer", "hypotheses": ["a man rides", "x"], "references": ["a man is riding", "x"]}
    answer = client.post("/v1/evaluate", json=body).json()
    assert answer["score"] == 40.0
    assert answer["counts"]["reference_words"] == 5
    assert answer["larger_is_better"] is False


def test_options_of_bleu(client: TestClient) -> None:
    body = {"metric": "bleu", "hypotheses": ["A man, a horse."], "references": ["a man , a horse ."]}
    scores = [
        client.post("/v1/evaluate", json={**body, **options}).json()["score"]
        for options in ({}, {"tokenize": "13a"}, {"tokenize": "13a", "lowercase": True})
    ]
    assert scores[0] < scores[1] < scores[2] == pytest.approx(100.0)


@pytest.mark.parametrize(
    ("changes", "status", "kind", "words"),
    [
        ({"metric": "ter"}, 422, "invalid-request", "'bleu' or 'wer'"),
        ({"references": ["a"]}, 422, "reference-mismatch", "1"),
        ({"references": []}, 422, "invalid-request", "/references"),
        ({"references": ["", " ", ""]}, 422, "reference-mismatch", "no word in the references"),
        ({"references": ["a", [], "c"]}, 422, "invalid-request", "/references/1"),
        ({"references": ["a", 7, "c"]}, 422, "invalid-request", "/references/1"),
        ({"hypotheses": []}, 422, "invalid-request", "/hypotheses"),
        ({"hypotheses": ["a", "b\nc", "d"]}, 400, "invalid-format", "/hypotheses/1"),
        ({"tokenize": "x"}, 422, "invalid-configuration", "13a"),
        ({"tokenize": "\ud800"}, 422, "invalid-configuration", "ud800"),
        ({"metric": "wer", "tokenize": "13a"}, 422, "invalid-configuration", "bleu"),
    ],
)
def test_bad_requests(client: TestClient, changes: Any, status: int, kind: str, words: str) -> None:
    body = {"metric": "bleu", "hypotheses": HYPOTHESES, "references": REFERENCES, **changes}
    answer = client.post("/v1/evaluate", content=json.dumps(body))
    assert (answer.status_code, answer.json()["type"]) == (status, kind), answer.text
    assert words in answer.text
