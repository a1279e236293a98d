# ruff: noqa: E501 - a table reads better with each case on one line

import asyncio
import json
import threading
import time
from collections.abc import Callable
from typing import Any

import httpx2
import jiwer
import numpy as np
import pytest
import sacrebleu
from fastapi.testclient import TestClient

from rescoring.metrics import METRICS, get_metric
from service.app import create_app
from service.bounded_metric import BoundedMetric
from service.routes import evaluate as route

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
        ({"metric": "meteor"}, 422, "invalid-request", "one of bleu, chrf, ter, wer, cer, or a sum"),
        ({"metric": ""}, 422, "invalid-request", "/metric"),
        ({"metric": "bleu" + "+bleu" * 1000}, 422, "invalid-request", "/metric"),
        ({"metric": "bleu+ter"}, 422, "invalid-configuration", "the weight of ter has the wrong sign"),
        ({"metric": "bleu-"}, 422, "invalid-configuration", "not a sum of metrics"),
        ({"metric": "bleu-0.5*meteor"}, 422, "invalid-request", "/metric"),
        ({"metric": "9" * 90 + "*bleu"}, 422, "invalid-configuration", "not a mix"),
        (
            {"metric": "cer", "lowercase": True, "references": ["a", "b", "c"]},
            422,
            "invalid-configuration",
            "bleu and chrf",
        ),
        ({"hypotheses": ["a", "b" * 20_000, "c"]}, 413, "limit-exceeded", "/hypotheses/1"),
        (
            {"metric": "ter", "references": ["a", "b " * 2500, "c"]},
            413,
            "limit-exceeded",
            "at most 4096 bytes",
        ),
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


ONE_REFERENCE = [several[0] for several in REFERENCES]


def test_every_metric_is_the_librarys(client: TestClient) -> None:
    def score(metric: str, references: Any = ONE_REFERENCE) -> float:
        body = {"metric": metric, "hypotheses": HYPOTHESES, "references": references}
        answer = client.post("/v1/evaluate", json=body)
        assert answer.status_code == 200, answer.text
        assert answer.json()["metric"] == metric
        low, high = answer.json()["interval"]
        assert low <= answer.json()["score"] <= high
        return float(answer.json()["score"])

    streams = [ONE_REFERENCE]
    expected = {
        "bleu": sacrebleu.corpus_bleu(HYPOTHESES, streams, tokenize="none").score,  # type: ignore[arg-type]
        "chrf": sacrebleu.corpus_chrf(HYPOTHESES, streams).score,  # type: ignore[arg-type]
        "ter": sacrebleu.corpus_ter(HYPOTHESES, streams).score,  # type: ignore[arg-type]
        "wer": 100 * jiwer.wer(ONE_REFERENCE, HYPOTHESES),
        "cer": 100 * jiwer.cer(ONE_REFERENCE, HYPOTHESES),
    }
    assert set(expected) == set(METRICS)
    for metric, number in expected.items():
        assert score(metric) == pytest.approx(number, abs=1e-9)
    assert score("bleu-0.5*ter") == pytest.approx(expected["bleu"] - 0.5 * expected["ter"], abs=1e-9)
    assert score("chrf", REFERENCES) > 0


@pytest.mark.parametrize("metric", [*METRICS, "bleu-0.5*ter"])
def test_slices_count_as_the_whole(metric: str) -> None:
    """Several references of different numbers too, where the metric knows them: TER's scale depends on all."""
    rng = np.random.default_rng(5)
    words = ["a", "b", "c", "d", "e"]

    def text() -> str:
        return " ".join(rng.choice(words, size=6))

    texts = [text() for _ in range(200)]
    single = metric in ("wer", "cer")
    references = [[text() for _ in range(1 if single else 1 + k % 3)] for k in range(200)]
    checks: list[int] = []
    whole = get_metric(metric)
    bounded = BoundedMetric(whole, lambda: checks.append(1))
    segments = np.arange(200)
    np.testing.assert_array_equal(
        bounded.counts(texts, segments, references), whole.counts(texts, segments, references)
    )
    assert len(checks) == 4  # 64 + 64 + 64 + 8
    assert bounded.report(texts, references) == whole.report(texts, references)
    assert len(checks) == 5  # the counts were there
    assert bounded.signature_for(references) == whole.signature_for(references)


def test_an_evaluation_that_takes_too_long_is_given_up(make_client: Callable[..., TestClient]) -> None:
    client = make_client(evaluate_seconds=1e-9)
    body = {"metric": "bleu", "hypotheses": ["a"] * 100, "references": ["a"] * 100}
    answer = client.post("/v1/evaluate", json=body)
    assert (answer.status_code, answer.json()["type"]) == (413, "limit-exceeded")
    assert "nbest evaluate has no such limit" in answer.json()["detail"]


def test_evaluations_wait_for_each_other_and_hold_up_nobody_else(
    world: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A probe of other routes while evaluations are held; then the queue is full; who leaves is not served."""
    gate, started = threading.Event(), []
    real = route.run

    def held(*args: Any) -> Any:
        started.append(1)
        assert gate.wait(20)
        return real(*args)

    monkeypatch.setattr(route, "run", held)
    app = create_app(world.settings(), opener=world.open_scorer, shipped=["small"])
    body = {"metric": "wer", "hypotheses": ["a"], "references": ["a"]}

    async def main() -> None:
        transport = httpx2.ASGITransport(app=app)
        async with httpx2.AsyncClient(transport=transport, base_url="http://nbest") as client:
            waiting = [asyncio.create_task(client.post("/v1/evaluate", json=body)) for _ in range(16)]
            turns = app.state.service.evaluations
            while turns.waiting < 16:
                await asyncio.sleep(0.005)
            full = await client.post("/v1/evaluate", json=body)
            assert (full.status_code, full.headers["retry-after"]) == (429, "60")
            assert started == [1]
            for path in ("/livez", "/metrics", "/v1/models", "/v1/weights/asr"):
                began = time.perf_counter()
                assert (await client.get(path)).status_code == 200
                assert time.perf_counter() - began < 5
            lists = [{"id": "u", "hypotheses": [{"text": "a", "features": {"total": 1.0}}]}]
            assert (
                await client.post("/v1/rescore", json={"models": ["small"], "lists": lists})
            ).status_code == 200
            gate.set()
            assert {(await one).status_code for one in waiting} == {200}
            assert turns.waiting == 0

    asyncio.run(main())


def test_an_evaluation_that_nobody_waits_for_ends_at_its_next_slice(world: Any) -> None:
    gone = threading.Event()
    app = create_app(world.settings(), opener=world.open_scorer, shipped=["small"])
    check = route._limit(app.state.service, gone)
    check()
    gone.set()
    with pytest.raises(asyncio.CancelledError):
        check()
